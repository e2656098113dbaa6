/** What a try means for its delivery, its endpoint and its origin. Pure but for the jitter. */
import type { DeliveryRow } from "../db/webhook-rows.ts";
import type { Random } from "../lib/random.ts";
import { dayMs } from "../lib/time.ts";
import type { Failing } from "./endpoint-store.ts";
import { pauseAfter } from "./schedule.ts";
import type { Sent } from "./send.ts";

export type Tried = Exclude<Sent, { kind: "aborted" }>;

/** An end, or the time of the next try. */
export type Verdict = { state: "delivered" | "failed" } | { state: "pending"; dueAt: number };

const gone = 410;

/** `now` is the end of the try. */
export function judge(
  delivery: Pick<DeliveryRow, "round" | "expires_at">,
  sent: Tried,
  { now, random }: { now: number; random: Random },
): Verdict {
  if (isTaken(sent)) return { state: "delivered" };
  if (sent.kind === "blocked" || isGone(sent)) return { state: "failed" };
  const retryAfterMs = sent.kind === "replied" ? sent.retryAfterMs : null;
  const pause = pauseAfter(delivery.round + 1, retryAfterMs, random);
  if (pause === null || now + pause >= delivery.expires_at) return { state: "failed" };
  return { state: "pending", dueAt: now + pause };
}

export function isTaken(sent: Tried): boolean {
  return sent.kind === "replied" && sent.status >= 200 && sent.status < 300;
}

/** The receiver wants nothing more, ever. */
export function isGone(sent: Tried): boolean {
  return sent.kind === "replied" && sent.status === gone;
}

/** Whether the origin answers as a working server does; null when it was not asked. */
export function isOriginHealthy(sent: Sent): boolean | null {
  if (sent.kind === "aborted" || sent.kind === "blocked") return null;
  return sent.kind === "replied" && sent.status < 500 && sent.status !== 429;
}

const failingMsMax = 5 * dayMs;
/** A receiver that is asked rarely may fail a few times in five days. */
const failedTriesMin = 20;

/** Days of nothing but failure: nobody listens there any more. */
export function isHopeless({ tries, since }: Failing, now: number): boolean {
  return tries >= failedTriesMin && now - since >= failingMsMax;
}
