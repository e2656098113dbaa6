import { jitter } from "../lib/random.ts";
import type { Random } from "../lib/random.ts";
import type { Clock } from "../lib/time.ts";
import { createBusyError, isBusy } from "./errors.ts";

const firstPauseMs = 2;
const pauseMsMax = 100;

export type BusyDeps = { clock: Clock; random: Random };

/**
 * The result of `attempt`, repeated while another process holds SQLite's lock. Throws
 * `AppError("unavailable")` once `deadlineMs` of the monotonic clock has passed.
 */
export async function retryWhileBusy<T>(
  deps: BusyDeps,
  deadlineMs: number,
  attempt: () => T,
): Promise<T> {
  let pauseMs = firstPauseMs;
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (deps.clock.monotonic() >= deadlineMs) throw createBusyError(error);
    }
    await deps.clock.sleep(jitter(deps.random, pauseMs, 0.5));
    pauseMs = Math.min(pauseMs * 2, pauseMsMax);
  }
}
