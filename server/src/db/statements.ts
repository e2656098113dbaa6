/**
 * Statements that are compiled once. Building a query with Kysely costs more than running it: a store keeps
 * its hot statements in module constants made here, and calls them with values.
 *
 *     const findTask = prepare((db, p: { account: string; id: string }) =>
 *       db.selectFrom("tasks").select(["id", "state"])
 *         .where("account_id", "=", p.account).where("id", "=", p.id));
 *     const task = await findTask.first(db.read, { account, id });
 */
import type { Compilable, CompiledQuery, QueryResult } from "kysely";

import { assert } from "../lib/errors.ts";
import type { Handle, Tx } from "./database.ts";
import type { HintedQuery, Hints } from "./hints.ts";
import { planOnce } from "./plan-once.ts";
import { quoteNames } from "./insert-shape.ts";
import { createPostgresInsert } from "./postgres-insert.ts";
import type { Tables } from "./schema.ts";
import { isSqlite } from "./sqlite-driver.ts";
import { createSqliteInsert } from "./sqlite-insert.ts";

export type ParameterValue = string | number | null;

/** A statement that takes its values by name. `Row` is what it selects or returns. */
export type Prepared<Values, Row> = {
  /** Every row. */
  all(handle: Handle, values: Values): Promise<Row[]>;
  /** The first row, or null when there is none. */
  first(handle: Handle, values: Values): Promise<Row | null>;
  /** How many rows it inserted, changed or deleted; for statements that return no rows. */
  run(tx: Tx, values: Values): Promise<number>;
  /**
   * Whether it changed a row, for an UPDATE of one row that as good as always does. On PostgreSQL the answer is
   * a guess that costs no round trip; a transaction with a wrong one is run again, without guesses.
   */
  changes(tx: Tx, values: Values, hints?: Pick<Hints, "isContended">): Promise<boolean>;
};

/**
 * A query that is built at its first use on each dialect and then only bound and run. `build` is given
 * placeholders instead of values: it may pass them wherever Kysely takes a value, and must not look at them.
 * Whatever else it compares with or sets is a constant and becomes part of the statement's text.
 * A list (`in`) is no value; write one with `sql`, or use `insertRows`. Comparing with `=` never finds null.
 */
export function prepare<Values extends Record<string, ParameterValue>, Row>(
  build: (db: Handle, parameters: Values) => Compilable<Row>,
): Prepared<Values, Row> {
  const templates: { sqlite?: Template; postgres?: Template } = {};
  function execute(handle: Handle, values: Values, hints?: Hints): Promise<QueryResult<Row>> {
    const executor = handle.getExecutor();
    const dialect = isSqlite(executor.adapter) ? "sqlite" : "postgres";
    let template = templates[dialect];
    if (template === undefined) {
      // The builder sees values by their types, and Kysely carries what it is given to `parameters`.
      const built = build(handle, createPlaceholders() as Values).compile();
      template = createTemplate(
        executor.compileQuery(planOnce(built.query, isPlaceholder), built.queryId),
      );
      templates[dialect] = template;
    }
    return run(handle, bind<Row>(template, values, hints));
  }
  return {
    all: async (handle, values) => (await execute(handle, values)).rows,
    first: async (handle, values) => (await execute(handle, values)).rows[0] ?? null,
    run: async (tx, values) => Number((await execute(tx, values)).numAffectedRows ?? 0n),
    changes: async (tx, values, hints) => {
      const { numAffectedRows } = await execute(tx, values, { isGuess: true, ...hints });
      return numAffectedRows !== undefined && numAffectedRows > 0n;
    },
  };
}

/** Past Kysely's executor where the database allows it. */
export function run<Row>(handle: Handle, query: CompiledQuery<Row>): Promise<QueryResult<Row>> {
  const { adapter } = handle.getExecutor();
  // The row type is the query's own claim.
  if (isSqlite(adapter)) return adapter.execute(query) as Promise<QueryResult<Row>>;
  return handle.executeQuery(query);
}

/** A compiled query and the names of its parameters, in order. */
type Template = { query: CompiledQuery; names: readonly string[] };

/** Stands for a value while a query is built. */
type Placeholder = { readonly placeholder: string };

function createPlaceholders(): object {
  return new Proxy(
    {},
    { get: (_target, name): Placeholder => Object.freeze({ placeholder: String(name) }) },
  );
}

function createTemplate(query: CompiledQuery): Template {
  return { query, names: query.parameters.map(nameOf) };
}

function nameOf(parameter: unknown): string {
  assert(isPlaceholder(parameter), "a constant of a prepared statement is part of its text");
  return parameter.placeholder;
}

function isPlaceholder(value: unknown): value is Placeholder {
  return typeof value === "object" && value !== null && "placeholder" in value;
}

/** A missing value becomes `undefined`, which the driver refuses. */
function bind<Row>(
  template: Template,
  values: Record<string, ParameterValue>,
  hints?: Hints,
): HintedQuery<Row> {
  const { sql, query, queryId } = template.query;
  const parameters = template.names.map((name) => values[name]);
  return { sql, query, queryId, parameters, isKept: true, ...hints };
}

export type InsertOptions<Row, Returned extends keyof Row & string> = {
  /** Columns that have the same value in every row. A column that is named nowhere stays null. */
  constants?: Partial<Row>;
  /** Leaves out the rows whose key exists already, instead of failing. */
  onConflict?: "ignore";
  /** Columns to give back of each row that was inserted. */
  returning?: readonly Returned[];
};

/** The values of one row, in the order of its columns. */
type ValuesOf<Row, Columns extends readonly (keyof Row)[]> = {
  readonly [Index in keyof Columns]: Row[Columns[Index]];
};

/** Inserts any number of rows; gives back the columns in `returning`. */
type Insert<Item, Returned> = (tx: Tx, items: readonly Item[]) => Promise<Returned[]>;

/** Rows in one statement; a larger list takes several. */
const rowsMax = 64;

/** SQLite's limit. */
const parametersMax = 32_766;

/** As `insertValues`, for items that are rows already. */
export function insertRows<
  Table extends keyof Tables,
  Column extends keyof Tables[Table] & string,
  Returned extends keyof Tables[Table] & string = never,
>(
  table: Table,
  columns: readonly Column[],
  options: InsertOptions<Tables[Table], Returned> = {},
): Insert<Pick<Tables[Table], Column>, Pick<Tables[Table], Returned>> {
  return insertValues(table, columns, (row) => columns.map((column) => row[column]), options);
}

/**
 * Inserts a row for each item with as few statements as possible. `valuesOf` gives the values of `columns`:
 * without an object between, and without looking names up in it, they cost half as much as a row.
 * Runs inside a transaction: a statement may fail after others have inserted their rows, and on PostgreSQL
 * one that returns nothing may fail in the place of the transaction's next statement.
 */
export function insertValues<
  Table extends keyof Tables,
  const Columns extends readonly (keyof Tables[Table] & string)[],
  Item,
  Returned extends keyof Tables[Table] & string = never,
>(
  table: Table,
  columns: Columns,
  valuesOf: (item: Item) => ValuesOf<Tables[Table], Columns>,
  options: InsertOptions<Tables[Table], Returned> = {},
): Insert<Item, Pick<Tables[Table], Returned>> {
  assert(columns.length * rowsMax <= parametersMax, `${table} has too many columns to insert`);
  const shape = { table, columns, ...partsOf(options), isUnread: options.returning === undefined };
  const onSqlite = createSqliteInsert(shape);
  const onPostgres = createPostgresInsert(shape);
  return async (tx, items) => {
    const isOnSqlite = isSqlite(tx.getExecutor().adapter);
    const returned: Pick<Tables[Table], Returned>[] = [];
    for (let start = 0; start < items.length; start += rowsMax) {
      const part = items.length <= rowsMax ? items : items.slice(start, start + rowsMax);
      const rows = part.map(valuesOf);
      const result = await run(tx, isOnSqlite ? onSqlite(rows) : await onPostgres(tx, rows));
      // The statement returns the columns its text names.
      returned.push(...(result.rows as Pick<Tables[Table], Returned>[]));
    }
    return returned;
  };
}

/** The parts of an INSERT that are the same in every run, as SQL. */
function partsOf(options: InsertOptions<Record<string, unknown>, string>): {
  constants: Readonly<Record<string, string>>;
  ending: string;
} {
  const constants = Object.entries(options.constants ?? {});
  const conflict = options.onConflict === undefined ? "" : " on conflict do nothing";
  const returning =
    options.returning === undefined ? "" : ` returning ${quoteNames(options.returning)}`;
  return {
    constants: Object.fromEntries(constants.map(([name, value]) => [name, toLiteral(value)])),
    ending: conflict + returning,
  };
}

/** A constant of our own code, never a caller's value. */
function toLiteral(value: unknown): string {
  if (typeof value === "number") return String(value);
  assert(
    typeof value === "string" && /^[a-z_]+$/.test(value),
    "a constant is a number or a plain word",
  );
  return `'${value}'`;
}
