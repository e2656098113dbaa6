/** The emulator's `generateContent`: checks a request as the vendor does and makes its answer. */
import { z } from "zod";

import type { JsonObject } from "../../src/lib/json.ts";
import { geminiModels, measure, pixelsFor } from "./gemini-pictures.ts";
import type { GeminiModel, Pixels } from "./gemini-pictures.ts";
import { paintEmulated } from "./pictures.ts";

export type Reply = { status: number; body: JsonObject };

/** A request that makes a picture, before it is made. */
export type Work = {
  model: string;
  prompt: string;
  /** Base64 of the pictures that came with it. */
  references: readonly string[];
  ratio: string | undefined;
  imageSize: string | undefined;
  searches: boolean;
};

/** How answers are made; the emulator's owner may change it at any time. */
export type Making = {
  /** Pixels of every picture from now on, whatever is asked for. */
  dimensions: Pixels | null;
  /** Adds thoughts with a draft picture. */
  thinks: boolean;
  /** Length of a thought's signature; real ones were seen at 1.7 MB. */
  signatureLength: number;
};

export type Made = {
  base64: string;
  format: GeminiModel["format"];
  tokens: { text: number; references: number; picture: number };
};

const blob = z.strictObject({ mimeType: z.string(), data: z.string() });
const searchTypes = z.strictObject({
  webSearch: z.strictObject({}).optional(),
  imageSearch: z.strictObject({}).optional(),
});

const requestSchema = z.strictObject({
  contents: z.array(
    z.strictObject({
      role: z.literal("user").optional(),
      parts: z.array(z.strictObject({ text: z.string().optional(), inlineData: blob.optional() })),
    }),
  ),
  generationConfig: z
    .strictObject({
      responseModalities: z.array(z.enum(["TEXT", "IMAGE"])).optional(),
      imageConfig: z
        .strictObject({ aspectRatio: z.string().optional(), imageSize: z.string().optional() })
        .optional(),
      candidateCount: z.int().optional(),
      seed: z.int().optional(),
    })
    .optional(),
  safetySettings: z
    .array(z.strictObject({ category: z.string(), threshold: z.string() }))
    .optional(),
  tools: z
    .array(
      z.strictObject({
        googleSearch: z.strictObject({ searchTypes: searchTypes.optional() }).optional(),
      }),
    )
    .optional(),
});

/** An error in gRPC's shape. */
export function grpcError(code: number, status: string, message: string): Reply {
  return { status: code, body: { error: { code, message, status } } };
}

/** The work that a body asks for, or the vendor's refusal of it. */
export function readGenerate(model: string, body: unknown): Work | Reply {
  const parsed = requestSchema.safeParse(body);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const message = `Invalid JSON payload received. ${issue?.message} at '${issue?.path.join(".")}'`;
    return grpcError(400, "INVALID_ARGUMENT", message);
  }
  const { contents, generationConfig, tools } = parsed.data;
  if ((generationConfig?.candidateCount ?? 1) > 1) {
    const message = "Multiple candidates is not enabled for this model";
    return grpcError(400, "INVALID_ARGUMENT", message);
  }
  const parts = contents.flatMap((content) => content.parts);
  return {
    model,
    prompt: parts.map(({ text }) => text ?? "").join(""),
    references: parts.flatMap(({ inlineData }) =>
      inlineData === undefined ? [] : [inlineData.data],
    ),
    ratio: generationConfig?.imageConfig?.aspectRatio,
    imageSize: generationConfig?.imageConfig?.imageSize,
    searches: tools !== undefined,
  };
}

/** Why the vendor would not do this work, in words; null when it would. */
export async function findObjection(work: Work, model: GeminiModel): Promise<string | null> {
  const { ratio, imageSize, references } = work;
  if (work.prompt === "") return "A prompt is required";
  if (ratio !== undefined && !(ratio in model.pixels)) {
    return `aspect_ratio must be one of ${Object.keys(model.pixels).join(", ")}`;
  }
  if (imageSize !== undefined && !(imageSize in model.tokensBySize)) {
    return `image_size ${imageSize} is not supported by ${work.model}`;
  }
  if (work.searches && !model.searches) return "Search as tool is not enabled for this model";
  if (references.length > 14) return "At most 14 images are supported";
  const sizes = await Promise.all(references.map(measure));
  return sizes.includes(undefined) ? "Provided image is not valid." : null;
}

/** Makes the picture of a request that nothing speaks against. */
export async function make(work: Work, making: Making): Promise<Made> {
  const model = geminiModels.get(work.model);
  if (model === undefined) throw new Error(`${work.model} is not alive`);
  const [firstReference] = work.references;
  const first = firstReference === undefined ? undefined : await measure(firstReference);
  const pixels =
    making.dimensions ?? pixelsFor(model, { ratio: work.ratio, imageSize: work.imageSize, first });
  const seed = JSON.stringify([work.model, work.prompt, work.references]);
  return {
    base64: await paintBase64({ ...pixels, format: model.format, seed }),
    format: model.format,
    tokens: {
      text: Math.ceil(work.prompt.length / 4),
      references: work.references.length * model.tokensPerReference,
      picture: model.tokensBySize[work.imageSize ?? ""] ?? model.tokens,
    },
  };
}

/** Tokens of the thoughts that `Making.thinks` adds. */
export const thoughtTokens = 37;
const wordTokens = 8;

export async function presentGenerate(work: Work, made: Made, making: Making): Promise<JsonObject> {
  const { base64, format, tokens } = made;
  const mimeType = `image/${format}`;
  const draft = { width: 64, height: 64, format, seed: "draft" };
  const thoughts = making.thinks
    ? [
        { text: "A plain picture will do.", thought: true },
        { inlineData: { mimeType, data: await paintBase64(draft) }, thought: true },
      ]
    : [];
  const input = tokens.text + tokens.references;
  const output = tokens.picture + wordTokens;
  const thought = making.thinks ? thoughtTokens : 0;
  return {
    candidates: [
      {
        index: 0,
        finishReason: "STOP",
        content: {
          role: "model",
          parts: [
            ...thoughts,
            { text: "Here is the picture." },
            {
              inlineData: { mimeType, data: base64 },
              thoughtSignature: "c2ln".repeat(making.signatureLength / 4),
            },
          ],
        },
      },
    ],
    usageMetadata: {
      promptTokenCount: input,
      candidatesTokenCount: output,
      ...(making.thinks ? { thoughtsTokenCount: thought } : {}),
      totalTokenCount: input + output + thought,
      promptTokensDetails: [
        { modality: "TEXT", tokenCount: tokens.text },
        ...(tokens.references === 0 ? [] : [{ modality: "IMAGE", tokenCount: tokens.references }]),
      ],
      candidatesTokensDetails: [{ modality: "IMAGE", tokenCount: tokens.picture }],
    },
    modelVersion: work.model,
    responseId: "kQ8hZ_emulated",
  };
}

async function paintBase64(picture: Parameters<typeof paintEmulated>[0]): Promise<string> {
  return (await paintEmulated(picture)).toString("base64");
}
