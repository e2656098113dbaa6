/**
 * Removes what is no longer kept: bytes whose links have ended, references of ended tasks, expired
 * uploads and idempotency keys, old task records. The ledger is kept for ever.
 */
import type { Database, Handle } from "../db/database.ts";
import {
  deletePictureRows,
  forgetObjects,
  loadDueObjects,
  loadOutputs,
  loadReferences,
} from "../images/store.ts";
import type { Log } from "../lib/log.ts";
import { createLoop } from "../lib/loop.ts";
import type { Loop } from "../lib/loop.ts";
import type { Clock } from "../lib/time.ts";
import { StorageError } from "../storage/storage.ts";
import type { Storage } from "../storage/storage.ts";
import { deleteExpiredIdempotency } from "./idempotency-store.ts";
import { deleteTaskRows, loadEndedBefore } from "./sweep-store.ts";
import type { TaskRef } from "./sweep-store.ts";

export type SweepDeps = {
  db: Database;
  clock: Clock;
  storage: Storage;
  log: Log;
  /** How long an ended task is kept, in milliseconds. */
  retentionMs: number;
};

const sweepEveryMs = 60_000;
const batchMax = 500;
/** Rows a transaction, so that nothing waits long behind a sweep. */
const transactionMax = 50;

export function createSweeper(deps: SweepDeps): Loop {
  return createLoop({
    clock: deps.clock,
    everyMs: sweepEveryMs,
    turn: async () => ((await sweep(deps)) ? 0 : sweepEveryMs),
    onError: (error) => deps.log.error({ err: error }, "a sweep failed"),
  });
}

/** One round; true when a batch was full and more is likely to be due. */
export async function sweep(deps: SweepDeps): Promise<boolean> {
  const counts = [await sweepObjects(deps), await sweepKeys(deps), await sweepTasks(deps)];
  return counts.some((count) => count >= batchMax);
}

/** Bytes go first: a row without bytes is harmless, bytes without a row would stay for long. */
async function sweepObjects(deps: SweepDeps): Promise<number> {
  const { db, clock } = deps;
  const due = await loadDueObjects(db.read, clock.now(), batchMax);
  const left = await removeAll(
    deps,
    due.map(({ object }) => object),
  );
  const gone = due.filter(({ object }) => !left.has(object));
  for (const batch of chunksOf(gone)) await db.transaction((tx) => forgetObjects(tx, batch));
  return gone.length;
}

/** Gives those that are still there: objects that cannot be removed must not stop the sweep of the others. */
async function removeAll(
  { storage, log }: SweepDeps,
  objects: readonly string[],
): Promise<ReadonlySet<string>> {
  if (objects.length === 0) return new Set();
  try {
    const left = await storage.removeMany(objects);
    if (left.length > 0)
      log.error({ left }, "objects could not be removed; they are tried again later");
    return new Set(left);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    log.error({ err: error }, "objects could not be removed; they are tried again later");
    return new Set(objects);
  }
}

async function sweepKeys({ db, clock }: SweepDeps): Promise<number> {
  return db.transaction((tx) => deleteExpiredIdempotency(tx, clock.now(), batchMax));
}

async function sweepTasks(deps: SweepDeps): Promise<number> {
  const { db, clock, retentionMs } = deps;
  const now = clock.now();
  const due = await loadEndedBefore(db.read, { before: now - retentionMs, now }, batchMax);
  let removed = 0;
  for (const batch of chunksOf(due)) {
    const gone = await removeObjects(deps, batch);
    await db.transaction(async (tx) => {
      for (const task of gone) {
        await deletePictureRows(tx, task.accountId, task.id);
        await deleteTaskRows(tx, task);
      }
    });
    removed += gone.length;
  }
  return removed;
}

/** The tasks of which no bytes are left. */
async function removeObjects(deps: SweepDeps, tasks: readonly TaskRef[]): Promise<TaskRef[]> {
  const remaining = new Map<TaskRef, string[]>();
  for (const task of tasks) remaining.set(task, await loadRemainingObjects(deps.db.read, task));
  const left = await removeAll(deps, [...remaining.values()].flat());
  return tasks.filter((task) => !remaining.get(task)?.some((object) => left.has(object)));
}

/** Objects of an ended task whose bytes have not gone before. */
async function loadRemainingObjects(handle: Handle, { accountId, id }: TaskRef): Promise<string[]> {
  const outputs = await loadOutputs(handle, accountId, id);
  const references = await loadReferences(handle, accountId, id);
  const remaining = [...outputs, ...references].filter(({ remove_at }) => remove_at !== null);
  return remaining.map(({ object }) => object);
}

function chunksOf<T>(list: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(list.length / transactionMax) }, (_, index) =>
    list.slice(index * transactionMax, (index + 1) * transactionMax),
  );
}
