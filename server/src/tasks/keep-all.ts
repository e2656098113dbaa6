/** Keeps the pictures of one attempt until the task's deadline, and asks the vendor again for those it may. */
import { ProviderError } from "../providers/adapter.ts";
import { Fenced, untilDeadline } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { isStored, keepPicture, noRoom, outOfTime, waitForStore } from "./keep.ts";
import type { Handed, Kept, KeepInput } from "./keep.ts";

export type KeepAllInput = Omit<KeepInput, "handed"> & {
  pictures: readonly Handed[];
  /** All of the attempt's pictures once more; null when the vendor has them no more. */
  askOnceMore(run: Run): Promise<readonly Handed[] | null>;
};

/**
 * What became of each picture: those that are kept at the deadline are delivered, whatever became of the others.
 * Throws `Fenced` when the run is called off before it, or when nothing is kept by then: whoever ends overdue
 * tasks ends this one.
 */
export async function keepAll(deps: EngineDeps, run: Run, input: KeepAllInput): Promise<Kept[]> {
  const late = outOfTime();
  const outputs = await untilDeadline(deps, run, (bounded) =>
    keepInTime(deps, bounded, input, async (work) => {
      try {
        return await work;
      } catch (error) {
        if (error instanceof Fenced && !run.signal.aborted) return late;
        throw error;
      }
    }),
  );
  if (outputs.includes(late) && !outputs.some(isStored)) throw new Fenced(run.task.id);
  return outputs;
}

/** Settles for an error where the deadline has called work off. */
type InTime = <T>(work: Promise<T>) => Promise<T | ProviderError>;

async function keepInTime(
  deps: EngineDeps,
  run: Run,
  { pictures, askOnceMore, ...shared }: KeepAllInput,
  inTime: InTime,
): Promise<Kept[]> {
  const keep = (handed: Handed): Promise<Kept> =>
    inTime(keepPicture(deps, run, { ...shared, handed }));
  let outputs = await Promise.all(pictures.map(keep));
  for (let asked = 0; shared.isRepeatable; asked += 1) {
    const wanted = outputs.map(
      (output) => output === "dropped" || (output === "expired" && asked === 0),
    );
    if (!wanted.includes(true)) break;
    const refusals = outputs.includes("dropped") ? asked + 1 : 0;
    const fresh = await inTime(askAgain(deps, run, { refusals, wanted, askOnceMore }));
    const again = async (output: Kept, index: number): Promise<Kept> => {
      if (wanted[index] !== true) return output;
      if (fresh instanceof ProviderError) return fresh;
      const handed = fresh?.[index];
      if (handed !== undefined) return keep(handed);
      return output === "dropped" ? noRoom() : output;
    };
    outputs = await Promise.all(outputs.map(again));
  }
  return outputs;
}

type Again = Pick<KeepAllInput, "askOnceMore"> & {
  /** How often the store has refused pictures that had to be let go of. */
  refusals: number;
  wanted: readonly boolean[];
};

async function askAgain(
  deps: EngineDeps,
  run: Run,
  { askOnceMore, refusals, wanted }: Again,
): Promise<readonly Handed[] | null> {
  if (refusals > 0) await waitForStore(deps, run, refusals);
  const fresh = await askOnceMore(run);
  // Bytes that nobody takes would wait in memory with the others.
  for (const [index, handed] of (fresh ?? []).entries()) {
    if (wanted[index] !== true) handed.picture = null;
  }
  return fresh;
}
