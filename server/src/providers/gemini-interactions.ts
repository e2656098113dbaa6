/**
 * Gemini's Interactions API. In background mode the vendor answers at once with an id under which the
 * work can be asked for, so that it survives a crash of ours; without it the picture comes in the same
 * exchange, and a call that is not answered is lost. No page says which image models take the
 * background, so a vendor that rejects it is asked again without, within the same submit.
 */
import { z } from "zod";

import type { JsonObject } from "../lib/json.ts";
import { secondMs } from "../lib/time.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, Call, Job, JobHandle, Picture, Step, Usage } from "./adapter.ts";
import { base64Schema, parseBase64 } from "./base64.ts";
import { assertAnswered, failureOfWord, isRejected } from "./gemini-errors.ts";
import { checkAccount, tokensOf, tokensSchema, usageOf } from "./gemini-reply.ts";
import { encodeBody, pictureData, requestTo, wishOf } from "./gemini-request.ts";
import type { GeminiSettings } from "./gemini-request.ts";
import { describeReply, parseReply, reportHealth } from "./request.ts";
import type { Send, VendorReply } from "./request.ts";

export type GeminiInteractionsSettings = GeminiSettings & {
  /** Lets the vendor keep the work, and the picture with it, under an id to poll. */
  background: boolean;
};

export type GeminiInteractionsDeps = { send: Send };

type Account = GeminiInteractionsDeps & { settings: GeminiInteractionsSettings };

/** A 1K picture takes 5 to 15 s. */
const pollAfterMs = 3 * secondMs;

export function createGeminiInteractions(
  settings: GeminiInteractionsSettings,
  { send }: GeminiInteractionsDeps,
): Adapter {
  const account: Account = { settings, send };
  return {
    name: "gemini-interactions",
    picturesMax: 1,
    resend: "never",
    readsReferencesOn: "submit",
    submit: (job, call) => begin(account, job, call),
    poll: (_job, handle, call) => ask(account, handle, call),
    cancel: (handle, call) => stop(account, handle, call),
    forget: (handle, call) => remove(account, handle, call),
    check: (call) => reportHealth(() => checkAccount(settings, send, call)),
  };
}

async function begin(account: Account, job: Job, call: Call): Promise<Step> {
  const { background } = account.settings;
  const first = await create(account, job, { background, call });
  const isRefusedMode = background && isRejected(first);
  const reply = isRefusedMode ? await create(account, job, { background: false, call }) : first;
  assertAnswered(reply, "submit", call);
  return stepOf(reply, null);
}

async function create(
  { settings, send }: Account,
  job: Job,
  { background, call }: { background: boolean; call: Call },
): Promise<VendorReply> {
  const body = await encodeBody(bodyOf(settings, job, background), job.references);
  return send(requestTo(settings, "interactions", { verb: "submit", method: "POST", body }), call);
}

async function ask({ settings, send }: Account, handle: JobHandle, call: Call): Promise<Step> {
  const request = requestTo(settings, pathOf(handle), { verb: "poll", method: "GET" });
  const reply = await send(request, call);
  assertAnswered(reply, "poll", call);
  // A page of somebody on the way; asking again is free.
  if (reply.json === undefined) throw new ProviderError("unavailable", describeReply(reply));
  return stepOf(reply, handle);
}

async function stop({ settings, send }: Account, handle: JobHandle, call: Call): Promise<void> {
  const path = `${pathOf(handle)}/cancel`;
  const reply = await send(requestTo(settings, path, { verb: "cancel", method: "POST" }), call);
  // Work that has ended, or that nobody knows, needs no stopping.
  if ([400, 404, 409].includes(reply.status)) return;
  assertAnswered(reply, "cancel", call);
}

/** Until then the vendor keeps prompt, references and picture, for up to 55 days. */
async function remove({ settings, send }: Account, handle: JobHandle, call: Call): Promise<void> {
  const request = requestTo(settings, pathOf(handle), { verb: "forget", method: "DELETE" });
  const reply = await send(request, call);
  if (reply.status !== 404) assertAnswered(reply, "forget", call);
}

function pathOf({ id }: JobHandle): string {
  if (typeof id !== "string" || id === "") {
    throw new ProviderError("vanished", "the handle is not one of an interaction");
  }
  return `interactions/${encodeURIComponent(id)}`;
}

function bodyOf(settings: GeminiSettings, job: Job, background: boolean): JsonObject {
  const wish = wishOf(settings, job);
  const pictures = job.references.map(({ contentType }) => ({
    type: "image",
    mime_type: contentType,
    data: pictureData,
  }));
  const body: JsonObject = {
    model: job.upstreamModel,
    input: [{ type: "text", text: job.prompt }, ...pictures],
    response_format: {
      type: "image",
      ...(wish.ratio === null ? {} : { aspect_ratio: wish.ratio }),
      ...(wish.imageSize === null ? {} : { image_size: wish.imageSize }),
    },
    // Only what is stored can run in the background; nothing else is left with the vendor.
    store: background,
  };
  if (background) body["background"] = true;
  if (wish.search !== "none") {
    const types = wish.search === "web" ? ["web_search"] : ["web_search", "image_search"];
    body["tools"] = [{ type: "google_search", search_types: types }];
  }
  return body;
}

/** The vendor's documents list words, its SDK's types say numbers. */
const faultSchema = z
  .object({ code: z.union([z.string(), z.number()]).nullish() })
  .nullish()
  .catch(null);

const blockSchema = z.object({ type: z.string().nullish(), data: base64Schema.nullish() });

const stepSchema = z.object({
  type: z.string().nullish(),
  content: z
    .array(blockSchema.catch({}))
    .nullish()
    // Only the content of `model_output` is known to be blocks.
    .catch(null),
  error: faultSchema,
});

const detailsSchema = z
  .array(z.object({ modality: z.string().nullish(), tokens: tokensSchema }))
  .nullish()
  .catch(null);

const usageSchema = z.object({
  total_input_tokens: tokensSchema,
  total_output_tokens: tokensSchema,
  total_thought_tokens: tokensSchema,
  total_tokens: tokensSchema,
  input_tokens_by_modality: detailsSchema,
  output_tokens_by_modality: detailsSchema,
});

const replySchema = z.object({
  id: z.string().nullish(),
  status: z.string(),
  steps: z.array(stepSchema).nullish(),
  errors: z.array(faultSchema).nullish().catch(null),
  // A picture that is there is not given up for figures that are odd.
  usage: usageSchema.nullish().catch(null),
});

type Reply = z.infer<typeof replySchema>;

/** What becomes of a status when no picture came with it and no error says more. */
const wordsByStatus = new Map([
  ["completed", "no_image"],
  ["incomplete", "no_image"],
  ["budget_exceeded", "no_image"],
  // Both ask for something that nobody here can give.
  ["requires_action", "no_image"],
  ["requires_continuation", "no_image"],
  ["failed", "api_error"],
]);

/** `polled` is the handle that was asked about, or null for the answer to a submit. */
function stepOf(vendorReply: VendorReply, polled: JobHandle | null): Step {
  const reply = parseReply(replySchema, vendorReply);
  if (reply.status === "queued" || reply.status === "in_progress") {
    return { status: "running", handle: polled ?? handleOf(reply), pollAfterMs };
  }
  const picture = findPicture(reply) ?? failedPicture(reply);
  // Thrown from a poll, a failure that passes would only mean to ask for the same failed work again.
  if (polled === null && picture.kind === "failed" && picture.failure.kind !== "refused") {
    throw picture.failure;
  }
  return { status: "done", pictures: [picture], usage: readUsage(reply.usage) };
}

function handleOf({ id }: Reply): JobHandle {
  if (id == null || id === "") throw new ProviderError("lost", "work was begun without an id");
  return { id };
}

function findPicture({ steps }: Reply): Picture | null {
  for (const { type, content } of steps ?? []) {
    if (type !== "model_output") continue;
    const data = content?.find((block) => block.type === "image" && block.data != null)?.data;
    if (data != null) return { kind: "bytes", bytes: parseBase64(data) };
  }
  return null;
}

function failedPicture({ status, steps, errors }: Reply): Extract<Picture, { kind: "failed" }> {
  if (status === "cancelled") {
    const failure = new ProviderError("refused", "the work was cancelled", {
      taskError: "cancelled",
    });
    return { kind: "failed", failure };
  }
  const word = wordsByStatus.get(status);
  if (word === undefined) {
    throw new ProviderError("garbled", `the status ${status.slice(0, 60)} is not known`);
  }
  const faults = [...(steps ?? []).map(({ error }) => error), ...(errors ?? [])];
  const code = faults.find((fault) => fault?.code != null)?.code;
  return { kind: "failed", failure: failureOfWord(code ?? word) };
}

function readUsage(usage: Reply["usage"]): Usage {
  return usageOf({
    inputTokens: usage?.total_input_tokens ?? null,
    inputTextTokens: tokensOf("text", usage?.input_tokens_by_modality) ?? null,
    inputImageTokens: tokensOf("image", usage?.input_tokens_by_modality) ?? null,
    outputTokens: outputTokensOf(usage),
    outputImageTokens: tokensOf("image", usage?.output_tokens_by_modality) ?? null,
  });
}

/** Whether thoughts are inside the output is reported both ways; the total tells. */
function outputTokensOf(usage: Reply["usage"]): number | null {
  const output = usage?.total_output_tokens;
  if (usage == null || output == null) return null;
  const thoughts = usage.total_thought_tokens ?? 0;
  const areApart = usage.total_tokens === (usage.total_input_tokens ?? 0) + output + thoughts;
  return areApart ? output + thoughts : output;
}
