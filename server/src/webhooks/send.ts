/** One try of one delivery: a guarded POST, and what came of it. */
import { EgressError } from "../lib/egress.ts";
import type { Egress, EgressReply } from "../lib/egress.ts";
import type { Clock } from "../lib/time.ts";
import { secondMs, toUnixSeconds } from "../lib/time.ts";
import { urlLengthMax } from "./address.ts";
import { parseRetryAfter } from "./schedule.ts";
import { signatureHeaders } from "./sign.ts";

export type SendDeps = { egress: Pick<Egress, "request">; clock: Clock };

export type Outgoing = {
  url: string;
  eventId: string;
  /** Tells a test event from a task, whose bodies have one form. */
  type: string;
  body: string;
  secrets: readonly string[];
  signal: AbortSignal;
};

/**
 * - `replied`: any HTTP reply, redirects included; `response` is how it began.
 * - `silent`: none; `error` is fit for the owner of the address, `detail` for the operator alone.
 * - `blocked`: the guard let nothing leave.
 * - `aborted`: this process is stopping.
 */
export type Sent =
  | { kind: "replied"; status: number; retryAfterMs: number | null; response: string | null }
  | { kind: "silent"; error: string; detail: string }
  | { kind: "blocked"; error: string; detail: string }
  | { kind: "aborted" };

/** The whole of a try. Leases of deliveries are longer. */
export const sendTimeoutMs = 15 * secondMs;
/** For the body of a reply whose status has already decided the try. */
const bodyTimeoutMs = secondMs;
const responseBytesMax = 1_024;

export async function send(deps: SendDeps, outgoing: Outgoing): Promise<Sent> {
  const { url, eventId, type, body, secrets, signal } = outgoing;
  const timestamp = toUnixSeconds(deps.clock.now());
  try {
    const reply = await deps.egress.request(url, {
      method: "POST",
      headers: {
        "content-type": "application/json; charset=utf-8",
        "user-agent": "darkroom-webhooks",
        "darkroom-event": type,
        ...signatureHeaders({ id: eventId, timestamp, body }, secrets),
      },
      body,
      bytesMax: Number.MAX_SAFE_INTEGER,
      timeoutMs: sendTimeoutMs,
      headersTimeoutMs: sendTimeoutMs,
      urlLengthMax,
      signal,
    });
    const retryAfterMs = parseRetryAfter(reply.headers["retry-after"], deps.clock.now());
    const response = await readBeginning(deps, reply);
    return { kind: "replied", status: reply.status, retryAfterMs, response };
  } catch (error) {
    return describeFailure(error);
  }
}

/** At most a kilobyte, for the log; a reply that trickles or has no end is left where it is. */
async function readBeginning({ clock }: SendDeps, reply: EgressReply): Promise<string | null> {
  const cancel = clock.after(bodyTimeoutMs, reply.discard);
  const chunks: Uint8Array[] = [];
  let received = 0;
  try {
    for await (const chunk of reply.body) {
      chunks.push(chunk);
      received += chunk.byteLength;
      if (received >= responseBytesMax) break;
    }
  } catch (error) {
    if (!(error instanceof EgressError)) throw error;
  } finally {
    cancel();
    reply.discard();
  }
  const text = Buffer.concat(chunks).subarray(0, responseBytesMax).toString("utf8");
  // PostgreSQL keeps no NUL in a text.
  return text === "" ? null : text.replaceAll("\0", "\uFFFD");
}

/**
 * Whoever owns the address is told less than the operator: the difference between a name that is unknown, a
 * refused connection and a closed port would map the network that this server stands in.
 */
function describeFailure(error: unknown): Sent {
  if (!(error instanceof EgressError)) throw error;
  const detail = `${error.kind}: ${error.message}`;
  if (error.kind === "aborted") return { kind: "aborted" };
  if (error.kind === "blocked") {
    return { kind: "blocked", error: "the address may not be reached from here", detail };
  }
  if (!error.sent) return { kind: "silent", error: "no connection could be made", detail };
  if (error.kind === "timeout") {
    return { kind: "silent", error: `no reply within ${sendTimeoutMs / secondMs} s`, detail };
  }
  return { kind: "silent", error: "the connection broke before there was a reply", detail };
}
