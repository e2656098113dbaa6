/** Leaves nothing of a finished picture with a vendor that would keep it. */
import { secondMs } from "../lib/time.ts";
import type { AttemptInput } from "./attempt.ts";
import type { EngineDeps } from "./engine.ts";
import { isStored } from "./keep.ts";
import type { Handed, Kept } from "./keep.ts";

export type Finished = Pick<AttemptInput, "attempt" | "channel"> & {
  /** As the vendor told of them, and what became of each. */
  pictures: readonly Pick<Handed, "kind">[];
  outputs: readonly Kept[];
};

/** Nothing waits for it but a stop of the worker. */
const forgetMs = 5 * secondMs;

/**
 * Has the vendor delete an attempt's work, once its end is committed: before that, whoever holds the task next may
 * have to ask for it. What could not be stored stays there for the operator. A failure is only logged.
 */
export async function forgetWork(
  { clock, log }: Pick<EngineDeps, "clock" | "log">,
  { attempt, channel, pictures, outputs }: Finished,
): Promise<void> {
  const { id: attemptId, handle } = attempt;
  const { adapter } = channel;
  const isKept = pictures.every(({ kind }, index) => kind === "failed" || isStored(outputs[index]));
  if (handle === null || adapter.forget === undefined || !isKept) return;
  const late = new AbortController();
  const cancel = clock.after(forgetMs, () => late.abort());
  try {
    await adapter.forget(handle, { attemptId, now: clock.now(), signal: late.signal });
  } catch (error) {
    log.warn(
      { err: error, attempt: attemptId, channel: channel.name },
      "the vendor keeps a picture",
    );
  } finally {
    cancel();
  }
}
