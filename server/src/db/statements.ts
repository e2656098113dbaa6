/**
 * Statements that are compiled once. Building a query with Kysely costs more than running it: a store keeps
 * its hot statements in module constants made here, and calls them with values.
 *
 *     const findTask = prepare((db, p: { account: string; id: string }) =>
 *       db.selectFrom("tasks").select(["id", "state"])
 *         .where("account_id", "=", p.account).where("id", "=", p.id));
 *     const task = await findTask.first(db.read, { account, id });
 */
import { CompiledQuery } from "kysely";
import type { Compilable, DialectAdapter, QueryResult } from "kysely";

import { assert } from "../lib/errors.ts";
import type { Handle, Tx } from "./database.ts";
import type { Tables } from "./schema.ts";
import { sqliteAdapter } from "./sqlite-driver.ts";

export type ParameterValue = string | number | null;

/** A statement that takes its values by name. `Row` is what it selects or returns. */
export type Prepared<Values, Row> = {
  /** Every row. */
  all(handle: Handle, values: Values): Promise<Row[]>;
  /** The first row, or null when there is none. */
  first(handle: Handle, values: Values): Promise<Row | null>;
  /** How many rows it inserted, changed or deleted; for statements that return no rows. */
  run(tx: Tx, values: Values): Promise<number>;
};

/**
 * A query that is built at its first use on each dialect and then only bound and run. `build` is given
 * placeholders instead of values: it may pass them wherever Kysely takes a value, and must not look at them.
 * A list (`in`) is no value; write one with `sql`, or use `insertRows`. Comparing with `=` never finds null.
 */
export function prepare<Values extends Record<string, ParameterValue>, Row>(
  build: (db: Handle, parameters: Values) => Compilable<Row>,
): Prepared<Values, Row> {
  const templates = new WeakMap<DialectAdapter, Template>();
  function execute(handle: Handle, values: Values): Promise<QueryResult<Row>> {
    const { adapter } = handle.getExecutor();
    let template = templates.get(adapter);
    if (template === undefined) {
      // The builder sees values by their types, and Kysely carries what it is given to `parameters`.
      template = createTemplate(build(handle, createPlaceholders() as Values).compile());
      templates.set(adapter, template);
    }
    return handle.executeQuery<Row>(bind(template, values));
  }
  return {
    all: async (handle, values) => (await execute(handle, values)).rows,
    first: async (handle, values) => (await execute(handle, values)).rows[0] ?? null,
    run: async (tx, values) => Number((await execute(tx, values)).numAffectedRows ?? 0n),
  };
}

/** A compiled query and, for each of its parameters, the name of the value or a constant. */
type Template = { query: CompiledQuery; slots: readonly Slot[] };
type Slot = { name: string } | { constant: unknown };

/** Stands for a value while a query is built. */
type Placeholder = { readonly placeholder: string };

function createPlaceholders(): object {
  return new Proxy(
    {},
    { get: (_target, name): Placeholder => Object.freeze({ placeholder: String(name) }) },
  );
}

function createTemplate(query: CompiledQuery): Template {
  return { query, slots: query.parameters.map(toSlot) };
}

function toSlot(parameter: unknown): Slot {
  return isPlaceholder(parameter) ? { name: parameter.placeholder } : { constant: parameter };
}

function isPlaceholder(value: unknown): value is Placeholder {
  return typeof value === "object" && value !== null && "placeholder" in value;
}

/** A missing value becomes `undefined`, which the driver refuses. */
function bind<Row>(template: Template, values: Record<string, ParameterValue>): CompiledQuery<Row> {
  const parameters = template.slots.map((slot) =>
    "name" in slot ? values[slot.name] : slot.constant,
  );
  const { sql, query, queryId } = template.query;
  return { sql, query, queryId, parameters };
}

export type InsertOptions<Returned extends string> = {
  /** Leaves out the rows whose key exists already, instead of failing. */
  onConflict?: "ignore";
  /** Columns to give back of each row that was inserted. */
  returning?: readonly Returned[];
};

/** Rows in one statement; a larger list takes several. */
const rowsMax = 64;

/** The least that either database allows: SQLite's limit. PostgreSQL allows 65,535. */
const parametersMax = 32_766;

/**
 * Inserts any number of rows with as few statements as possible, and gives back the columns in `returning`.
 * A table needs as many texts as lists have lengths, at most `rowsMax`, which the databases keep prepared.
 * Runs inside a transaction: a statement may fail after others have inserted their rows.
 */
export function insertRows<
  Table extends keyof Tables,
  Column extends keyof Tables[Table] & string,
  Returned extends keyof Tables[Table] & string = never,
>(
  table: Table,
  columns: readonly Column[],
  options: InsertOptions<Returned> = {},
): (
  tx: Tx,
  rows: readonly Pick<Tables[Table], Column>[],
) => Promise<Pick<Tables[Table], Returned>[]> {
  assert(columns.length * rowsMax <= parametersMax, `${table} has too many columns to insert`);
  const texts = { sqlite: new Map<number, string>(), postgres: new Map<number, string>() };
  return async (tx, rows) => {
    const dialect = tx.getExecutor().adapter === sqliteAdapter ? "sqlite" : "postgres";
    const returned: Pick<Tables[Table], Returned>[] = [];
    for (let start = 0; start < rows.length;) {
      const count = Math.min(rowsMax, rows.length - start);
      const text =
        texts[dialect].get(count) ?? insertText({ dialect, table, columns, count, options });
      texts[dialect].set(count, text);
      const parameters: unknown[] = [];
      for (let i = start; i < start + count; i++) {
        for (const column of columns) parameters.push(rows[i]?.[column]);
      }
      const result = await tx.executeQuery(CompiledQuery.raw(text, parameters));
      // The statement returns the columns its text names.
      returned.push(...(result.rows as Pick<Tables[Table], Returned>[]));
      start += count;
    }
    return returned;
  };
}

type InsertShape = {
  dialect: "sqlite" | "postgres";
  table: string;
  columns: readonly string[];
  count: number;
  options: InsertOptions<string>;
};

function insertText(shape: InsertShape): string {
  const { dialect, columns, count, options } = shape;
  const rows = Array.from({ length: count }, (_row, i) => {
    const marks = columns.map((_column, j) =>
      dialect === "sqlite" ? "?" : `$${i * columns.length + j + 1}`,
    );
    return `(${marks.join(", ")})`;
  });
  const text = `insert into "${shape.table}" (${quoteAll(columns)}) values ${rows.join(", ")}`;
  const conflict = options.onConflict === undefined ? "" : " on conflict do nothing";
  const returning =
    options.returning === undefined ? "" : ` returning ${quoteAll(options.returning)}`;
  return text + conflict + returning;
}

function quoteAll(columns: readonly string[]): string {
  return columns.map((column) => `"${column}"`).join(", ");
}
