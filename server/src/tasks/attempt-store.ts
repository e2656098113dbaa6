/** Every statement on `attempts`. */
import type { Handle, Tx } from "../db/database.ts";
import type { AttemptRow } from "../db/schema.ts";
import { insertRows, prepare } from "../db/statements.ts";
import type { Micros } from "../lib/money.ts";
import type { Tier } from "../models/model.ts";
import type { JobHandle, Usage } from "../providers/adapter.ts";
import { attemptTransitions, sourcesOf } from "./state.ts";
import type { Attempt, AttemptFailure } from "./task.ts";

const insertAttemptRows = insertRows("attempts", [
  "account_id",
  "task_id",
  "id",
  "slots_json",
  "channel",
  "upstream_model",
  "state",
  "handle_json",
  "failure_json",
  "usage_json",
  "cost",
  "sent_at",
  "ended_at",
  "tier",
  "place_until",
]);

export async function insertAttempts(
  tx: Tx,
  task: { accountId: string; id: string },
  attempts: readonly Attempt[],
): Promise<void> {
  const rows = attempts.map((attempt): AttemptRow => ({
    account_id: task.accountId,
    task_id: task.id,
    id: attempt.id,
    slots_json: JSON.stringify(attempt.slots),
    channel: attempt.channel,
    upstream_model: attempt.upstreamModel,
    state: attempt.state,
    handle_json: null,
    failure_json: null,
    usage_json: null,
    cost: 0,
    sent_at: attempt.sentAt,
    ended_at: null,
    tier: attempt.tier,
    place_until: attempt.placeUntil,
  }));
  await insertAttemptRows(tx, rows);
}

type TaskKey = { accountId: string; taskId: string };

const selectAttempts = prepare((db, p: TaskKey) =>
  db
    .selectFrom("attempts")
    .select([
      "id",
      "slots_json",
      "channel",
      "upstream_model",
      "state",
      "handle_json",
      "failure_json",
      "sent_at",
      "tier",
      "place_until",
    ])
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId)
    .orderBy("id"),
);

/** A task's attempts in the order they were begun. */
export async function loadAttempts(
  handle: Handle,
  accountId: string,
  taskId: string,
): Promise<Attempt[]> {
  const rows = await selectAttempts.all(handle, { accountId, taskId });
  return rows.map((row) => ({
    id: row.id,
    slots: JSON.parse(row.slots_json) as number[],
    channel: row.channel,
    upstreamModel: row.upstream_model,
    state: row.state,
    handle: parseOrNull<JobHandle>(row.handle_json),
    failure: parseOrNull<AttemptFailure>(row.failure_json),
    sentAt: row.sent_at,
    tier: row.tier,
    placeUntil: row.place_until,
  }));
}

const updateHandle = prepare((db, p: TaskKey & { id: string; handle: string }) =>
  db
    .updateTable("attempts")
    .set({ state: "running", handle_json: p.handle })
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId)
    .where("id", "=", p.id)
    .where("state", "in", ["sent", "running"]),
);

/** Stores what the upstream needs to be asked again; from here on a crash loses nothing. */
export async function saveHandle(
  tx: Tx,
  task: { accountId: string; id: string },
  attemptId: string,
  handle: JobHandle,
): Promise<void> {
  await updateHandle.run(tx, {
    accountId: task.accountId,
    taskId: task.id,
    id: attemptId,
    handle: JSON.stringify(handle),
  });
}

export type AttemptEnd = {
  id: string;
  state: "done" | "failed" | "unknown";
  failure: AttemptFailure | null;
  usage: Usage;
  /** What the vendor charges us, in micro-USD. */
  cost: Micros;
  now: number;
};

type EndValues = TaskKey & {
  id: string;
  failure: string | null;
  usage: string | null;
  cost: number;
  now: number;
};

const updateEnd = {
  done: prepareEnd("done"),
  failed: prepareEnd("failed"),
  unknown: prepareEnd("unknown"),
};

function prepareEnd(state: AttemptEnd["state"]) {
  return prepare((db, p: EndValues) =>
    db
      .updateTable("attempts")
      .set({
        state,
        failure_json: p.failure,
        usage_json: p.usage,
        cost: p.cost,
        ended_at: p.now,
      })
      .where("account_id", "=", p.accountId)
      .where("task_id", "=", p.taskId)
      .where("id", "=", p.id)
      .where("state", "in", sourcesOf(attemptTransitions, state)),
  );
}

/** Ends an attempt that is under way; one that has ended keeps its end. */
export async function endAttempt(
  tx: Tx,
  task: { accountId: string; id: string },
  end: AttemptEnd,
): Promise<void> {
  const { cost: _booked, ...usage } = end.usage;
  await updateEnd[end.state].run(tx, {
    accountId: task.accountId,
    taskId: task.id,
    id: end.id,
    failure: end.failure === null ? null : JSON.stringify(end.failure),
    usage: Object.keys(usage).length === 0 ? null : JSON.stringify(usage),
    cost: end.cost,
    now: end.now,
  });
}

/** An attempt that was given up: what its cost is guessed from. */
export type Abandoned = Pick<Attempt, "id" | "slots" | "channel" | "upstreamModel"> & {
  tier: Tier;
};

/**
 * Gives up on attempts under way when their task ends without them: nobody knows what became of them, so
 * they keep their places. Returns them.
 */
export async function abandonAttempts(
  tx: Tx,
  accountId: string,
  taskId: string,
  now: number,
): Promise<Abandoned[]> {
  const rows = await tx
    .updateTable("attempts")
    .set({ state: "unknown", ended_at: now })
    .where("account_id", "=", accountId)
    .where("task_id", "=", taskId)
    .where("state", "in", sourcesOf(attemptTransitions, "unknown"))
    .returning(["id", "slots_json", "channel", "upstream_model", "tier"])
    .execute();
  return rows.map((row) => ({
    id: row.id,
    slots: JSON.parse(row.slots_json) as number[],
    channel: row.channel,
    upstreamModel: row.upstream_model,
    tier: row.tier,
  }));
}

/** What each finished attempt of a task used, and for which slots. */
export async function loadUsages(
  handle: Handle,
  accountId: string,
  taskId: string,
): Promise<{ slots: readonly number[]; usage: Usage }[]> {
  const rows = await handle
    .selectFrom("attempts")
    .select(["slots_json", "usage_json"])
    .where("account_id", "=", accountId)
    .where("task_id", "=", taskId)
    .where("state", "=", "done")
    .execute();
  return rows.flatMap(({ slots_json, usage_json }) => {
    const usage = parseOrNull<Usage>(usage_json);
    return usage === null ? [] : [{ slots: JSON.parse(slots_json) as number[], usage }];
  });
}

/** Our own columns hold what our own code wrote there. */
function parseOrNull<T>(json: string | null): T | null {
  return json === null ? null : (JSON.parse(json) as T);
}
