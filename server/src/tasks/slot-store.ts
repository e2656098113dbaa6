/** Every statement on `slots`. */
import type { Handle, Tx } from "../db/database.ts";
import { insertValues, prepare } from "../db/statements.ts";
import type { TaskError } from "./errors.ts";
import { slotTransitions, sourcesOf } from "./state.ts";
import type { NewTask, Slot, SlotEnd } from "./task.ts";

type TaskKey = { accountId: string; taskId: string };

const insertOpenSlots = insertValues(
  "slots",
  ["account_id", "task_id", "slot"],
  ({ task, slot }: { task: NewTask; slot: number }) => [task.accountId, task.id, slot],
  { constants: { state: "open", captured: 0 } },
);

/** One open slot for every picture of every task. */
export async function insertSlots(tx: Tx, tasks: readonly NewTask[]): Promise<void> {
  const slots: { task: NewTask; slot: number }[] = [];
  for (const task of tasks) {
    for (let slot = 0; slot < task.stored.request.pictures; slot++) slots.push({ task, slot });
  }
  await insertOpenSlots(tx, slots);
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
