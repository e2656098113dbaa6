/** Every statement on `slots`. A slot has a row from its end on, and is open while it has none. */
import type { Handle, Tx } from "../db/database.ts";
import { insertValues, prepare } from "../db/statements.ts";
import type { TaskError } from "./errors.ts";
import type { Slot, SlotEnd } from "./task.ts";

type TaskKey = { accountId: string; id: string };

const selectEnded = prepare((db, p: TaskKey) =>
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
  for (const { slot, state, captured, error_json } of await selectEnded.all(handle, {
    accountId,
    id,
  })) {
    const error = error_json === null ? null : (JSON.parse(error_json) as TaskError);
    slots[slot] = { slot, state, captured, error };
  }
  return slots;
}

const insertEnded = insertValues(
  "slots",
  ["account_id", "task_id", "slot", "state", "captured", "error_json"],
  ({ task, end }: { task: TaskKey; end: SlotEnd }) => [
    task.accountId,
    task.id,
    end.slot,
    end.state,
    end.state === "done" ? end.captured : 0,
    end.state === "failed" ? JSON.stringify(end.error) : null,
  ],
);

/** Moves slots to their ends. Throws a unique violation when one of them has ended already. */
export async function endSlotRows(tx: Tx, task: TaskKey, ends: readonly SlotEnd[]): Promise<void> {
  await insertEnded(
    tx,
    ends.map((end) => ({ task, end })),
  );
}
