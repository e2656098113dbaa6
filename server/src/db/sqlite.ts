/**
 * SQLite behind the `Database` contract: one connection that writes and one that reads, in one process.
 * What stays true: a write transaction begins IMMEDIATE, and while it holds the lock it waits for nothing
 * but its own queries; `durable` resolves only after a sync that began after the commit; a storage failure
 * ends the process, because what reached the disk is then unknown.
 */
import { DatabaseSync } from "node:sqlite";

import { Kysely } from "kysely";
import type { CompiledQuery, QueryResult, Transaction } from "kysely";

import { AssertionError, assert } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { createSemaphore } from "../lib/semaphore.ts";
import type { Semaphore } from "../lib/semaphore.ts";
import type { Clock } from "../lib/time.ts";
import { retryWhileBusy } from "./busy.ts";
import { createCheckpoints, fallbackPages } from "./checkpoints.ts";
import type { Checkpoints } from "./checkpoints.ts";
import type { Database } from "./database.ts";
import {
  busyMsMax,
  createBusyError,
  isBusy,
  isConstraintViolation,
  isStorageFailure,
} from "./errors.ts";
import { createNestingGuard } from "./nesting.ts";
import type { NestingGuard } from "./nesting.ts";
import type { OpenedDatabase } from "./opened.ts";
import type { Tables } from "./schema.ts";
import { createRunner, createSqliteDialect } from "./sqlite-driver.ts";
import type { RunQuery, SqliteHooks } from "./sqlite-driver.ts";
import { createSyncGroup } from "./sync-group.ts";
import type { SyncGroup } from "./sync-group.ts";
import { openWalFile } from "./wal-file.ts";
import type { SyncDescriptor, WalFile } from "./wal-file.ts";

export type SqliteDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  /** Called once, when the storage has failed; it ends the process. */
  onFatal(error: Error): void;
  /** Replaces `fdatasync`. */
  syncDescriptor?: SyncDescriptor;
};

/** The path of a database that lives in memory and ends with the process; for tests and simulations. */
const memoryPath = ":memory:";

/** WAL reset could corrupt a database in SQLite 3.7.0 to 3.51.2. */
const versionMin = [3, 51, 3] as const;

/** Transactions that may wait for the one write connection. */
const waitingMax = 10_000;

/** What the functions of one open database share. */
type Sqlite = {
  deps: SqliteDeps;
  database: DatabaseSync;
  run: RunQuery;
  /** Holds the write connection. */
  writer: Semaphore;
  nesting: NestingGuard;
  syncs: SyncGroup;
  checkpoints: Checkpoints | null;
  fail(error: Error): void;
  /** When the caller whose transaction runs now has waited long enough, on the monotonic clock. */
  deadlineMs: number;
};

/** Opens or creates the database file at `path`, or a database in memory for `:memory:`. */
export async function openSqlite(path: string, deps: SqliteDeps): Promise<OpenedDatabase> {
  const database = new DatabaseSync(path, connectionOptions);
  try {
    assertVersion(database);
    const deadlineMs = deps.clock.monotonic() + busyMsMax;
    await retryWhileBusy(deps, deadlineMs, () => database.exec(pragmas));
    // The first read makes SQLite open its write-ahead log.
    await retryWhileBusy(deps, deadlineMs, () =>
      database.exec("select count(*) from sqlite_master"),
    );
    const wal = path === memoryPath ? null : await openWalFile(path, deps.syncDescriptor);
    const files = { path, database, wal };
    return createOpened(createSqlite(files, deps), files);
  } catch (error) {
    database.close();
    throw error;
  }
}

const connectionOptions = {
  enableForeignKeyConstraints: true,
  enableDoubleQuotedStringLiterals: false,
  defensive: true,
  // Waiting inside SQLite would stop the event loop; `retryWhileBusy` waits outside.
  timeout: 0,
};

const pragmas = `
  pragma journal_mode = wal;
  pragma synchronous = normal;
  pragma trusted_schema = off;
  pragma mmap_size = 0;
  pragma temp_store = memory;
  pragma wal_autocheckpoint = ${fallbackPages};
  pragma journal_size_limit = ${64 * 1024 * 1024};
`;

function assertVersion(database: DatabaseSync): void {
  const row = database.prepare("select sqlite_version() as version").get();
  const version = String(row?.["version"]);
  const parts = version.split(".").map(Number);
  for (const [i, least] of versionMin.entries()) {
    const part = parts[i] ?? 0;
    if (part > least) return;
    assert(
      part === least,
      `SQLite ${version} can corrupt its write-ahead log; this program needs ${versionMin.join(".")} or newer`,
    );
  }
}

type Files = { path: string; database: DatabaseSync; wal: WalFile | null };

function createSqlite({ path, database, wal }: Files, deps: SqliteDeps): Sqlite {
  const syncs = createSyncGroup(() => wal?.sync() ?? Promise.resolve(), fail);
  let failed = false;
  function fail(error: Error): void {
    if (failed) return;
    failed = true;
    syncs.fail(error);
    deps.onFatal(error);
  }
  const writer = createSemaphore({ limit: 1, waitingMax, full: createBusyError });
  const run = createFailingRunner(createRunner(database), fail);
  const nesting = createNestingGuard();
  const whileIdle = (work: () => Promise<void>) => writer.run(work);
  const checkpoints =
    path === memoryPath
      ? null
      : createCheckpoints({ path, database, whileIdle, log: deps.log, onFatal: fail });
  return { deps, database, run, writer, nesting, syncs, checkpoints, fail, deadlineMs: 0 };
}

/** Reports a storage failure of any statement before its caller sees the error. */
function createFailingRunner(run: RunQuery, fail: (error: Error) => void): RunQuery {
  return (query) => {
    try {
      return run(query);
    } catch (error) {
      if (error instanceof Error && isStorageFailure(error)) fail(error);
      throw error;
    }
  };
}

function createOpened(sqlite: Sqlite, { path, wal }: Files): OpenedDatabase {
  const write = new Kysely<Tables>({ dialect: createSqliteDialect(createWriteHooks(sqlite)) });
  const reader = path === memoryPath ? null : openReader(path);
  const read = new Kysely<Tables>({
    dialect: createSqliteDialect(
      createReadHooks(
        sqlite,
        reader === null ? createSharedRead(sqlite) : createOwnRead(sqlite, reader),
      ),
    ),
  });
  const database: Database = {
    dialect: "sqlite",
    read,
    transaction: (work) => runTransaction(sqlite, () => write.transaction().execute(work)),
    durable: () => sqlite.syncs.wait(),
    close: () => closeAll(sqlite, reader, wal),
  };
  return {
    database,
    // It comes with Node.
    assertSupported: () => Promise.resolve(),
    // A migration's tables are not those of `Tables` yet.
    migrate: (work) => database.transaction((tx) => work(tx as unknown as Transaction<unknown>)),
  };
}

/** Closes when the transactions under way and in line are over, and what they committed is durable. */
async function closeAll(
  sqlite: Sqlite,
  reader: DatabaseSync | null,
  wal: WalFile | null,
): Promise<void> {
  await sqlite.checkpoints?.close();
  await sqlite.writer.run(async () => {
    if (!sqlite.database.isOpen) return;
    try {
      await sqlite.syncs.wait();
    } finally {
      reader?.close();
      sqlite.database.close();
      await wal?.close();
    }
  });
}

/** Runs one write transaction when its turn has come. */
async function runTransaction<T>(sqlite: Sqlite, execute: () => Promise<T>): Promise<T> {
  sqlite.nesting.assertOutside("transaction");
  const { clock } = sqlite.deps;
  const deadlineMs = clock.monotonic() + busyMsMax;
  return sqlite.writer.run(async () => {
    if (clock.monotonic() >= deadlineMs) throw createBusyError();
    sqlite.deadlineMs = deadlineMs;
    const result = await sqlite.nesting.inside(execute);
    sqlite.syncs.addCommit();
    sqlite.checkpoints?.addCommit();
    return result;
  });
}

function createWriteHooks(sqlite: Sqlite): SqliteHooks {
  const { database, deps } = sqlite;
  const begin = database.prepare("begin immediate");
  const commit = database.prepare("commit");
  const rollback = database.prepare("rollback");
  return {
    execute: async (query) => {
      // SQLite ends a transaction on its own after some errors; what follows must not commit piece by piece.
      assert(database.isTransaction, "the transaction is over; pass the error on");
      return sqlite.run(query);
    },
    begin: async () => {
      await retryWhileBusy(deps, sqlite.deadlineMs, () => begin.run());
    },
    commit: async () => {
      try {
        commit.run();
      } catch (error) {
        // After a constraint or a lock nothing is committed. Any other COMMIT that fails may have reached
        // the disk all the same.
        const isUndone = isConstraintViolation(error) || isBusy(error);
        if (error instanceof Error && !isUndone) sqlite.fail(error);
        throw error;
      }
    },
    rollback: async () => {
      // SQLite rolls back on its own after some errors; a second ROLLBACK would hide the first error.
      if (database.isTransaction) rollback.run();
    },
  };
}

function openReader(path: string): DatabaseSync {
  const reader = new DatabaseSync(path, connectionOptions);
  reader.exec("pragma trusted_schema = off; pragma mmap_size = 0; pragma query_only = on");
  return reader;
}

type Read = (query: CompiledQuery) => Promise<QueryResult<unknown>>;

/** Reads on a connection of their own, beside a write transaction. */
function createOwnRead(sqlite: Sqlite, reader: DatabaseSync): Read {
  const run = createFailingRunner(createRunner(reader), (error) => sqlite.fail(error));
  return (query) => {
    const deadlineMs = sqlite.deps.clock.monotonic() + busyMsMax;
    return retryWhileBusy(sqlite.deps, deadlineMs, () => run(query));
  };
}

/** A database in memory has one connection: reads take turns with the write transactions. */
function createSharedRead(sqlite: Sqlite): Read {
  return (query) =>
    sqlite.writer.run(async () => {
      sqlite.database.exec("pragma query_only = on");
      try {
        return sqlite.run(query);
      } finally {
        sqlite.database.exec("pragma query_only = off");
      }
    });
}

function createReadHooks(sqlite: Sqlite, execute: Read): SqliteHooks {
  return {
    execute: async (query) => {
      sqlite.nesting.assertOutside("read");
      return execute(query);
    },
    begin: refuseTransaction,
    commit: refuseTransaction,
    rollback: refuseTransaction,
  };
}

function refuseTransaction(): Promise<never> {
  return Promise.reject(new AssertionError("a transaction begins with Database.transaction"));
}
