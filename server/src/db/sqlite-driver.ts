/**
 * Kysely's driver for `node:sqlite`. Statements run on the calling thread: one takes microseconds, and a
 * thread between would cost more than it saves.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";

import { SqliteIntrospector, SqliteQueryCompiler } from "kysely";
import type {
  CompiledQuery,
  DatabaseConnection,
  Dialect,
  DialectAdapter,
  Driver,
  Kysely,
  QueryResult,
} from "kysely";

import { AssertionError } from "../lib/errors.ts";
import { dialectAdapter } from "./dialect-adapter.ts";
import { assertParameters } from "./parameters.ts";

/** Runs one compiled query on one connection. */
export type RunQuery = (query: CompiledQuery) => QueryResult<unknown>;

/** Statements kept prepared on a connection; the one used longest ago is dropped first. */
const statementsMax = 512;

type Statement = {
  prepared: StatementSync;
  /** Names of the columns it returns; empty for a statement that returns no rows. */
  columns: readonly string[];
};

/** Runs queries on `database` with prepared statements that are kept between calls. */
export function createRunner(database: DatabaseSync, cachedMax = statementsMax): RunQuery {
  const statements = new Map<string, Statement>();
  return (query) => {
    assertParameters(query.sql, query.parameters);
    const statement = takeStatement(database, statements, query.sql, cachedMax);
    const parameters = query.parameters.map(toSqlite);
    if (statement.columns.length === 0) {
      const { changes } = statement.prepared.run(...parameters);
      return { numAffectedRows: BigInt(changes), rows: [] };
    }
    // Arrays and our own objects take 2.0 µs for a row of 24 columns; the driver's own objects take 2.7,
    // and have no prototype, so that they would not equal the rows of PostgreSQL.
    const values: unknown[] = statement.prepared.all(...parameters);
    return { rows: values.map((row) => toRow(statement.columns, row)) };
  };
}

function takeStatement(
  database: DatabaseSync,
  statements: Map<string, Statement>,
  sql: string,
  cachedMax: number,
): Statement {
  const known = statements.get(sql);
  if (known !== undefined) {
    // A map keeps the order of insertion, so the first key is always the one used longest ago.
    statements.delete(sql);
    statements.set(sql, known);
    return known;
  }
  const prepared = database.prepare(sql);
  const columns = prepared.columns().map((column) => column.name);
  prepared.setReturnArrays(true);
  if (statements.size >= cachedMax) {
    const [oldest] = statements.keys();
    if (oldest !== undefined) statements.delete(oldest);
  }
  const statement = { prepared, columns };
  statements.set(sql, statement);
  return statement;
}

/**
 * `node:sqlite` binds every number as a float, so that `'slot:' || ?` would read `slot:5.0` and `7 / ?`
 * would be 3.5, unlike PostgreSQL. A bigint is bound as an integer.
 */
function toSqlite(value: unknown): string | bigint | number | null | Uint8Array {
  if (typeof value === "number") return Number.isInteger(value) ? BigInt(value) : value;
  // `assertParameters` has refused everything else.
  return value as string | null | Uint8Array;
}

function toRow(columns: readonly string[], values: unknown): Record<string, unknown> {
  // `setReturnArrays` makes every row an array; the library's types do not say so.
  const cells = values as readonly unknown[];
  const row: Record<string, unknown> = {};
  for (let i = 0; i < columns.length; i++) row[columns[i] ?? ""] = cells[i];
  return row;
}

/** How a handle begins and ends its transactions, and how it runs a query. */
export type SqliteHooks = {
  execute(query: CompiledQuery): Promise<QueryResult<unknown>>;
  begin(): Promise<void>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
};

/** Kysely's view of one connection. Waiting for one's turn is the business of `hooks`. */
export function createSqliteDialect(hooks: SqliteHooks): Dialect {
  return {
    createDriver: () => createDriver(hooks),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: (): SqliteAdapter => ({ ...dialectAdapter, execute: hooks.execute }),
    createIntrospector: (db: Kysely<unknown>) => new SqliteIntrospector(db),
  };
}

/**
 * What SQLite can do, and how it runs a query without Kysely's executor, whose dozen promises cost as much as
 * a statement.
 */
export type SqliteAdapter = DialectAdapter & Pick<SqliteHooks, "execute">;

export function isSqlite(adapter: DialectAdapter): adapter is SqliteAdapter {
  return "execute" in adapter;
}

function createDriver(hooks: SqliteHooks): Driver {
  const connection: DatabaseConnection = {
    executeQuery: async <R>(query: CompiledQuery) =>
      // The row type is Kysely's claim about its own query; nothing can check it here.
      (await hooks.execute(query)) as QueryResult<R>,
    streamQuery: () => {
      // An unfinished iteration pins the write-ahead log, which then grows without bound.
      throw new AssertionError("queries are not streamed; ask for pages");
    },
  };
  return {
    init: () => Promise.resolve(),
    acquireConnection: () => Promise.resolve(connection),
    beginTransaction: () => hooks.begin(),
    commitTransaction: () => hooks.commit(),
    rollbackTransaction: () => hooks.rollback(),
    releaseConnection: () => Promise.resolve(),
    destroy: () => Promise.resolve(),
  };
}
