import type { Database } from "../db/database.ts";
import type { Mode } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import type { Clock } from "../lib/time.ts";
import type { ResultTtl } from "./finish.ts";
import { endSlots } from "./finish.ts";
import { lockQueueRow } from "./queue-store.ts";
import { loadAttempts } from "./attempt-store.ts";
import { loadSlots } from "./slot-store.ts";
import { findTask, requestCancel } from "./store.ts";
import type { Watch } from "./watch.ts";

export type CancelDeps = { db: Database; clock: Clock; watch: Watch; resultTtlMs: ResultTtl };

export type CancelInput = { accountId: string; mode: Mode; taskId: string };

/**
 * Cancels a task. Slots that nothing has been sent for end at once; while none has, that ends the
 * task, free of charge. What a vendor already has runs on, and is delivered and charged if it arrives.
 * Throws `task_not_found`, or `task_already_ended` for a task in a final state.
 */
export async function cancelTask(deps: CancelDeps, input: CancelInput): Promise<void> {
  const { db, clock, watch, resultTtlMs } = deps;
  const { accountId, mode, taskId } = input;
  const outcome = await db.transaction(async (tx) => {
    const waiting = await lockQueueRow(tx, accountId, taskId);
    const task = await findTask(tx, accountId, taskId);
    if (task === null || task.mode !== mode) throw taskNotFound(taskId);
    if (!waiting) return { endedAs: task.state };
    await requestCancel(tx, accountId, taskId, clock.now());
    const free = await slotsWithoutAttempt(tx, accountId, taskId);
    if (free.length === 0) return { ended: false };
    const ended = await endSlots(tx, {
      task,
      ends: free.map((slot) => ({ slot, state: "failed", error: { code: "cancelled" } })),
      now: clock.now(),
      resultTtlMs,
    });
    return { ended };
  });
  // An end that a power loss could still undo is not told of either.
  await db.durable();
  if ("endedAs" in outcome) {
    throw new AppError(
      "task_already_ended",
      `task ${taskId} is ${outcome.endedAs} and cannot be cancelled`,
    );
  }
  watch.changed(taskId);
  if (outcome.ended) watch.ended(taskId);
}

async function slotsWithoutAttempt(
  tx: Parameters<typeof loadSlots>[0],
  accountId: string,
  taskId: string,
): Promise<number[]> {
  const slots = await loadSlots(tx, accountId, taskId);
  const attempts = await loadAttempts(tx, accountId, taskId);
  const busy = new Set(
    attempts
      .filter(({ state }) => state === "sent" || state === "running")
      .flatMap((attempt) => attempt.slots),
  );
  return slots
    .filter(({ slot, state }) => state === "open" && !busy.has(slot))
    .map(({ slot }) => slot);
}

export function taskNotFound(taskId: string): AppError {
  return new AppError("task_not_found", `task "${taskId.slice(0, 80)}" does not exist`, {
    param: "task_id",
  });
}
