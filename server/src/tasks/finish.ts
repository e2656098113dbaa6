/**
 * The one way a task ends. Worker, cancel, deadline and quarantine all come through `endSlots`: it
 * ends slots, and whoever ends the last one ends the task in the same transaction: state, captures,
 * release, queue row, the event for webhooks. Money and state move together or not at all.
 *
 * Locks are taken in the house's order: the caller holds the queue row (by `fence` or
 * `lockQueueRow`); then the task, the key's usage, the balance.
 */
import { resolve as resolveUsage } from "../accounts/key-usage.ts";
import { settle } from "../billing/ledger.ts";
import type { Tx } from "../db/database.ts";
import { scheduleRemoval } from "../images/store.ts";
import { assert } from "../lib/errors.ts";
import { hourMs } from "../lib/time.ts";
import { outcomeOf } from "./outcome.ts";
import type { TaskEvents } from "./events.ts";
import { deleteQueueRow } from "./queue-store.ts";
import { sumUsage } from "./usage.ts";
import { endSlotRow, loadSlots } from "./slot-store.ts";
import { lowerOpenSlots, saveOutcome } from "./store.ts";
import type { SlotEnd, Task } from "./task.ts";

/** How long results of a model stay available after completion, in milliseconds. */
export type ResultTtl = (model: string) => number;

/** Result bytes outlive their links by this much, so that a download under way is not cut off. */
const removalGraceMs = hourMs;
/** References stay a day after the task's end, for support and for a look at what was sent. */
const referencesKeptMs = 24 * hourMs;

/** What the end of a task needs from outside, whoever ends it. */
export type EndingPorts = { resultTtlMs: ResultTtl; events: TaskEvents };

export function endingPorts({ resultTtlMs, events }: EndingPorts): EndingPorts {
  return { resultTtlMs, events };
}

export type EndSlots = EndingPorts & {
  task: Task;
  ends: readonly SlotEnd[];
  now: number;
};

/** Ends open slots of a task whose queue row the caller has locked; true when that ended the task. */
export async function endSlots(tx: Tx, input: EndSlots): Promise<boolean> {
  const { task, ends } = input;
  const delivered = ends.filter((end) => end.state === "done").length;
  const progress = await lowerOpenSlots(tx, {
    accountId: task.accountId,
    id: task.id,
    ended: ends.length,
    delivered,
  });
  assert(progress !== null, `${task.id} had not ended while its queue row was locked`);
  for (const end of ends) {
    assert(end.slot < task.pictures, `${task.id} has a slot ${end.slot}`);
    const moved = await endSlotRow(tx, task, end);
    assert(moved, `slot ${end.slot} of ${task.id} was still open`);
  }
  if (progress.openSlots > 0) return false;
  // As it stands in the row: the caller's copy may be older than a cancellation.
  await finishTask(tx, input, progress.isCancelRequested);
  return true;
}

async function finishTask(
  tx: Tx,
  { task, now, resultTtlMs, events }: EndSlots,
  isCancelRequested: boolean,
): Promise<void> {
  const { accountId, id: taskId, mode, keyId, held } = task;
  const slots = await loadSlots(tx, task);
  const outcome = outcomeOf(slots, isCancelRequested);
  const captures = slots
    .filter((slot) => slot.state === "done")
    .map(({ slot, captured }) => ({ slot, amount: captured }));
  const captured = captures.reduce((sum, { amount }) => sum + amount, 0);
  const expiresAt = outcome.state === "completed" ? now + resultTtlMs(task.request.model) : null;

  const usage = await sumUsage(tx, task, slots);
  const saved = await saveOutcome(tx, {
    accountId,
    taskId,
    ...outcome,
    captured,
    usage,
    endedAt: now,
    expiresAt,
  });
  assert(saved, `${taskId} was in a state that can end as ${outcome.state}`);
  await deleteQueueRow(tx, accountId, taskId);
  await scheduleRemoval(tx, {
    accountId,
    taskId,
    outputsAt: (expiresAt ?? now) + removalGraceMs,
    referencesAt: now + referencesKeptMs,
  });
  await events.recordEnd(tx, { task, state: outcome.state, now });
  await resolveUsage(tx, { accountId, keyId, held, captured, submittedAt: task.createdAt });
  const sold = {
    model: task.request.model,
    inputTokens: usage?.input_tokens ?? 0,
    outputTokens: usage?.output_tokens ?? 0,
  };
  await settle(tx, { accountId, mode, keyId, taskId, held, captures, sold, now });
}
