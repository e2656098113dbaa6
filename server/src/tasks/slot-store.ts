/**
 * Every statement on `slots`. A slot has a row from its end on, and is open while it has none, or one that an
 * earlier version has written with the task.
 */
import type { Handle, Tx } from "../db/database.ts";
import { prepare } from "../db/statements.ts";
import type { TaskError } from "./errors.ts";
import { slotTransitions, sourcesOf } from "./state.ts";
import type { Slot, SlotEnd } from "./task.ts";

type TaskKey = { accountId: string; id: string };

const selectRows = prepare((db, p: TaskKey) =>
  db
    .selectFrom("slots")
    .select(["slot", "state", "captured", "error_json"])
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.id),
);

/** One slot for every picture of a task, in their order. */
export async function loadSlots(
  handle: Handle,
  { accountId, id, pictures }: TaskKey & { pictures: number },
): Promise<Slot[]> {
  const slots: Slot[] = [];
  for (let slot = 0; slot < pictures; slot++) {
    slots.push({ slot, state: "open", captured: 0, error: null });
  }
  for (const { slot, state, captured, error_json } of await selectRows.all(handle, {
    accountId,
    id,
  })) {
    const error = error_json === null ? null : (JSON.parse(error_json) as TaskError);
    slots[slot] = { slot, state, captured, error };
  }
  return slots;
}

type EndValues = TaskKey & { slot: number; captured: number; error: string | null };

const insertEnd = { done: prepareEnd("done"), failed: prepareEnd("failed") };

function prepareEnd(state: SlotEnd["state"]) {
  return prepare((db, p: EndValues) =>
    db
      .insertInto("slots")
      .values({
        account_id: p.accountId,
        task_id: p.id,
        slot: p.slot,
        state,
        captured: p.captured,
        error_json: p.error,
      })
      .onConflict((conflict) =>
        conflict
          .columns(["account_id", "task_id", "slot"])
          .doUpdateSet({ state, captured: p.captured, error_json: p.error })
          .where("slots.state", "in", sourcesOf(slotTransitions, state)),
      ),
  );
}

/** Moves one slot to its end; false when it was not open. */
export async function endSlotRow(
  tx: Tx,
  { accountId, id }: TaskKey,
  end: SlotEnd,
): Promise<boolean> {
  const changed = await insertEnd[end.state].run(tx, {
    accountId,
    id,
    slot: end.slot,
    captured: end.state === "done" ? end.captured : 0,
    error: end.state === "failed" ? JSON.stringify(end.error) : null,
  });
  return changed > 0;
}
