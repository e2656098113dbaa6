/** Every statement on `slots`. */
import type { Handle, Tx } from "../db/database.ts";
import type { SlotRow } from "../db/schema.ts";
import { insertRows, prepare } from "../db/statements.ts";
import type { TaskError } from "./errors.ts";
import { slotTransitions, sourcesOf } from "./state.ts";
import type { NewTask, Slot, SlotEnd } from "./task.ts";

type TaskKey = { accountId: string; taskId: string };

const insertSlotRows = insertRows("slots", [
  "account_id",
  "task_id",
  "slot",
  "state",
  "captured",
  "error_json",
]);

/** One open slot for every picture of every task. */
export async function insertSlots(tx: Tx, tasks: readonly NewTask[]): Promise<void> {
  await insertSlotRows(tx, tasks.flatMap(toSlotRows));
}

function toSlotRows(task: NewTask): SlotRow[] {
  return Array.from({ length: task.stored.request.pictures }, (_, slot) => ({
    account_id: task.accountId,
    task_id: task.id,
    slot,
    state: "open",
    captured: 0,
    error_json: null,
  }));
}

const selectSlots = prepare((db, p: TaskKey) =>
  db
    .selectFrom("slots")
    .select(["slot", "state", "captured", "error_json"])
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId)
    .orderBy("slot"),
);

export async function loadSlots(
  handle: Handle,
  accountId: string,
  taskId: string,
): Promise<Slot[]> {
  const rows = await selectSlots.all(handle, { accountId, taskId });
  return rows.map(({ slot, state, captured, error_json }) => ({
    slot,
    state,
    captured,
    error: error_json === null ? null : (JSON.parse(error_json) as TaskError),
  }));
}

type EndValues = TaskKey & { slot: number; captured: number; error: string | null };

const updateEnd = { done: prepareEnd("done"), failed: prepareEnd("failed") };

function prepareEnd(state: SlotEnd["state"]) {
  return prepare((db, p: EndValues) =>
    db
      .updateTable("slots")
      .set({ state, captured: p.captured, error_json: p.error })
      .where("account_id", "=", p.accountId)
      .where("task_id", "=", p.taskId)
      .where("slot", "=", p.slot)
      .where("state", "in", sourcesOf(slotTransitions, state)),
  );
}

/** Moves one slot to its end; false when it was not open. */
export async function endSlotRow(
  tx: Tx,
  task: { accountId: string; id: string },
  end: SlotEnd,
): Promise<boolean> {
  const changed = await updateEnd[end.state].run(tx, {
    accountId: task.accountId,
    taskId: task.id,
    slot: end.slot,
    captured: end.state === "done" ? end.captured : 0,
    error: end.state === "failed" ? JSON.stringify(end.error) : null,
  });
  return changed > 0;
}
