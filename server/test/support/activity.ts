/** Knows when the code under test is at rest: every piece of real work it has begun has ended. */
import { setImmediate as nextTurn } from "node:timers/promises";

import { Kysely } from "kysely";
import type { DialectAdapter } from "kysely";

import type { Database, Handle } from "../../src/db/database.ts";
import { isSqlite } from "../../src/db/sqlite-driver.ts";
import type { SqliteAdapter } from "../../src/db/sqlite-driver.ts";
import type { Egress } from "../../src/lib/egress.ts";

export type Activity = {
  track<T>(work: () => Promise<T>): Promise<T>;
  /** Resolves when no tracked work has been under way for a few turns of the event loop. */
  rest(): Promise<void>;
};

/** Turns in which whoever was woken last begins its next piece of work. */
const quietTurns = 4;

export function createActivity(): Activity {
  let active = 0;
  let ended = Promise.withResolvers<void>();
  return {
    track: async (work) => {
      active += 1;
      try {
        return await work();
      } finally {
        active -= 1;
        ended.resolve();
        ended = Promise.withResolvers();
      }
    },
    rest: async () => {
      for (let quiet = 0; quiet < quietTurns; quiet += 1) {
        if (active > 0) {
          await ended.promise;
          quiet = -1;
        }
        await nextTurn();
      }
    },
  };
}

/** The same object, every call of whose asynchronous methods is tracked. */
export function trackAll<T extends object>({ track }: Activity, target: T): T {
  return new Proxy(target, {
    get: (object, name) => {
      const value: unknown = Reflect.get(object, name, object);
      if (typeof value !== "function") return value;
      return (...inputs: unknown[]) =>
        track(async () => Reflect.apply(value, object, inputs) as unknown);
    },
  });
}

export function trackDatabase({ track }: Activity, db: Database): Database {
  return wrapDatabase(db, track);
}

/** Everything asked of the database goes through `around`. */
export function wrapDatabase(
  db: Database,
  around: <T>(work: () => Promise<T>) => Promise<T>,
): Database {
  return {
    dialect: db.dialect,
    read: wrapReads(db.read, around),
    transaction: (work) => around(() => db.transaction(work)),
    durable: () => around(() => db.durable()),
    close: () => db.close(),
  };
}

/** A handle over the same connections; Kysely takes an executor of its own instead of a dialect. */
function wrapReads(read: Handle, around: <T>(work: () => Promise<T>) => Promise<T>): Handle {
  const inner = read.getExecutor();
  const adapter = wrapAdapter(inner.adapter, around);
  const executor = new Proxy(inner, {
    get: (target, name) => {
      if (name === "adapter") return adapter;
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      const call = (...inputs: unknown[]): unknown => Reflect.apply(value, target, inputs);
      if (name !== "executeQuery") return call;
      return (...inputs: unknown[]) => around(async () => call(...inputs));
    },
  });
  const unused = {} as never; // only transactions and schema building need them, and reads do neither
  return new Kysely({ config: unused, dialect: unused, driver: unused, executor });
}

/** SQLite's runs the prepared statements, past the executor. */
function wrapAdapter(
  adapter: DialectAdapter,
  around: <T>(work: () => Promise<T>) => Promise<T>,
): DialectAdapter {
  if (!isSqlite(adapter)) return adapter;
  const { execute } = adapter;
  const wrapped: SqliteAdapter = { ...adapter, execute: (query) => around(() => execute(query)) };
  return wrapped;
}

export function trackEgress({ track }: Activity, egress: Egress): Egress {
  return {
    ...egress,
    request: (url, request) =>
      track(async () => {
        const reply = await egress.request(url, request);
        return { ...reply, read: () => track(() => reply.read()) };
      }),
  };
}

export type SyncCounts = { commits(): number; unsynced(): number };

/** Counts the commits that no `durable` begun after them has covered. */
export function countSyncs(db: Database): { db: Database } & SyncCounts {
  let commits = 0;
  let covered = 0;
  return {
    commits: () => commits,
    unsynced: () => commits - covered,
    db: {
      ...db,
      transaction: async (work) => {
        const result = await db.transaction(work);
        commits += 1;
        return result;
      },
      durable: async () => {
        const before = commits;
        await db.durable();
        covered = Math.max(covered, before);
      },
    },
  };
}
