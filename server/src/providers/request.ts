/**
 * The one way in which adapters speak to their upstreams: a single exchange through the guard, without
 * retries and without following redirects, bounded in bytes and in time. What breaks on the way ends in
 * a `ProviderError` whose kind says whether work may have been begun and billed; a reply with any status
 * but a redirect is the adapter's to judge. No key reaches a message, and neither do picture bytes.
 */
import type { z } from "zod";

import { EgressError } from "../lib/egress.ts";
import type { Egress, EgressReply } from "../lib/egress.ts";
import { redact } from "../lib/log.ts";
import { dayMs, hourMs, minuteMs, secondMs } from "../lib/time.ts";
import { ProviderError } from "./adapter.ts";
import type { Call, Health } from "./adapter.ts";
import { createReplies } from "./replies.ts";
import type { Replies } from "./replies.ts";
import { readContent } from "./reply-reader.ts";

export type VendorRequest = {
  /** Decides what a failure after the send means: only a submit can begin work. */
  verb: "submit" | "poll" | "cancel" | "forget" | "check";
  method: "GET" | "POST" | "DELETE";
  url: string;
  headers: Record<string, string>;
  body?: string | Uint8Array;
  /** Longest reply. Default 64 MiB. */
  bytesMax?: number;
  /**
   * Up to the reply's headers. By default a submit waits until the call's signal, everything else 30 s.
   * Between pieces of the body it is at most five minutes.
   */
  headersTimeoutMs?: number;
  /** Hosts that may be asked; `*.example.com` means everything below it. Any public one by default. */
  hosts?: readonly string[];
};

export type VendorReply = {
  /** Never 3xx. */
  status: number;
  /** By lower-case name. */
  headers: Readonly<Record<string, string>>;
  /** The body, with long base64 strings decoded (`base64.ts`); undefined when it is not JSON. */
  json: unknown;
  /** The beginning of the body for operators: at most 300 characters, without keys and picture bytes. */
  excerpt: string;
};

/** Sends a request and reads the reply. Throws `ProviderError`. */
export type Send = (request: VendorRequest, call: Call) => Promise<VendorReply>;

const replyBytesMaxDefault = 64 * 1_048_576;
/** Error bodies are short; what follows says nothing more. */
const errorBytesMax = 65_536;
const excerptLengthMax = 300;
/** A safety net only: a submit is called off by its signal, at the channel's time limit. */
const exchangeMsMax = 2 * hourMs;
const quickReplyMs = 30 * secondMs;
/** What common clients allow, so that no server is silent for longer within a reply. */
const gapMsMax = 5 * minuteMs;

/** Ways to different hosts that belong to one process share their `replies`. */
export function createSend(egress: Egress, replies: Replies = createReplies()): Send {
  return (request, call) => exchange({ egress, replies }, request, call);
}

/** The body of a successful reply. Throws a `ProviderError` (`garbled`) when it has another shape. */
export function parseReply<T>(schema: z.ZodType<T>, reply: VendorReply): T {
  if (reply.json === undefined) {
    throw new ProviderError("garbled", `the reply is not JSON: ${describeReply(reply)}`);
  }
  const parsed = schema.safeParse(reply.json);
  if (parsed.success) return parsed.data;
  const places = parsed.error.issues.slice(0, 5).map(({ path }) => path.join(".") || "the body");
  throw new ProviderError(
    "garbled",
    `the reply has another shape at ${places.join(", ")}: ${describeReply(reply)}`,
  );
}

/** Status, request id where there is one, and excerpt, for the message of a `ProviderError`. */
export function describeReply({ status, headers, excerpt }: VendorReply): string {
  const requestId = headers["x-request-id"];
  const id = requestId === undefined ? "" : ` (request ${requestId.slice(0, 100)})`;
  return `HTTP ${status}${id} ${excerpt}`.trimEnd();
}

/**
 * Milliseconds until the upstream wants to be asked again, at most a day: `retry-after-ms`, or
 * `retry-after` in seconds or as a date. `now` is in unix milliseconds.
 */
export function retryAfterMs(
  headers: Readonly<Record<string, string>>,
  now: number,
): number | undefined {
  const exactMs = parseCount(headers["retry-after-ms"]);
  if (exactMs !== undefined) return clampWait(exactMs);
  const text = headers["retry-after"]?.trim() ?? "";
  const seconds = parseCount(text);
  if (seconds !== undefined) return clampWait(seconds * secondMs);
  // `Date.parse` takes a bare negative number for a year.
  const at = /^[A-Za-z]{3}/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(at) ? undefined : clampWait(at - now);
}

/** What `ask` finds, with a failure of the upstream told as a finding instead of thrown. */
export async function reportHealth(ask: () => Promise<Health>): Promise<Health> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return { ok: false, detail: error.message };
  }
}

async function exchange(
  { egress, replies }: { egress: Egress; replies: Replies },
  request: VendorRequest,
  call: Call,
): Promise<VendorReply> {
  const { verb, method, url, headers, body, hosts, bytesMax = replyBytesMaxDefault } = request;
  const waitMs = request.headersTimeoutMs ?? (verb === "submit" ? exchangeMsMax : quickReplyMs);
  try {
    const reply = await egress.request(url, {
      method,
      headers,
      bytesMax,
      timeoutMs: exchangeMsMax,
      headersTimeoutMs: waitMs,
      gapTimeoutMs: Math.min(waitMs, gapMsMax),
      headerBytesMax: 32_768,
      // A lost submit costs money, a lost poll nothing: only polls use connections that may be closing.
      keepAlive: verb === "poll",
      signal: call.signal,
      ...(body === undefined ? {} : { body }),
      ...(hosts === undefined ? {} : { hosts }),
    });
    if (reply.status >= 300 && reply.status < 400) throw refuseRedirect(verb, reply);
    const { status } = reply;
    const { json, beginning } =
      status >= 400 ? readContent(await readBeginning(reply)) : await replies.take(reply);
    return { status, headers: reply.headers, json, excerpt: excerptOf(beginning, headers) };
  } catch (error) {
    if (!(error instanceof EgressError)) throw error;
    throw describeFailure(verb, error);
  }
}

/** A submit that is sent elsewhere has begun nothing; a poll that is has lost sight of work. */
function refuseRedirect(verb: VendorRequest["verb"], reply: EgressReply): ProviderError {
  reply.discard();
  return new ProviderError(
    verb === "poll" ? "garbled" : "bad_request",
    `HTTP ${reply.status}: redirects are not followed; check the channel's base URL`,
  );
}

/** The status of an error says what happened, so a body that is cut, endless or slow loses nothing. */
async function readBeginning(reply: EgressReply): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of reply.body) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= errorBytesMax) break;
    }
  } catch (error) {
    if (!(error instanceof EgressError)) throw error;
  }
  return Buffer.concat(chunks).subarray(0, errorBytesMax);
}

function excerptOf(beginning: Uint8Array, sentHeaders: Record<string, string>): string {
  const text = new TextDecoder().decode(beginning);
  const clean = secretsOf(sentHeaders)
    .reduce((rest, secret) => rest.replaceAll(secret, "[redacted]"), text)
    .replaceAll(/\b(?:sk|bfl)[-_][\w*.-]{6,}|\bAIza[\w-]{10,}/g, "[redacted]")
    .replaceAll(/[A-Za-z0-9+/_-]{64,}={0,2}/g, "[redacted]")
    // The query of a signed link is a key to what it names.
    .replaceAll(/(https?:\/\/[^\s"'?]+)\?[^\s"']*/g, "$1?[redacted]")
    .replaceAll(/\s+/g, " ");
  return redact(clean, excerptLengthMax - 1).trim();
}

/** What a vendor might echo: header values and their last words, as in `Bearer KEY`. */
function secretsOf(headers: Record<string, string>): string[] {
  const harmless = new Set(["accept", "content-type", "user-agent"]);
  return Object.entries(headers)
    .filter(([name]) => !harmless.has(name.toLowerCase()))
    .map(([, value]) => value.split(" ").at(-1) ?? "")
    .filter((word) => word.length >= 6);
}

function describeFailure(verb: VendorRequest["verb"], error: EgressError): ProviderError {
  const message = `${verb}: ${redact(error.message, excerptLengthMax)}`;
  const options = { cause: error };
  if (!error.sent) return new ProviderError("unavailable", message, options);
  // Asked for again, the same work would give the same endless reply.
  if (error.kind === "too_large") return new ProviderError("garbled", message, options);
  return new ProviderError(verb === "submit" ? "lost" : "unavailable", message, options);
}

function parseCount(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : undefined;
}

function clampWait(ms: number): number {
  return Math.round(Math.min(Math.max(0, ms), dayMs));
}
