/** What a data folder says of one task, read with SQL of its own while no server runs on it, or beside one. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

export type BookedAttempt = {
  slots: readonly number[];
  state: string;
  hasHandle: boolean;
  /** Of its failure; null without one. */
  kind: string | null;
  /** Of the cost that is booked for it; null where none is. */
  cost: { amount: number; fate: string } | null;
};

export type BookedTask = {
  id: string;
  state: string;
  /** By slot: `open`, `done`, or the error that it failed with. */
  slots: readonly string[];
  attempts: readonly BookedAttempt[];
  captures: number;
};

/** The tasks whose prompt holds the mark, in the order they were made. */
export function readBooks(folder: string, mark: string): BookedTask[] {
  const path = join(folder, "darkroom.db");
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    const found = database
      .prepare("select id, state from tasks where instr(request_json, ?) > 0 order by id")
      .all(mark);
    return found.map((row) => readTask(database, String(row["id"]), String(row["state"])));
  } finally {
    database.close();
  }
}

function readTask(database: DatabaseSync, id: string, state: string): BookedTask {
  const slots = database
    .prepare("select state, error_json from slots where task_id = ? order by slot")
    .all(id);
  const attempts = database
    .prepare(
      `select a.slots_json, a.state, a.handle_json, a.failure_json, c.amount, c.fate
       from attempts a left join costs c on c.attempt_id = a.id
       where a.task_id = ? order by a.id`,
    )
    .all(id);
  const captured = database
    .prepare("select count(*) as value from ledger where task_id = ? and kind = 'capture'")
    .get(id);
  return {
    id,
    state,
    slots: slots.map((slot) =>
      slot["state"] === "failed" ? readText(slot["error_json"], "code") : String(slot["state"]),
    ),
    attempts: attempts.map((attempt) => ({
      slots: JSON.parse(String(attempt["slots_json"])) as number[],
      state: String(attempt["state"]),
      hasHandle: attempt["handle_json"] !== null,
      kind: attempt["failure_json"] === null ? null : readText(attempt["failure_json"], "kind"),
      cost:
        attempt["fate"] === null
          ? null
          : { amount: Number(attempt["amount"]), fate: String(attempt["fate"]) },
    })),
    captures: Number(captured?.["value"]),
  };
}

function readText(json: unknown, name: string): string {
  const fields = JSON.parse(String(json)) as Record<string, unknown>;
  return String(fields[name]);
}
