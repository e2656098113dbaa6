/**
 * PostgreSQL behind the `Database` contract: two pools, one that writes and one whose sessions refuse to.
 * A commit is durable when its reply arrives (`synchronous_commit` is on), so `durable` has nothing to wait
 * for.
 */
import { Kysely, sql } from "kysely";
import type { Transaction } from "kysely";
import { Client, Pool, types } from "pg";
import type { PoolConfig } from "pg";

import { AppError, assert } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { jitter } from "../lib/random.ts";
import type { Random } from "../lib/random.ts";
import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import type { Database } from "./database.ts";
import { busyMsMax, createBusyError, isSerializationFailure } from "./errors.ts";
import { createNestingGuard } from "./nesting.ts";
import type { NestingGuard } from "./nesting.ts";
import type { OpenedDatabase } from "./opened.ts";
import { assertParameters } from "./parameters.ts";
import { CommitLost, findCommit } from "./postgres-commit.ts";
import { createConnections, createPostgresDialect } from "./postgres-driver.ts";
import { lockMigrations, migrationWaitMsDefault } from "./postgres-migration-lock.ts";
import type { MigrationWait } from "./postgres-migration-lock.ts";
import { NotBegun, WrongGuess } from "./postgres-session.ts";
import type { Tables } from "./schema.ts";

export type PostgresDeps = { clock: Clock; random: Random; log: Log };

export type PostgresOptions = {
  url: string;
  /** Connections a pool; there is one pool for writes and one for reads. */
  connectionsMax?: number;
  /** What the sessions call themselves in `pg_stat_activity`. */
  applicationName?: string;
  /** Longest statement; for commands that read much. */
  statementTimeoutMs?: number;
  /** Longest wait for another node's migration. */
  migrationWaitMs?: number;
};

/** The oldest server that is promised to work. */
const majorMin = 14;
const connectionsMaxDefault = 10;
const statementTimeoutMsDefault = 5 * secondMs;
/** A reply that has not come this long after the server would have given up will not come: the network is gone. */
const replyGraceMs = 3 * secondMs;

/** Engine statements are short; one that is not must not hold its locks. */
const timeouts = {
  lock_timeout: 2 * secondMs,
  idle_in_transaction_session_timeout: 10 * secondMs,
  connectionTimeoutMillis: busyMsMax,
  keepAlive: true,
} as const;

const listenerTimeoutMs = 5 * secondMs;

/** A statement of a migration may take long, so only the network's own questions tell a server that is gone. */
const migrationConnection = {
  max: 1,
  application_name: "darkroom migration",
  connectionTimeoutMillis: busyMsMax,
  keepAlive: true,
  keepAliveInitialDelayMillis: 10 * secondMs,
} as const;

/** A plan that was made for an empty table reads all of one that has grown since: each run is planned afresh. */
const sessionOptions = "-c plan_cache_mode=force_custom_plan";

const firstRetryMs = 5;
const retryMsMax = 250;

type TypeId = Parameters<typeof types.getTypeParser>[0];

/** Types of PostgreSQL whose text is made a number here. */
const integerTypes: readonly TypeId[] = [types.builtins.INT8, types.builtins.NUMERIC];

/** Opens pools on the database at `url`; connections are made when they are needed. */
export function openPostgres(options: PostgresOptions, deps: PostgresDeps): OpenedDatabase {
  const max = options.connectionsMax ?? connectionsMaxDefault;
  const statementTimeoutMs = options.statementTimeoutMs ?? statementTimeoutMsDefault;
  const common: PoolConfig = {
    connectionString: options.url,
    max,
    application_name: options.applicationName ?? "darkroom",
    options: sessionOptions,
    ...timeouts,
    statement_timeout: statementTimeoutMs,
    query_timeout: statementTimeoutMs + replyGraceMs,
  };
  const writePool = createPool(common, deps.log);
  const readPool = createPool(
    { ...common, options: `${sessionOptions} -c default_transaction_read_only=on` },
    deps.log,
  );
  const nesting = createNestingGuard();
  const writing = {
    connections: createConnections(writePool),
    parserOf,
    checkQuery: assertParameters,
    marksCommits: true,
  };
  const writers: Writers = {
    guessing: new Kysely({ dialect: createPostgresDialect({ ...writing, guesses: true }) }),
    certain: new Kysely({ dialect: createPostgresDialect(writing) }),
  };
  const read = new Kysely<Tables>({
    dialect: createPostgresDialect({
      connections: createConnections(readPool),
      parserOf,
      checkUse: () => nesting.assertOutside("read"),
      checkQuery: assertParameters,
    }),
  });
  const database: Database = {
    dialect: "postgres",
    read,
    transaction: (work) =>
      runTransaction(deps, nesting, writers, (write) => runOnce(deps, write, readPool, work)),
    durable: () => Promise.resolve(),
    close: async () => {
      await Promise.all([closePool(writePool), closePool(readPool)]);
    },
  };
  const wait = { log: deps.log, waitMsMax: options.migrationWaitMs ?? migrationWaitMsDefault };
  return {
    database,
    assertSupported: () => assertVersion(read),
    migrate: (work) => runMigration(options.url, work, wait),
  };
}

/** An older server fails later, at the first thing that it does not know. */
async function assertVersion(read: Kysely<Tables>): Promise<void> {
  const { rows } = await sql<{ version: number }>`
    select current_setting('server_version_num')::int as version`.execute(read);
  const major = Math.floor((rows[0]?.version ?? 0) / 10_000);
  if (major >= majorMin) return;
  throw new AppError(
    "unavailable",
    `the database is PostgreSQL ${major}; Darkroom needs ${majorMin} or newer`,
  );
}

/** One connection outside the pools, to be listened on; not made yet. */
export function createListener(url: string): Client {
  return new Client({
    connectionString: url,
    application_name: "darkroom listener",
    connectionTimeoutMillis: listenerTimeoutMs,
    query_timeout: listenerTimeoutMs,
    keepAlive: true,
  });
}

/** The same connections; a transaction that has guessed wrong is run again by the one that does not guess. */
type Writers = { guessing: Kysely<Tables>; certain: Kysely<Tables> };

/** Runs one write transaction, again when it lost a race against another one or has guessed wrong. */
async function runTransaction<T>(
  deps: PostgresDeps,
  nesting: NestingGuard,
  writers: Writers,
  execute: (write: Kysely<Tables>) => Promise<T>,
): Promise<T> {
  nesting.assertOutside("transaction");
  const deadlineMs = deps.clock.monotonic() + busyMsMax;
  let pauseMs = firstRetryMs;
  let write = writers.guessing;
  for (;;) {
    try {
      return await nesting.inside(() => execute(write));
    } catch (error) {
      if (error instanceof WrongGuess) {
        write = writers.certain;
        continue;
      }
      if (!isSerializationFailure(error) && !(error instanceof NotBegun)) throw error;
      if (deps.clock.monotonic() >= deadlineMs) throw createBusyError(error);
    }
    await deps.clock.sleep(jitter(deps.random, pauseMs, 0.5));
    pauseMs = Math.min(pauseMs * 2, retryMsMax);
  }
}

/** One run of a transaction. When the reply to its COMMIT is lost, the database is asked what became of it. */
async function runOnce<T>(
  deps: PostgresDeps,
  write: Kysely<Tables>,
  readPool: Pool,
  work: (tx: Transaction<Tables>) => Promise<T>,
): Promise<T> {
  const results: T[] = [];
  try {
    return await write.transaction().execute(async (tx) => {
      const result = await work(tx);
      results.push(result);
      return result;
    });
  } catch (error) {
    if (!(error instanceof CommitLost)) throw error;
    deps.log.warn({ err: error }, "a commit's reply was lost; asking what became of it");
    if (!(await findCommit(deps, readPool, error))) throw createBusyError(error);
    const [result] = results;
    // The work was done before its COMMIT was sent.
    return result as T;
  }
}

/**
 * Runs migrations on a connection of their own, without the timeouts of short statements, under a lock that
 * ends with the transaction.
 */
async function runMigration(
  url: string,
  work: Parameters<OpenedDatabase["migrate"]>[0],
  wait: MigrationWait,
): Promise<void> {
  const config = { ...migrationConnection, connectionString: url };
  const pool = createPool(config, wait.log);
  const db = new Kysely<unknown>({
    dialect: createPostgresDialect({ connections: createConnections(pool), parserOf }),
  });
  try {
    await db.transaction().execute(async (tx) => {
      await lockMigrations(tx, wait);
      await work(tx);
    });
  } finally {
    await closePool(pool);
  }
}

function createPool(config: PoolConfig, log: Log): Pool {
  const pool = new Pool({ ...config, types: { getTypeParser: createTypeParser } });
  // A pooled connection may break while nobody uses it; without a listener that would end the process.
  pool.on("error", (error) => {
    if (!pool.ending) log.warn({ err: error }, "an idle database connection was lost");
  });
  // One in use fails its query too, which tells whoever waits for it.
  pool.on("connect", (client) => client.on("error", () => undefined));
  return pool;
}

async function closePool(pool: Pool): Promise<void> {
  if (!pool.ended) await pool.end();
}

function parserOf(typeId: number): (text: string) => unknown {
  // The library's own type names the types it knows; a server may have others.
  return createTypeParser(typeId);
}

/** `int8` and whole `numeric` values (`count`, `sum`) as numbers that are exact. */
function createTypeParser(type: TypeId, format?: "text" | "binary"): (text: string) => unknown {
  if (integerTypes.includes(type) && format !== "binary") return parseInteger;
  // The library says that its parsers return anything at all.
  return types.getTypeParser(type, format ?? "text") as (text: string) => unknown;
}

function parseInteger(text: string): number {
  const value = Number(text);
  assert(
    Number.isSafeInteger(value),
    `the database returned ${text}, which no number holds exactly`,
  );
  return value;
}
