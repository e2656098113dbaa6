/** When a delivery is tried again. Pure. */
import { jitter } from "../lib/random.ts";
import type { Random } from "../lib/random.ts";
import { hourMs, minuteMs, secondMs } from "../lib/time.ts";

/** Pauses after each failed try but the last: nine tries in about 28 hours. Links end a day after the task. */
export const retryPausesMs: readonly number[] = [
  5 * secondMs,
  30 * secondMs,
  5 * minuteMs,
  30 * minuteMs,
  2 * hourMs,
  5 * hourMs,
  10 * hourMs,
  10 * hourMs,
];

export const triesMax = retryPausesMs.length + 1;

/** A delivery that could not be tried as often, because its receiver stayed away, is given up after this. */
export const giveUpAfterMs = 48 * hourMs;

const jitterShare = 0.1;
/** Longest pause that a receiver may ask for. */
const retryAfterMsMax = hourMs;

/** Milliseconds until the next try, after `tries` in this round; null when that was the last. */
export function pauseAfter(
  tries: number,
  retryAfterMs: number | null,
  random: Random,
): number | null {
  const pause = retryPausesMs[tries - 1];
  if (pause === undefined) return null;
  const asked = Math.min(retryAfterMs ?? 0, retryAfterMsMax);
  return Math.max(jitter(random, pause, jitterShare), asked);
}

/** What a `Retry-After` asks for, in milliseconds: seconds or an HTTP date; null for anything else. */
export function parseRetryAfter(header: string | undefined, now: number): number | null {
  if (header === undefined) return null;
  const text = header.trim();
  if (/^\d{1,9}$/.test(text)) return Number(text) * secondMs;
  // Only the one form that RFC 9110 tells servers to send: `Date.parse` would take nearly anything.
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) return null;
  const at = Date.parse(text);
  return Number.isNaN(at) ? null : Math.max(0, at - now);
}
