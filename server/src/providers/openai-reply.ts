/** Replies of the OpenAI Images protocol, as lenient as the servers that speak it: every field may be missing. */
import { z } from "zod";

import { secondMs } from "../lib/time.ts";
import { ProviderError } from "./adapter.ts";
import type { TaskErrorCode } from "../models/task-errors.ts";
import type { Call, FailureKind, Health, Job, Picture, Step, Usage } from "./adapter.ts";
import { base64Schema, parseBase64 } from "./base64.ts";
import { describeReply, parseReply, retryAfterMs } from "./request.ts";
import type { VendorReply } from "./request.ts";

/** Turns the text of a `url` field into a picture to be downloaded. Throws `ProviderError`. */
export type PictureAt = (url: string) => Picture;

const count = z.number().int().nonnegative().nullish().catch(null);

const imagesReply = z.object({
  data: z
    .array(z.object({ b64_json: base64Schema.nullish(), url: z.string().nullish().catch(null) }))
    .nullish(),
  quality: z.string().nullish().catch(null),
  usage: z
    .object({
      input_tokens: count,
      input_tokens_details: z.object({ text_tokens: count, image_tokens: count }).nullish(),
      output_tokens: count,
      output_tokens_details: z.object({ image_tokens: count }).nullish(),
    })
    .nullish()
    .catch(null),
  error: z.unknown().optional(),
});

const modelList = z.object({
  data: z
    .array(z.object({ id: z.string(), shutdown_date: z.string().nullish().catch(null) }))
    .nullish(),
});

const word = z.string().nullish().catch(null);
const errorReply = z.object({
  error: z
    .object({
      message: word,
      type: word,
      param: word,
      code: word,
      moderation_details: z.unknown().optional(),
    })
    .nullish()
    .catch(null),
});

type ErrorWords = {
  message: string;
  type: string;
  param: string;
  code: string;
  isModerated: boolean;
};

type ImagesReply = z.infer<typeof imagesReply>;

/** The finished step that a reply to a submit means. Throws `ProviderError`. */
export function finishedStep(reply: VendorReply, job: Job, call: Call, pictureAt: PictureAt): Step {
  if (reply.status < 200 || reply.status > 299) throw failureOf(reply, call.now);
  const parsed = parseReply(imagesReply, reply);
  const { data } = parsed;
  if (data === null || data === undefined) throw failureWithin(reply, parsed);
  const pictures = job.slots.map((_slot, index) => toPicture(data[index], reply, pictureAt));
  return { status: "done", pictures, usage: usageOf(parsed) };
}

/** What a reply to `GET /models` tells the operator. Throws `ProviderError`. */
export function healthOf(reply: VendorReply, call: Call): Health {
  if (reply.status < 200 || reply.status > 299) throw failureOf(reply, call.now);
  const models = parseReply(modelList, reply).data ?? [];
  const ending = models
    .filter(({ shutdown_date: date }) => date !== null && date !== undefined)
    .slice(0, 10)
    .map(({ id, shutdown_date: date }) => `${id} shuts down on ${date}`);
  return {
    ok: true,
    detail: [`answers, ${models.length} models`, ...ending].join("; "),
    upstreamModels: models.map(({ id }) => id),
  };
}

type Entry = NonNullable<ImagesReply["data"]>[number];

/** One bad picture does not spoil its neighbours, which are as paid for as it is. */
function toPicture(entry: Entry | undefined, reply: VendorReply, pictureAt: PictureAt): Picture {
  try {
    const base64 = entry?.b64_json ?? "";
    if (base64 !== "") return { kind: "bytes", bytes: parseBase64(base64) };
    const url = entry?.url ?? "";
    if (url !== "") return pictureAt(url);
    throw new ProviderError("garbled", `a picture is missing: ${describeReply(reply)}`);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    const failure = new ProviderError(error.kind, error.message, {
      taskError: "no_image",
      cause: error,
    });
    return { kind: "failed", failure };
  }
}

function usageOf({ usage, quality }: ImagesReply): Usage {
  const told: Usage = {};
  // `auto` would only say that nothing is known.
  if (typeof quality === "string" && quality !== "auto") told.quality = quality;
  if (usage === null || usage === undefined) return told;
  const { input_tokens_details: input, output_tokens_details: output } = usage;
  const figures = {
    inputTokens: usage.input_tokens,
    outputTokens: usage.output_tokens,
    inputTextTokens: input?.text_tokens,
    inputImageTokens: input?.image_tokens,
    // Older models do not divide their output: it is all image.
    outputImageTokens: output?.image_tokens ?? usage.output_tokens,
  };
  for (const [figure, value] of Object.entries(figures)) {
    if (value !== null && value !== undefined) Object.assign(told, { [figure]: value });
  }
  return told;
}

const refusedCodes = new Set(["moderation_blocked", "content_policy_violation"]);
const exhaustedCodes = new Set([
  "insufficient_quota",
  "billing_hard_limit_reached",
  "credit_balance_exhausted",
  "organization_spend_limit_exceeded",
  "project_spend_limit_exceeded",
  "organization_usage_limit_exceeded",
  "billing_not_active",
]);
const exhaustedTypes = new Set(["insufficient_quota", "billing_limit_user_error"]);
const pictureCodes = new Set([
  "unsupported_file_mimetype",
  "invalid_image",
  "invalid_image_file",
  "invalid_image_format",
  "invalid_image_mode",
  "image_too_large",
  "image_too_small",
  "image_parse_error",
  "empty_image_file",
]);

/**
 * Statuses whose meaning does not need the body. 502, 504, 520 and 524 come from a proxy that has
 * passed the request on and got no answer back: a picture may have been made and billed.
 */
const statusKinds: Record<number, FailureKind> = {
  401: "unauthorized",
  402: "exhausted",
  403: "unauthorized",
  // A retired model or a wrong base URL: nothing was made, and another channel may serve it.
  404: "unavailable",
  405: "unavailable",
  408: "unavailable",
  409: "unavailable",
  425: "unavailable",
  429: "rate_limited",
  502: "lost",
  504: "lost",
  520: "lost",
  524: "lost",
};

/** What a reply with an error status means; `now` in unix milliseconds dates its `retry-after`. */
export function failureOf(reply: VendorReply, now: number): ProviderError {
  const words = errorWordsOf(reply);
  const kind =
    kindOfWords(words) ??
    statusKinds[reply.status] ??
    (reply.status >= 500 ? "unavailable" : "bad_request");
  const waitMs = retryAfterMs(reply.headers, now) ?? waitInText(words.message);
  const taskError = kind === "bad_request" ? pictureErrorOf(words) : undefined;
  return new ProviderError(kind, describeReply(reply), {
    ...(waitMs === undefined ? {} : { retryAfterMs: waitMs }),
    ...(taskError === undefined ? {} : { taskError }),
  });
}

/** A success without pictures: some servers put their error into it, and only known words are believed. */
function failureWithin(reply: VendorReply, { error }: ImagesReply): ProviderError {
  const kind = error === undefined || error === null ? null : kindOfWords(errorWordsOf(reply));
  return new ProviderError(kind ?? "garbled", `no pictures: ${describeReply(reply)}`);
}

function kindOfWords({ code, type, isModerated }: ErrorWords): FailureKind | null {
  if (refusedCodes.has(code) || isModerated) return "refused";
  if (exhaustedCodes.has(code) || exhaustedTypes.has(type)) return "exhausted";
  if (code === "rate_limit_exceeded") return "rate_limited";
  if (code === "invalid_api_key") return "unauthorized";
  return code === "model_not_found" ? "unserved" : null;
}

function pictureErrorOf({ code, param }: ErrorWords): TaskErrorCode | undefined {
  if (!pictureCodes.has(code)) return undefined;
  return param === "mask" ? "invalid_mask" : "invalid_reference_image";
}

function errorWordsOf(reply: VendorReply): ErrorWords {
  const parsed = errorReply.safeParse(reply.json);
  const error = parsed.success ? parsed.data.error : null;
  return {
    message: error?.message ?? "",
    type: error?.type ?? "",
    param: error?.param ?? "",
    code: error?.code ?? "",
    isModerated: error?.moderation_details !== undefined && error.moderation_details !== null,
  };
}

/** `… Please try again in 12s.`, also `250ms` and `6m0s`. */
function waitInText(message: string): number | undefined {
  const match = /try again in (?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|s))?/.exec(message);
  if (match === null || (match[1] === undefined && match[2] === undefined)) return undefined;
  const rest = Number(match[2] ?? 0) * (match[3] === "ms" ? 1 : secondMs);
  return Math.min(Math.round(Number(match[1] ?? 0) * 60 * secondMs + rest), 86_400_000);
}
