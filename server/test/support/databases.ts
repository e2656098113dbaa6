import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe } from "node:test";

import type { Kysely } from "kysely";

import type { Database } from "../../src/db/database.ts";
import { openDatabase } from "../../src/db/open.ts";
import type { DatabaseTarget } from "../../src/db/open.ts";
import { createLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/lib/time.ts";
import { createTestClock } from "./clock.ts";
import type { TestClock } from "./clock.ts";
import { findMissing, runStatement, startPostgres, withDatabase } from "./postgres-server.ts";
import type { PostgresForTests } from "./postgres-server.ts";

export type TestDatabase = {
  /** Empty but for its tables. Waits for locks in real time, whatever `clock` says. */
  db: Database;
  /** For the code under test. */
  clock: TestClock;
  /** To open the same database once more, as another process would. */
  target: DatabaseTarget;
};

/** A new database for one test; closed and removed after it. */
export type Setup = () => Promise<TestDatabase>;

/** The address of a new database without any table; removed after the test. */
export type CreateTarget = () => Promise<DatabaseTarget>;

type Kind = Database["dialect"];

/** The tests of one suite. Each calls `setup` once, or `createTarget` when it tests the opening itself. */
export type Suite = (name: Kind, setup: Setup, createTarget: CreateTarget) => void;

/** Makes and removes the databases of one suite. */
type Source = {
  /** A database of its own, with all tables or with none, and how to remove it. */
  create(tables: "all" | "none"): Promise<{ target: DatabaseTarget; remove: () => Promise<void> }>;
  close(): Promise<void>;
};

/**
 * Declares the tests of `suite` twice: on SQLite in a temporary file and on PostgreSQL. Call it at the top
 * of a test file or inside `describe`.
 */
export function onEachDatabase(suite: Suite): void {
  describeOn("sqlite", createSqliteSource(), suite);
  onPostgres(suite);
}

/** Declares tests of what only PostgreSQL does. Where none can be started they are skipped, and that is said. */
export function onPostgres(suite: Suite): void {
  const missing = findMissing();
  if (missing === null) {
    describeOn("postgres", createPostgresSource(), suite);
  } else {
    process.stderr.write(`\nWARNING: tests on PostgreSQL are skipped: ${missing}\n\n`);
    describe("on postgres", { skip: missing }, () => {});
  }
}

function describeOn(kind: Kind, source: Source, suite: Suite): void {
  describe(`on ${kind}`, () => {
    const cleanups: (() => Promise<void>)[] = [];
    afterEach(async () => {
      for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
    });
    after(() => source.close());
    async function createTarget(tables: "all" | "none"): Promise<DatabaseTarget> {
      const { target, remove } = await source.create(tables);
      cleanups.push(remove);
      return target;
    }
    async function setup(): Promise<TestDatabase> {
      const target = await createTarget("all");
      const db = await openTestDatabase(target);
      cleanups.push(() => db.close());
      return { db, clock: createTestClock(), target };
    }
    suite(kind, setup, () => createTarget("none"));
  });
}

/** Opens a database with real time and randomness; a storage failure ends the test process. */
export function openTestDatabase(target: DatabaseTarget): Promise<Database> {
  const log = createLog("warn");
  return openDatabase(target, {
    clock: systemClock,
    random: systemRandom,
    log,
    onFatal: (error) => {
      throw error;
    },
  });
}

/** A handle for rows that the types would refuse. */
type Loose = Kysely<Record<string, Record<string, unknown>>>;

export async function insertRow(
  db: Database,
  table: string,
  row: Record<string, unknown>,
): Promise<void> {
  await db.transaction(async (tx) => {
    await (tx as unknown as Loose).insertInto(table).values(row).execute();
  });
}

export async function readRows(db: Database, table: string): Promise<unknown[]> {
  return (db.read as unknown as Loose).selectFrom(table).selectAll().execute();
}

function createSqliteSource(): Source {
  let folder: Promise<string> | null = null;
  return {
    create: async (tables) => {
      const base = await (folder ??= makeSqliteTemplate());
      const path = join(base, `${systemRandom.bytes(6).toString("hex")}.db`);
      if (tables === "all") await copyFile(join(base, "template.db"), path);
      return {
        target: { kind: "sqlite", path },
        remove: () => rm(path, { force: true }),
      };
    },
    close: async () => {
      if (folder !== null) await rm(await folder, { recursive: true, force: true });
    },
  };
}

async function makeSqliteTemplate(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-test-"));
  const db = await openTestDatabase({ kind: "sqlite", path: join(folder, "template.db") });
  await db.close();
  return folder;
}

/** Connections a pool of a test: enough for races, few enough for many test files at once. */
const connectionsMax = 5;

/**
 * Making a database takes PostgreSQL a tenth of a second, emptying one a few milliseconds: those of earlier
 * tests are used again.
 */
function createPostgresSource(): Source {
  let server: Promise<PostgresForTests> | null = null;
  const made: string[] = [];
  const idle: string[] = [];

  async function make({ url }: PostgresForTests, template: string): Promise<string> {
    const name = `darkroom_test_${systemRandom.bytes(6).toString("hex")}`;
    await runStatement(url, `create database ${name} template ${template} strategy wal_log`);
    made.push(name);
    return name;
  }

  return {
    create: async (tables) => {
      const running = await (server ??= startPostgres());
      const reused = tables === "all" ? idle.pop() : undefined;
      const template = tables === "all" ? running.template : "template0";
      const name = reused ?? (await make(running, template));
      const url = withDatabase(running.url, name);
      return {
        target: { kind: "postgres", url, connectionsMax },
        remove: async () => {
          if (tables === "none") return;
          await runStatement(url, emptyTables);
          idle.push(name);
        },
      };
    },
    close: async () => {
      if (server === null) return;
      const running = await server;
      for (const name of made) {
        await runStatement(running.url, `drop database ${name} with (force)`);
      }
      await running.stop();
    },
  };
}

/**
 * Ends the connections that a test has left open, then removes every row but the record of migrations. The
 * ledger's trigger would refuse, so the tables' own triggers are off meanwhile.
 */
const emptyTables = `
  do $$ declare name text; begin
    perform pg_terminate_backend(pid, 5000) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend';
    for name in select distinct tgrelid::regclass::text from pg_trigger where not tgisinternal loop
      execute format('alter table %s disable trigger user', name);
    end loop;
    for name in select tablename from pg_tables
      where schemaname = 'public' and tablename not like 'kysely%' loop
      execute format('delete from %I', name);
    end loop;
    for name in select distinct tgrelid::regclass::text from pg_trigger where not tgisinternal loop
      execute format('alter table %s enable trigger user', name);
    end loop;
  end $$`;
