/**
 * What the engine does when an attempt fails, by kind: one row a kind, and a kind without a row does
 * not compile. The column that matters is `again`: only a failure that certainly made nothing may be
 * tried again, because every vendor call is paid for.
 */
import { ProviderError } from "../providers/adapter.ts";
import type { FailureKind } from "../providers/adapter.ts";
import type { TaskErrorCode } from "../models/task-errors.ts";

export type Decision = {
  /** `never`; `elsewhere`: on another channel only; `anywhere`: also here after a pause. */
  again: "never" | "elsewhere" | "anywhere";
  /** What the attempt's row says: `unknown` where the vendor may have made and billed a picture. */
  attempt: "failed" | "unknown";
  /** The task error when nothing further is tried. */
  error: TaskErrorCode;
};

/** Our own doing, not the upstream's: nothing was sent, or nobody is left who knows. */
export class OwnFailure extends ProviderError {}

const decisions: Record<FailureKind, Decision> = {
  refused: { again: "never", attempt: "failed", error: "content_policy_violation" },
  bad_request: { again: "never", attempt: "failed", error: "provider_rejected" },
  unauthorized: { again: "elsewhere", attempt: "failed", error: "provider_unavailable" },
  exhausted: { again: "elsewhere", attempt: "failed", error: "provider_unavailable" },
  unserved: { again: "elsewhere", attempt: "failed", error: "provider_unavailable" },
  rate_limited: { again: "anywhere", attempt: "failed", error: "provider_unavailable" },
  unavailable: { again: "anywhere", attempt: "failed", error: "provider_unavailable" },
  lost: { again: "never", attempt: "unknown", error: "outcome_unknown" },
  vanished: { again: "never", attempt: "unknown", error: "outcome_unknown" },
  garbled: { again: "never", attempt: "unknown", error: "outcome_unknown" },
};

/** The decision for one failure. An adapter that names the task error itself means a final answer. */
export function decide(failure: ProviderError): Decision {
  const decision = decisions[failure.kind];
  if (failure.taskError === undefined) return decision;
  return { again: "never", attempt: decision.attempt, error: failure.taskError };
}

/** Tries of one slot, the first included; those that were turned away by a rate limit apart. */
export const triesMax = 4;
/** A limit on rates or on work at the same time is no failure: its turn comes, within reason. */
export const turnedAwayMax = 30;

const pauseFirstMs = 1_000;
const pauseMaxMs = 60_000;

/**
 * Milliseconds to wait before try number `tries + 1`: full jitter over a doubling pause (`fraction` in
 * [0, 1)), never less than what the vendor asked for.
 */
export function pauseBeforeRetry(
  tries: number,
  fraction: number,
  retryAfterMs: number | undefined,
): number {
  const ceiling = Math.min(pauseMaxMs, pauseFirstMs * 2 ** Math.max(0, tries - 1));
  return Math.max(retryAfterMs ?? 0, Math.round(ceiling * fraction));
}
