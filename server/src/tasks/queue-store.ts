/** Every statement on `queue` and `workers`: who waits where, and in whose hands a task is. */
import type { ExpressionBuilder } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import { skipLocked } from "../db/skip-locked.ts";
import { insertValues, prepare } from "../db/statements.ts";
import type { Mode, Tables, WorkerRow } from "../db/schema.ts";
import { laneOf, resumeLane } from "./task.ts";

export type Claim = { accountId: string; taskId: string; claims: number };

type TaskKey = { accountId: string; taskId: string };

const lockRow = prepare((db, p: TaskKey) =>
  db
    .updateTable("queue")
    .set((row) => ({ claims: row.ref("claims") }))
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId),
);

/** Locks a task's queue row until the transaction ends; false when the task has ended. */
export async function lockQueueRow(tx: Tx, accountId: string, taskId: string): Promise<boolean> {
  return (await lockRow.run(tx, { accountId, taskId })) > 0;
}

const fenceRow = prepare((db, p: TaskKey & { workerId: string }) =>
  db
    .updateTable("queue")
    .set({ claims: 0 })
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId)
    .where("worker_id", "=", p.workerId),
);

/**
 * The first statement of every committed step: locks the queue row for the worker that holds the task
 * and forgets the claims so far, since a step is being committed. False when the task is not its any more.
 */
export async function fence(
  tx: Tx,
  accountId: string,
  taskId: string,
  workerId: string,
): Promise<boolean> {
  return fenceRow.changes(tx, { accountId, taskId, workerId });
}

const anyReady = prepare((db, p: { lane: string }) =>
  db
    .selectFrom("queue")
    .select("task_id")
    .where("lane", "=", p.lane)
    .where("state", "=", "ready")
    .limit(1),
);

export async function hasReady(handle: Handle, lane: string): Promise<boolean> {
  return (await anyReady.first(handle, { lane })) !== null;
}

const claimFirst = prepare((db, p: { lane: string; workerId: string; limit: number }) =>
  db
    // Materialised, or PostgreSQL might look for the first rows once for every row it updates.
    .with(
      (cte) => cte("next").materialized(),
      (sub) =>
        skipLocked(
          db,
          sub
            .selectFrom("queue")
            .select(["account_id", "task_id"])
            .where("lane", "=", p.lane)
            .where("state", "=", "ready")
            .orderBy("tag")
            .orderBy("task_id")
            .limit(p.limit),
        ),
    )
    .updateTable("queue")
    .from("next")
    .set((row) => ({ state: "claimed", worker_id: p.workerId, claims: row("claims", "+", 1) }))
    .whereRef("queue.account_id", "=", "next.account_id")
    .whereRef("queue.task_id", "=", "next.task_id")
    .returning(["queue.account_id", "queue.task_id", "queue.tag", "queue.claims"]),
);

/** Takes the first ready tasks of a lane. Workers that race take different ones, and wait for no other. */
export async function claimRows(
  tx: Tx,
  { lane, workerId, limit }: { lane: string; workerId: string; limit: number },
): Promise<Claim[]> {
  const rows = await claimFirst.all(tx, { lane, workerId, limit });
  // An UPDATE returns its rows in any order.
  rows.sort((a, b) => a.tag - b.tag || (a.task_id < b.task_id ? -1 : 1));
  return rows.map((row) => ({
    accountId: row.account_id,
    taskId: row.task_id,
    claims: row.claims,
  }));
}

/** Gives a task of which nothing is under way back to wait until `runAt`; the caller has fenced it. */
export async function parkTask(
  tx: Tx,
  task: { accountId: string; id: string; mode: Mode; request: { model: string } },
  runAt: number,
): Promise<void> {
  const lane = laneOf(task.request.model, task.mode);
  await tx
    .updateTable("queue")
    .set({ lane, state: "parked", run_at: runAt, worker_id: null })
    .where("account_id", "=", task.accountId)
    .where("task_id", "=", task.id)
    .execute();
}

/** The lane in which a task without a worker waits: with attempts under way it is not kept from them by full channels. */
function laneWithoutWorker(row: ExpressionBuilder<Tables, "queue">) {
  const underWay = row
    .selectFrom("attempts")
    .select("attempts.id")
    .whereRef("attempts.account_id", "=", "queue.account_id")
    .whereRef("attempts.task_id", "=", "queue.task_id")
    .where("attempts.state", "in", ["sent", "running"]);
  return row.case().when(row.exists(underWay)).then(resumeLane).else(row.ref("queue.lane")).end();
}

/** Gives a task back after a failed run, keeping its count of claims, if it is still this worker's. */
export async function parkClaim(
  tx: Tx,
  task: { accountId: string; id: string },
  workerId: string,
  runAt: number,
): Promise<void> {
  await tx
    .updateTable("queue")
    .set((row) => ({
      lane: laneWithoutWorker(row),
      state: "parked",
      run_at: runAt,
      worker_id: null,
    }))
    .where("account_id", "=", task.accountId)
    .where("task_id", "=", task.id)
    .where("worker_id", "=", workerId)
    .execute();
}

/** A worker that stops in order gives its tasks back uncounted. */
export async function releaseClaims(tx: Tx, workerId: string): Promise<void> {
  await tx
    .updateTable("queue")
    .set((row) => ({ lane: laneWithoutWorker(row), state: "ready", worker_id: null, claims: 0 }))
    .where("worker_id", "=", workerId)
    .execute();
}

export async function hasParkedDue(handle: Handle, now: number): Promise<boolean> {
  const row = await handle
    .selectFrom("queue")
    .select("task_id")
    .where("state", "=", "parked")
    .where("run_at", "<=", now)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** Makes parked tasks ready whose time has come; returns the lanes that have work now. */
export async function promoteParked(tx: Tx, now: number, limit: number): Promise<string[]> {
  const waiting = tx
    .selectFrom("queue")
    .select(["account_id", "task_id", "lane"])
    .where("state", "=", "parked")
    .where("run_at", "<=", now)
    .orderBy("run_at")
    .limit(limit);
  const due = await skipLocked(tx, waiting).execute();
  for (const row of due) {
    await tx
      .updateTable("queue")
      .set({ state: "ready" })
      .where("account_id", "=", row.account_id)
      .where("task_id", "=", row.task_id)
      .where("state", "=", "parked")
      .execute();
  }
  return [...new Set(due.map(({ lane }) => lane))];
}

const deleteRow = prepare((db, p: TaskKey) =>
  db.deleteFrom("queue").where("account_id", "=", p.accountId).where("task_id", "=", p.taskId),
);

export async function deleteQueueRow(tx: Tx, accountId: string, taskId: string): Promise<void> {
  await deleteRow.run(tx, { accountId, taskId });
}

export type WaitingTask = { accountId: string; id: string; lane: string; tag: number };

/** Puts new tasks into the queue, ready to be claimed. */
export const insertWaiting = insertValues(
  "queue",
  ["account_id", "task_id", "lane", "tag"],
  (task: WaitingTask) => [task.accountId, task.id, task.lane, task.tag],
  { constants: { state: "ready", run_at: 0, claims: 0 } },
);

const endsOfLine = prepare((db, p: { lane: string; accountId: string }) =>
  db.selectNoFrom((from) => {
    const ready = from
      .selectFrom("queue")
      .select("tag")
      .where("lane", "=", p.lane)
      .where("state", "=", "ready")
      .limit(1);
    return [
      ready.orderBy("tag").orderBy("task_id").as("first"),
      ready.where("account_id", "=", p.accountId).orderBy("tag", "desc").as("last"),
    ];
  }),
);

/** Tags of the task that is next in a lane and of an account's last one there; null where none waits. */
export async function findLineEnds(
  handle: Handle,
  lane: string,
  accountId: string,
): Promise<{ first: number | null; last: number | null }> {
  return (await endsOfLine.first(handle, { lane, accountId })) ?? { first: null, last: null };
}

export async function loadWorkers(handle: Handle): Promise<WorkerRow[]> {
  return handle.selectFrom("workers").select(["id", "beats", "started_at"]).execute();
}

export async function insertWorker(tx: Tx, row: WorkerRow): Promise<void> {
  await tx.insertInto("workers").values(row).execute();
}

const updateBeat = prepare((db, p: { id: string }) =>
  db
    .updateTable("workers")
    .set((row) => ({ beats: row("beats", "+", 1) }))
    .where("id", "=", p.id),
);

/** False when an observer has removed the worker. */
export async function raiseBeat(tx: Tx, id: string): Promise<boolean> {
  return updateBeat.changes(tx, { id });
}

export async function deleteWorker(tx: Tx, id: string): Promise<void> {
  await tx.deleteFrom("workers").where("id", "=", id).execute();
}

/** Removes a dead worker and frees what it held; returns the lanes that have work now. */
export async function freeTasks(tx: Tx, workerId: string): Promise<string[]> {
  const freed = await tx
    .updateTable("queue")
    .set((row) => ({ lane: laneWithoutWorker(row), state: "ready", worker_id: null }))
    .where("worker_id", "=", workerId)
    .returning("lane")
    .execute();
  await deleteWorker(tx, workerId);
  return [...new Set(freed.map(({ lane }) => lane))];
}
