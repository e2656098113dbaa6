import type { Channels } from "../channels/channels.ts";
import type { Database, Tx } from "../db/database.ts";
import type { Mode } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import { endingPorts, endSlots } from "./finish.ts";
import type { EndingPorts } from "./finish.ts";
import { lockQueueRow } from "./queue-store.ts";
import { loadAttempts } from "./attempt-store.ts";
import { loadSlots } from "./slot-store.ts";
import { findTask, requestCancel } from "./store.ts";
import type { Attempt, Task } from "./task.ts";
import type { Watch } from "./watch.ts";

export type CancelDeps = {
  db: Database;
  clock: Clock;
  log: Log;
  watch: Watch;
  channels: Pick<Channels, "find">;
} & EndingPorts;

const callOffTimeoutMs = 10 * secondMs;

export type CancelInput = { accountId: string; mode: Mode; taskId: string };

/**
 * Cancels a task. Slots that nothing has been sent for end at once; while none has, that ends the
 * task, free of charge. What a vendor already has is called off where the vendor can, or runs on; what
 * arrives all the same is delivered and charged.
 * Throws `task_not_found`, or `task_already_ended` for a task in a final state.
 */
export async function cancelTask(deps: CancelDeps, input: CancelInput): Promise<void> {
  const { db, clock, watch } = deps;
  const { accountId, mode, taskId } = input;
  const outcome = await db.transaction(async (tx) => {
    const waiting = await lockQueueRow(tx, accountId, taskId);
    const task = await findTask(tx, accountId, taskId);
    if (task === null || task.mode !== mode) throw taskNotFound(taskId);
    if (!waiting) return { endedAs: task.state };
    await requestCancel(tx, accountId, taskId, clock.now());
    const live = await loadLiveAttempts(tx, accountId, taskId);
    const free = await slotsWithout(tx, live, task);
    if (free.length === 0) return { ended: false, live };
    const ended = await endSlots(tx, {
      task,
      ends: free.map((slot) => ({ slot, state: "failed", error: { code: "cancelled" } })),
      now: clock.now(),
      ...endingPorts(deps),
    });
    return { ended, live };
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
  // Nobody waits for it: what becomes of the work is told by the next poll.
  for (const attempt of outcome.live) void callOff(deps, attempt);
}

async function loadLiveAttempts(tx: Tx, accountId: string, taskId: string): Promise<Attempt[]> {
  const attempts = await loadAttempts(tx, accountId, taskId);
  return attempts.filter(({ state }) => state === "sent" || state === "running");
}

async function slotsWithout(tx: Tx, live: readonly Attempt[], task: Task): Promise<number[]> {
  const slots = await loadSlots(tx, task);
  const busy = new Set(live.flatMap((attempt) => attempt.slots));
  return slots
    .filter(({ slot, state }) => state === "open" && !busy.has(slot))
    .map(({ slot }) => slot);
}

/** Asks the vendor to stop, where it can and has told us what it works on. Never throws. */
async function callOff(deps: CancelDeps, attempt: Attempt): Promise<void> {
  const { clock, log, channels } = deps;
  const adapter = channels.find(attempt.channel)?.adapter;
  if (adapter?.cancel === undefined || attempt.handle === null) return;
  const late = new AbortController();
  const stop = clock.after(callOffTimeoutMs, () => late.abort());
  try {
    const call = { attemptId: attempt.id, now: clock.now(), signal: late.signal };
    await adapter.cancel(attempt.handle, call);
  } catch (error) {
    log.warn({ err: error, attempt: attempt.id }, "the vendor could not be asked to stop");
  } finally {
    stop();
  }
}

export function taskNotFound(taskId: string): AppError {
  return new AppError("task_not_found", `task "${taskId.slice(0, 80)}" does not exist`, {
    param: "task_id",
  });
}
