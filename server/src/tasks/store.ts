/** Every statement on `tasks`, but for those that tidy up (`sweep-store.ts`). */
import type { TaskUsage } from "../../../client/src/tasks.ts";
import type { Handle, Tx } from "../db/database.ts";
import type { TaskRow } from "../db/schema.ts";
import { selectRows } from "../db/select-rows.ts";
import { insertValues, prepare } from "../db/statements.ts";
import type { FrozenPrice, Language, Warning } from "../models/model.ts";
import type { TaskError } from "./errors.ts";
import { sourcesOf, taskTransitions } from "./state.ts";
import type { NewTask, StoredRequest, Task } from "./task.ts";
import type { TaskViewRow } from "./view.ts";

type TaskKey = { accountId: string; id: string };

const taskColumns = [
  "account_id",
  "id",
  "mode",
  "key_id",
  "state",
  "pictures",
  "open_slots",
  "request_json",
  "price_json",
  "held",
  "webhook",
  "language",
  "created_at",
  "deadline_at",
  "cancel_requested_at",
] as const satisfies readonly (keyof TaskRow)[];

const selectTask = prepare((db, p: TaskKey) =>
  db
    .selectFrom("tasks")
    .select(taskColumns)
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id),
);

export async function findTask(
  handle: Handle,
  accountId: string,
  id: string,
): Promise<Task | null> {
  const row = await selectTask.first(handle, { accountId, id });
  return row === null ? null : toTask(row);
}

const selectTasks = selectRows("tasks", ["account_id", "id"], taskColumns);

/** The tasks in the order of `keys`, null for one that is not there; one statement for 64 of them. */
export async function findTasks(
  handle: Handle,
  keys: readonly TaskKey[],
): Promise<(Task | null)[]> {
  const rows = await selectTasks(
    handle,
    keys.map(({ accountId, id }) => [accountId, id]),
  );
  const found = new Map(rows.map((row) => [`${row.account_id} ${row.id}`, row]));
  return keys.map(({ accountId, id }) => {
    const row = found.get(`${accountId} ${id}`);
    return row === undefined ? null : toTask(row);
  });
}

/** Our own columns hold what our own code wrote there. */
function toTask(row: Pick<TaskRow, (typeof taskColumns)[number]>): Task {
  return {
    ...(JSON.parse(row.request_json) as StoredRequest),
    accountId: row.account_id,
    id: row.id,
    mode: row.mode,
    keyId: row.key_id,
    state: row.state,
    pictures: row.pictures,
    openSlots: row.open_slots,
    price: JSON.parse(row.price_json) as FrozenPrice,
    held: row.held,
    webhook: row.webhook,
    // Written by a submit, which knows no other words.
    language: row.language as Language | null,
    createdAt: row.created_at,
    deadlineAt: row.deadline_at,
    cancelRequestedAt: row.cancel_requested_at,
  };
}

const selectView = prepare((db, p: TaskKey) =>
  db
    .selectFrom("tasks")
    .select([
      "id",
      "mode",
      "model",
      "state",
      "revision",
      "pictures",
      "open_slots",
      "held",
      "captured",
      "warnings_json",
      "error_json",
      "usage_json",
      "created_at",
      "cancel_requested_at",
      "ended_at",
      "expires_at",
    ])
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id),
);

/** What a reader is shown of a task. */
export function findViewRow(
  handle: Handle,
  accountId: string,
  id: string,
): Promise<TaskViewRow | null> {
  return selectView.first(handle, { accountId, id });
}

/** What the submit of a task was warned about. */
export async function loadWarnings(
  handle: Handle,
  accountId: string,
  id: string,
): Promise<readonly Warning[]> {
  const row = await selectView.first(handle, { accountId, id });
  const json = row?.warnings_json ?? null;
  return json === null ? [] : (JSON.parse(json) as readonly Warning[]);
}

export const insertTasks = insertValues(
  "tasks",
  [
    "account_id",
    "id",
    "mode",
    "key_id",
    "model",
    "pictures",
    "open_slots",
    "request_json",
    "warnings_json",
    "price_json",
    "held",
    "webhook",
    "language",
    "created_at",
    "deadline_at",
  ],
  (task: NewTask) => [
    task.accountId,
    task.id,
    task.mode,
    task.keyId,
    task.stored.request.model,
    task.stored.request.pictures,
    task.stored.request.pictures,
    JSON.stringify(task.stored),
    task.warnings.length === 0 ? null : JSON.stringify(task.warnings),
    JSON.stringify(task.price),
    task.held,
    task.webhook,
    task.language,
    task.createdAt,
    task.deadlineAt,
  ],
  { constants: { state: "pending", revision: 1, done_slots: 0, captured: 0 } },
);

const updateStarted = prepare((db, p: TaskKey) =>
  db
    .updateTable("tasks")
    .set((row) => ({ state: "processing", revision: row("revision", "+", 1) }))
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id)
    .where("state", "in", sourcesOf(taskTransitions, "processing"))
    .where("cancel_requested_at", "is", null),
);

/** Marks a task as having something sent; false when its cancellation was asked for first. */
export async function startTask(tx: Tx, accountId: string, id: string): Promise<boolean> {
  const started = await updateStarted.run(tx, { accountId, id });
  if (started > 0) return true;
  // It had been started before, for another slot or another try.
  const row = await selectView.first(tx, { accountId, id });
  return row?.cancel_requested_at === null;
}

const updateCancelRequest = prepare((db, p: TaskKey & { now: number }) =>
  db
    .updateTable("tasks")
    .set((row) => ({ cancel_requested_at: p.now, revision: row("revision", "+", 1) }))
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id)
    .where("ended_at", "is", null)
    .where("cancel_requested_at", "is", null),
);

/** Remembers that the caller wants no more; a repeat changes nothing. */
export async function requestCancel(
  tx: Tx,
  accountId: string,
  id: string,
  now: number,
): Promise<void> {
  await updateCancelRequest.run(tx, { accountId, id, now });
}

const updateOpenSlots = prepare((db, p: TaskKey & { ended: number; delivered: number }) =>
  db
    .updateTable("tasks")
    .set((row) => ({
      open_slots: row("open_slots", "-", p.ended),
      done_slots: row("done_slots", "+", p.delivered),
      revision: row("revision", "+", 1),
    }))
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id)
    .where("ended_at", "is", null)
    .where("open_slots", ">=", p.ended)
    .returning(["open_slots", "cancel_requested_at"]),
);

/** What a task still waits for. */
export type Progress = { openSlots: number; isCancelRequested: boolean };

/** Counts slots as ended; returns what is then true of the task, or null when it has ended. */
export async function lowerOpenSlots(
  tx: Tx,
  input: TaskKey & { ended: number; delivered: number },
): Promise<Progress | null> {
  const row = await updateOpenSlots.first(tx, input);
  if (row === null) return null;
  return { openSlots: row.open_slots, isCancelRequested: row.cancel_requested_at !== null };
}

export type SavedOutcome = {
  accountId: string;
  taskId: string;
  state: "completed" | "failed" | "cancelled";
  error: TaskError | null;
  captured: number;
  usage: TaskUsage | null;
  endedAt: number;
  expiresAt: number | null;
};

type OutcomeValues = TaskKey & {
  error: string | null;
  captured: number;
  usage: string | null;
  endedAt: number;
  expiresAt: number | null;
};

const updateOutcome = {
  completed: prepareOutcome("completed"),
  failed: prepareOutcome("failed"),
  cancelled: prepareOutcome("cancelled"),
};

function prepareOutcome(state: SavedOutcome["state"]) {
  return prepare((db, p: OutcomeValues) =>
    db
      .updateTable("tasks")
      .set({
        state,
        error_json: p.error,
        captured: p.captured,
        usage_json: p.usage,
        ended_at: p.endedAt,
        expires_at: p.expiresAt,
      })
      .where("account_id", "=", p.accountId)
      .where("id", "=", p.id)
      .where("open_slots", "=", 0)
      .where("state", "in", sourcesOf(taskTransitions, state)),
  );
}

/** Writes a task's final state; false when no slot-less task in a state that may end so is there. */
export async function saveOutcome(tx: Tx, outcome: SavedOutcome): Promise<boolean> {
  const changed = await updateOutcome[outcome.state].run(tx, {
    accountId: outcome.accountId,
    id: outcome.taskId,
    error: outcome.error === null ? null : JSON.stringify(outcome.error),
    captured: outcome.captured,
    usage: outcome.usage === null ? null : JSON.stringify(outcome.usage),
    endedAt: outcome.endedAt,
    expiresAt: outcome.expiresAt,
  });
  return changed > 0;
}

const selectOverdue = prepare((db, p: { now: number; limit: number }) =>
  db
    .selectFrom("tasks")
    .select(["account_id", "id"])
    .where("ended_at", "is", null)
    .where("deadline_at", "<=", p.now)
    .orderBy("deadline_at")
    .limit(p.limit),
);

/** Unfinished tasks whose deadline has passed, the most overdue first. */
export async function loadOverdue(handle: Handle, now: number, limit: number): Promise<TaskKey[]> {
  const rows = await selectOverdue.all(handle, { now, limit });
  return rows.map((row) => ({ accountId: row.account_id, id: row.id }));
}
