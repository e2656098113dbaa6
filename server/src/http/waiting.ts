/** How callers ask for a wait: `Prefer: wait=N` on a submit, `?wait=N` on a poll. Seconds, at most 60. */
import type { FastifyReply } from "fastify";

import { AppError } from "../lib/errors.ts";
import { secondMs } from "../lib/time.ts";

/** Longest wait of one request; common proxies drop a connection that is silent for longer. */
export const waitSecondsMax = 60;

/**
 * Seconds of the preference `wait` (RFC 7240), held to the maximum; null without one. A preference that
 * cannot be read is ignored, as the RFC asks. Without a value it is the maximum.
 */
export function findPreferredWait(header: string | string[] | undefined): number | null {
  if (header === undefined) return null;
  const text = Array.isArray(header) ? header.join(",") : header;
  for (const preference of text.split(",")) {
    const match = /^\s*wait\s*(?:=\s*"?(\d{1,9})"?\s*)?(?:;.*)?$/i.exec(preference);
    if (match === null) continue;
    return Math.min(match[1] === undefined ? waitSecondsMax : Number(match[1]), waitSecondsMax);
  }
  return null;
}

/** Milliseconds of the query `wait`; 0 without one. Throws `invalid_parameter`. */
export function parseWait(value: unknown): number {
  if (value === undefined || value === "") return 0;
  const seconds = typeof value === "string" && /^\d{1,3}$/.test(value) ? Number(value) : NaN;
  if (seconds <= waitSecondsMax) return seconds * secondMs;
  const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : "given twice";
  throw new AppError(
    "invalid_parameter",
    `query parameter wait ${shown} is not valid; use whole seconds from 0 to ${waitSecondsMax}`,
    { param: "wait" },
  );
}

/** Aborts when the caller leaves before its reply, or has left already. */
export function departureOf(reply: FastifyReply): AbortSignal {
  const departure = new AbortController();
  if (reply.raw.destroyed) departure.abort();
  reply.raw.once("close", () => departure.abort());
  return departure.signal;
}
