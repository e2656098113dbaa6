/**
 * Why Gemini did not deliver. Both of its error shapes may come from either protocol: gRPC's
 * `{code: 429, status: "RESOURCE_EXHAUSTED", details}` and the flat `{code: "rate_limit_exceeded"}`.
 * Requests that end in an error of the vendor's own are not billed, whatever their status.
 */
import { z } from "zod";

import { dayMs, minuteMs, secondMs } from "../lib/time.ts";
import { ProviderError } from "./adapter.ts";
import type { Call, FailureKind } from "./adapter.ts";
import { describeReply, retryAfterMs } from "./request.ts";
import type { VendorReply, VendorRequest } from "./request.ts";

type Verb = VendorRequest["verb"];

/** Kinds by the vendor's word for the error, in lower case; both shapes use the same words or close ones. */
const kindsByWord = new Map<string, FailureKind>([
  ["invalid_argument", "bad_request"],
  ["invalid_request", "bad_request"],
  ["parameter_unknown", "bad_request"],
  ["out_of_range", "bad_request"],
  // Billing is off, or the country has no free tier.
  ["failed_precondition", "exhausted"],
  ["payment_required", "exhausted"],
  ["quota_exceeded", "exhausted"],
  ["unauthenticated", "unauthorized"],
  ["authentication", "unauthorized"],
  ["permission_denied", "unauthorized"],
  // The model is retired here, which says nothing of other channels and other models.
  ["not_found", "unserved"],
  ["model_not_found", "unserved"],
  ["unimplemented", "unavailable"],
  ["already_exists", "unavailable"],
  ["aborted", "unavailable"],
  ["resource_exhausted", "rate_limited"],
  ["rate_limit_exceeded", "rate_limited"],
  ["too_many_requests", "rate_limited"],
  ["cancelled", "lost"],
  ["internal", "unavailable"],
  ["unknown", "unavailable"],
  ["api_error", "unavailable"],
  ["unavailable", "unavailable"],
  ["service_unavailable", "unavailable"],
  ["deadline_exceeded", "unavailable"],
]);

/** For replies without a word of the vendor's: a proxy's page. Others of 4xx are our mistake. */
const kindsByStatus = new Map<number, FailureKind>([
  [401, "unauthorized"],
  [402, "exhausted"],
  [403, "unauthorized"],
  [404, "unavailable"],
  [408, "unavailable"],
  [409, "unavailable"],
  [429, "rate_limited"],
  [499, "lost"],
  [500, "unavailable"],
  [501, "unavailable"],
  // Somebody on the way waited in vain for an answer that may exist.
  [502, "lost"],
  [503, "unavailable"],
  [504, "lost"],
]);

/** Words of a refusal of the content: finish reasons and error codes, in lower case. */
const refusalWords = new Set([
  "safety",
  "image_safety",
  "prohibited_content",
  "image_prohibited_content",
  "blocklist",
  "spii",
  "recitation",
  "image_recitation",
  "content_blocked",
]);

/** Words for "no picture came of it", which is nobody's fault and not worth a second payment. */
const picturelessWords = new Set([
  "no_image",
  "image_other",
  "other",
  "language",
  "max_tokens",
  "malformed_response",
  "malformed_function_call",
  "malformed_tool_call",
  "unexpected_tool_call",
  "too_many_tool_calls",
  "missing_thought_signature",
]);

/** `google.rpc.Code` by number. */
const grpcWords = [
  "ok",
  "cancelled",
  "unknown",
  "invalid_argument",
  "deadline_exceeded",
  "not_found",
  "already_exists",
  "permission_denied",
  "resource_exhausted",
  "failed_precondition",
  "aborted",
  "out_of_range",
  "unimplemented",
  "internal",
  "unavailable",
  "data_loss",
  "unauthenticated",
];

const detailSchema = z.object({
  reason: z.string().nullish().catch(null),
  retryDelay: z.string().nullish().catch(null),
  violations: z
    .array(z.object({ quotaId: z.string().nullish().catch(null) }).catch({}))
    .nullish()
    .catch(null),
});

const errorSchema = z.object({
  error: z.object({
    code: z.union([z.string(), z.number()]).nullish().catch(null),
    status: z.string().nullish().catch(null),
    details: z.array(detailSchema.catch({})).nullish().catch(null),
  }),
});

type VendorFault = z.infer<typeof errorSchema>["error"];

/** Throws the failure that a reply tells of, also where the vendor says 200 and means an error. */
export function assertAnswered(reply: VendorReply, verb: Verb, call: Call): void {
  const fault = findFault(reply);
  if (reply.status >= 200 && reply.status < 300 && fault === null) return;
  const failure = failureOf(reply, { verb, fault, now: call.now });
  throw verb === "submit" ? failure : (unfinished(failure, verb) ?? failure);
}

/** Whether the vendor says that what was sent has no meaning there, and nothing about our key. */
export function isRejected(reply: VendorReply): boolean {
  const fault = reply.status === 400 || reply.status === 501 ? findFault(reply) : null;
  if (fault === null || namesKey(fault)) return false;
  const word = wordOf(fault);
  return ["invalid_request", "invalid_argument", "parameter_unknown", "unimplemented"].some(
    (rejection) => rejection === word,
  );
}

/** The failure of a picture that the vendor gave no bytes for, by its word: a reason or an error code. */
export function failureOfWord(code: string | number): ProviderError {
  const word = wordOf({ code }) ?? String(code);
  const message = `no picture came: ${word.slice(0, 60)}`;
  const kind = kindsByWord.get(word) ?? kindsByStatus.get(Number(word));
  if (kind !== undefined && kind !== "lost") return new ProviderError(kind, message);
  return contentFailure(word, message) ?? picturelessFailure(message);
}

function contentFailure(word: string, message: string): ProviderError | null {
  if (refusalWords.has(word)) return new ProviderError("refused", message);
  return picturelessWords.has(word) ? picturelessFailure(message) : null;
}

function picturelessFailure(message: string): ProviderError {
  return new ProviderError("refused", message, { taskError: "no_image" });
}

type Context = { verb: Verb; fault: VendorFault | null; now: number };

function failureOf(reply: VendorReply, { verb, fault, now }: Context): ProviderError {
  const message = describeReply(reply);
  if (fault !== null && namesKey(fault)) return new ProviderError("unauthorized", message);
  const word = fault === null ? null : wordOf(fault);
  const refusal = word === null ? null : contentFailure(word, message);
  if (refusal !== null) return refusal;
  const kind = kindFor(verb, reply.status, word);
  const waitMs = (fault === null ? undefined : delayOf(fault)) ?? retryAfterMs(reply.headers, now);
  if (kind === "rate_limited" && fault !== null && isLongGone(fault, waitMs)) {
    const untilMs = isPerDay(fault) ? untilPacificMidnightMs(now) : 0;
    const retryAfter = Math.max(untilMs, waitMs ?? 0);
    return new ProviderError("exhausted", message, { retryAfterMs: retryAfter });
  }
  return new ProviderError(kind, message, waitMs === undefined ? {} : { retryAfterMs: waitMs });
}

/**
 * What an error of another call than a submit means, where that differs. The work that a poll asks for is
 * there and paid for, whatever is wrong with the asking: it must not be begun a second time elsewhere.
 */
function unfinished(failure: ProviderError, verb: Verb): ProviderError | null {
  const { kind, message } = failure;
  if (kind === "lost") return new ProviderError("unavailable", message);
  if (verb !== "poll") return null;
  if (kind === "unauthorized") return new ProviderError("unavailable", message);
  if (kind === "exhausted") return new ProviderError("rate_limited", message);
  return kind === "bad_request" ? new ProviderError("garbled", message) : null;
}

function kindFor(verb: Verb, status: number, word: string | null): FailureKind {
  // Both shapes tell of an empty purse with the word for too many requests.
  if (status === 402) return "exhausted";
  if (verb === "poll" && (status === 404 || status === 410)) return "vanished";
  return kindOf(status, word);
}

function kindOf(status: number, word: string | null): FailureKind {
  const named = word === null ? undefined : kindsByWord.get(word);
  if (named !== undefined) return named;
  if (status >= 200 && status < 300) return "garbled";
  return kindsByStatus.get(status) ?? (status >= 500 ? "unavailable" : "bad_request");
}

function findFault(reply: VendorReply): VendorFault | null {
  const parsed = errorSchema.safeParse(reply.json);
  return parsed.success ? parsed.data.error : null;
}

function wordOf({ status, code }: Omit<VendorFault, "details">): string | null {
  if (typeof code === "string") return code.toLowerCase();
  if (typeof status === "string") return status.toLowerCase();
  return typeof code === "number" ? (grpcWords[code] ?? null) : null;
}

/** A wrong key is told as a 400 `INVALID_ARGUMENT`; only the reason says what it is about. */
function namesKey({ details }: VendorFault): boolean {
  return (details ?? []).some(({ reason }) => reason?.startsWith("API_KEY_") === true);
}

/** The longest pause that is still a matter of waiting: spend limits roll over ten minutes. */
const pauseMsMax = 10 * minuteMs;

function isLongGone(fault: VendorFault, waitMs: number | undefined): boolean {
  return isPerDay(fault) || (waitMs ?? 0) > pauseMsMax;
}

function isPerDay({ details }: VendorFault): boolean {
  return (details ?? []).some(({ violations }) =>
    (violations ?? []).some(({ quotaId }) => quotaId?.includes("PerDay") === true),
  );
}

/** Protobuf's text form of a duration: `28s`, `6776s` or `28.4s`. */
function delayOf({ details }: VendorFault): number | undefined {
  for (const { retryDelay } of details ?? []) {
    const [, seconds] = /^(\d{1,9}(?:\.\d{1,9})?)s$/.exec(retryDelay ?? "") ?? [];
    if (seconds !== undefined) return Math.min(dayMs, Math.ceil(Number(seconds) * secondMs));
  }
  return undefined;
}

/** Daily quotas begin anew at midnight Pacific time. An hour off on the two days the clocks change. */
function untilPacificMidnightMs(now: number): number {
  const parts = new Intl.DateTimeFormat("en-US", {
    timeZone: "America/Los_Angeles",
    hourCycle: "h23",
    hour: "numeric",
    minute: "numeric",
  }).formatToParts(now);
  const numberOf = (type: string): number =>
    Number(parts.find((part) => part.type === type)?.value ?? 0);
  return dayMs - (numberOf("hour") * 60 + numberOf("minute")) * minuteMs;
}
