import type { TaskError } from "./errors.ts";
import type { Slot } from "./task.ts";

/** How a task ends once its last slot has ended. */
export type Outcome = { state: "completed" | "failed" | "cancelled"; error: TaskError | null };

/**
 * A task with at least one picture is completed, whatever became of the rest. Without any it is
 * cancelled if its cancellation was asked for (or is all that its slots say), else failed with the
 * error of its first slot.
 */
export function outcomeOf(slots: readonly Slot[], cancelRequested: boolean): Outcome {
  if (slots.some((slot) => slot.state === "done")) return { state: "completed", error: null };
  const errors = slots.flatMap((slot) => slot.error ?? []);
  const first = errors.find((error) => error.code !== "cancelled");
  if (cancelRequested || first === undefined)
    return { state: "cancelled", error: { code: "cancelled" } };
  return { state: "failed", error: first };
}
