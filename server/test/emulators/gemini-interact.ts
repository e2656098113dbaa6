/** The emulator's Interactions API: requests, their answers and the works it keeps under an id. */
import { z } from "zod";

import type { JsonObject } from "../../src/lib/json.ts";
import { thoughtTokens } from "./gemini-generate.ts";
import type { Made, Making, Reply, Work } from "./gemini-generate.ts";

const block = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text"), text: z.string() }),
  z.strictObject({
    type: z.literal("image"),
    data: z.string(),
    mime_type: z.enum(["image/png", "image/jpeg", "image/webp"]),
  }),
]);

const requestSchema = z.strictObject({
  model: z.string(),
  input: z.union([z.string(), z.array(block)]),
  response_format: z
    .strictObject({
      type: z.literal("image"),
      aspect_ratio: z.string().optional(),
      image_size: z.string().optional(),
      mime_type: z.literal("image/jpeg").optional(),
      delivery: z.enum(["inline", "uri"]).optional(),
    })
    .optional(),
  store: z.boolean().optional(),
  background: z.boolean().optional(),
  stream: z.boolean().optional(),
  tools: z
    .array(
      z.strictObject({
        type: z.literal("google_search"),
        search_types: z.array(z.enum(["web_search", "image_search"])).optional(),
      }),
    )
    .optional(),
});

export type Interaction = { work: Work; store: boolean; background: boolean; stream: boolean };

/** The flat shape of this protocol's errors. */
export function flatError(status: number, code: string, message: string): Reply {
  return { status, body: { error: { code, message } } };
}

export function readInteraction(
  body: unknown,
  { takesBackground }: { takesBackground: boolean },
): Interaction | Reply {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const code = issue?.code === "unrecognized_keys" ? "parameter_unknown" : "invalid_request";
    return flatError(400, code, `${issue?.message} at '${issue?.path.join(".")}'`);
  }
  const { model, input, response_format: format, tools, ...flags } = parsed.data;
  const { store = true, background = false, stream = false } = flags;
  if (background && !takesBackground) {
    return flatError(400, "invalid_request", "Background is not supported for this model");
  }
  if (background && !store) {
    return flatError(400, "invalid_request", "background=true requires store=true");
  }
  const blocks = typeof input === "string" ? [{ type: "text" as const, text: input }] : input;
  const work: Work = {
    model,
    prompt: blocks.map((part) => (part.type === "text" ? part.text : "")).join(""),
    references: blocks.flatMap((part) => (part.type === "image" ? [part.data] : [])),
    ratio: format?.aspect_ratio,
    imageSize: format?.image_size,
    searches: tools !== undefined,
  };
  return { work, store, background, stream };
}

/** The members that every answer about an interaction has. Its time stands still. */
export function presentHead(id: string | null, model: string, status: string): JsonObject {
  return {
    ...(id === null ? {} : { id }),
    object: "interaction",
    model,
    status,
    created: "2026-11-21T09:15:02Z",
    updated: "2026-11-21T09:15:10Z",
  };
}

export function presentCompleted(
  id: string | null,
  { model }: Work,
  { made, making }: { made: Made; making: Making },
): JsonObject {
  const { base64, format, tokens } = made;
  const input = tokens.text + tokens.references;
  const thought = making.thinks ? thoughtTokens : 0;
  return {
    ...presentHead(id, model, "completed"),
    service_tier: "standard",
    steps: [
      { type: "thought", signature: "c2ln".repeat(making.signatureLength / 4) },
      {
        type: "model_output",
        content: [
          { type: "text", text: "Here is the picture." },
          { type: "image", mime_type: `image/${format}`, data: base64 },
        ],
      },
    ],
    usage: {
      total_input_tokens: input,
      input_tokens_by_modality: [
        { modality: "text", tokens: tokens.text },
        ...(tokens.references === 0 ? [] : [{ modality: "image", tokens: tokens.references }]),
      ],
      total_output_tokens: tokens.picture,
      output_tokens_by_modality: [{ modality: "image", tokens: tokens.picture }],
      total_thought_tokens: thought,
      total_cached_tokens: 0,
      total_tool_use_tokens: 0,
      total_tokens: input + tokens.picture + thought,
    },
  };
}

/** The events of a streamed interaction, in the vendor's order, as the body of the reply. */
export function presentEvents(completed: JsonObject, made: Made): string {
  const { id = "", usage, ...head } = completed;
  const delta = { type: "image", mime_type: `image/${made.format}`, data: made.base64 };
  const events: [string, JsonObject][] = [
    ["interaction.created", { interaction: { ...head, id, steps: [], status: "in_progress" } }],
    ["step.start", { index: 0, step: { type: "model_output", content: [] } }],
    ["step.delta", { index: 0, delta }],
    ["step.stop", { index: 0 }],
    [
      "interaction.completed",
      { interaction: { ...head, id, steps: [], status: "completed", usage: usage ?? {} } },
    ],
  ];
  const texts = events.map(([name, data], index) => {
    const event = { event_type: name, event_id: String(index), ...data };
    return `event: ${name}\ndata: ${JSON.stringify(event)}\n\n`;
  });
  return `${texts.join("")}event: done\ndata: [DONE]\n\n`;
}
