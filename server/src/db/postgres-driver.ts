/** Kysely's driver for `pg`: the pool's connections as sessions (`postgres-session.ts`). */
import { PostgresIntrospector, PostgresQueryCompiler } from "kysely";
import type { Dialect, Driver, Kysely } from "kysely";
import type { Pool, PoolClient } from "pg";

import { dialectAdapter } from "./dialect-adapter.ts";
import { createBusyError } from "./errors.ts";
import type { KeptStatements } from "./postgres-exchange.ts";
import { createSession } from "./postgres-session.ts";
import type { NameStatement, Session, SessionParts } from "./postgres-session.ts";

/** What belongs to the connections of a pool, whichever dialect uses them. */
export type Connections = {
  pool: Pool;
  nameOf: NameStatement;
  keptOf(client: PoolClient): KeptStatements;
};

export type DialectParts = SessionParts & {
  connections: Connections;
  /** Runs before a connection is taken. */
  checkUse?: () => void;
};

export function createPostgresDialect(parts: DialectParts): Dialect {
  return {
    createDriver: () => createDriver(parts),
    createQueryCompiler: () => new PostgresQueryCompiler(),
    createAdapter: () => dialectAdapter,
    createIntrospector: (db: Kysely<unknown>) => new PostgresIntrospector(db),
  };
}

export function createConnections(pool: Pool): Connections {
  const keptBy = new WeakMap<PoolClient, KeptStatements>();
  return {
    pool,
    nameOf: createNames(),
    keptOf: (client) => {
      const kept = keptBy.get(client) ?? new Map();
      keptBy.set(client, kept);
      return kept;
    },
  };
}

function createDriver(parts: DialectParts): Driver {
  const { pool, nameOf, keptOf } = parts.connections;
  const sessions = new WeakMap<PoolClient, Session>();
  return {
    init: () => Promise.resolve(),
    acquireConnection: async () => {
      parts.checkUse?.();
      const client = await connect(pool);
      const known = sessions.get(client);
      const session = known ?? createSession(client, parts, { nameOf, kept: keptOf(client) });
      if (known === undefined) sessions.set(client, session);
      return session;
    },
    // Kysely gives back the connections that it was given here.
    beginTransaction: (connection) => (connection as Session).begin(),
    commitTransaction: (connection) => (connection as Session).commit(),
    rollbackTransaction: (connection) => (connection as Session).rollback(),
    releaseConnection: (connection) => (connection as Session).release(),
    destroy: async () => {
      if (!pool.ended) await pool.end();
    },
  };
}

async function connect(pool: Pool): Promise<PoolClient> {
  try {
    return await pool.connect();
  } catch (error) {
    throw createBusyError(error);
  }
}

/** More than there are texts to keep, so that only a mistake meets it. */
const keptMax = 1_000;

/** One name a text, the same in every session. */
function createNames(): NameStatement {
  const names = new Map<string, string>();
  return (text, { isKept }) => {
    if (isKept !== true) return null;
    const known = names.get(text);
    if (known !== undefined || names.size >= keptMax) return known ?? null;
    const name = `s${names.size}`;
    names.set(text, name);
    return name;
  };
}
