/**
 * A whole database into another one, row by row, and the proof that both say the same. It reads every column of
 * every table, so a table or column that a migration adds is copied without a change here but its primary key.
 */
import { isDeepStrictEqual } from "node:util";

import { sql } from "kysely";
import type { RawBuilder } from "kysely";

import type { Database, Handle, Tx } from "./database.ts";
import { movedTo, secretFingerprint } from "./copy-marks.ts";
import type { Tables } from "./schema.ts";
import { insertRows } from "./statements.ts";

export type TableName = keyof Tables;

type Row = Readonly<Record<string, string | number | null>>;

/** A table without its key here does not compile. */
const primaryKeys = {
  accounts: ["id"],
  api_keys: ["account_id", "id"],
  key_usage: ["account_id", "key_id"],
  tasks: ["account_id", "id"],
  slots: ["account_id", "task_id", "slot"],
  queue: ["account_id", "task_id"],
  attempts: ["account_id", "task_id", "id"],
  idempotency: ["account_id", "mode", "route", "key"],
  workers: ["id"],
  nodes: ["id"],
  references: ["account_id", "task_id", "position"],
  uploads: ["account_id", "id"],
  outputs: ["account_id", "task_id", "slot"],
  balances: ["account_id", "mode"],
  ledger: ["account_id", "id"],
  prices: ["model", "price_row"],
  costs: ["account_id", "attempt_id"],
  channels: ["name"],
  channel_load: ["channel", "upstream_model"],
  webhook_endpoints: ["account_id", "id"],
  webhook_secrets: ["account_id", "mode"],
  events: ["account_id", "id"],
  deliveries: ["account_id", "id"],
  delivery_tries: ["account_id", "delivery_id", "number"],
  settings: ["name"],
} as const satisfies { [Name in TableName]: readonly (keyof Tables[Name] & string)[] };

// The keys of an object literal are its names.
export const tableNames = Object.keys(primaryKeys) as readonly TableName[];

/** What a copy says about itself, on either side. */
const ownSettings: readonly unknown[] = [secretFingerprint, movedTo];
/** Rows that a database has before anybody uses it. */
const unusedTables: readonly TableName[] = ["settings", "nodes", "workers"];
const pageSize = 500;

/** Rows of a table in order of its primary key, some hundreds at a time. */
async function* eachPage(handle: Handle, table: TableName): AsyncGenerator<readonly Row[]> {
  const columns = sql.join(primaryKeys[table].map((column) => sql.ref(column)));
  let last: Row | null = null;
  for (;;) {
    const values: (string | number | null)[] = primaryKeys[table].map(
      (column) => last?.[column] ?? null,
    );
    const after: RawBuilder<unknown> =
      last === null ? sql`` : sql`where (${columns}) > (${sql.join(values)})`;
    const { rows }: { rows: Row[] } = await sql<Row>`
      select * from ${sql.table(table)} ${after} order by ${columns} limit ${sql.lit(pageSize)}
    `.execute(handle);
    if (rows.length > 0) yield rows.filter((row) => !isOwn(table, row));
    if (rows.length < pageSize) return;
    last = rows.at(-1) ?? null;
  }
}

function isOwn(table: TableName, row: Row): boolean {
  return table === "settings" && ownSettings.includes(row["name"]);
}

/** Copies every row of a table into the same, empty table of `target`; returns how many there were. */
export async function copyTable(
  source: Handle,
  target: Pick<Database, "transaction">,
  table: TableName,
): Promise<number> {
  let copied = 0;
  for await (const rows of eachPage(source, table)) {
    await target.transaction((tx) => insertPage(tx, table, rows));
    copied += rows.length;
  }
  return copied;
}

async function insertPage(tx: Tx, table: TableName, rows: readonly Row[]): Promise<void> {
  const [first] = rows;
  if (first === undefined) return;
  // Rows of both databases have the columns of `Tables`: the same migrations have made them.
  await insertRows<TableName, never>(table, Object.keys(first) as never[])(tx, rows);
}

/** Compares a table row by row; null when both sides say the same, else one sentence with the first difference. */
export async function findDifference(
  source: Handle,
  target: Handle,
  table: TableName,
): Promise<string | null> {
  const copies = eachRow(target, table);
  for await (const row of eachRow(source, table)) {
    const copy = (await copies.next()).value;
    // Made anew: the driver's rows have no prototype.
    if (copy === undefined || !isDeepStrictEqual({ ...row }, { ...copy })) {
      await copies.return(undefined);
      return `${table}: the row ${describe(table, row)} is missing in the copy, or differs there`;
    }
  }
  const extra = (await copies.next()).value;
  if (extra === undefined) return null;
  return `${table}: the copy has a row ${describe(table, extra)} that the original has not`;
}

async function* eachRow(handle: Handle, table: TableName): AsyncGenerator<Row, undefined> {
  for await (const rows of eachPage(handle, table)) yield* rows;
}

function describe(table: TableName, row: Row): string {
  return primaryKeys[table].map((column) => String(row[column])).join("/");
}

/** True when nobody has used the database yet. */
export async function isUnused(handle: Handle): Promise<boolean> {
  for (const table of tableNames) {
    if (unusedTables.includes(table)) continue;
    const { rows } = await sql`select 1 from ${sql.table(table)} limit 1`.execute(handle);
    if (rows.length > 0) return false;
  }
  return true;
}

/**
 * Removes every row of a PostgreSQL database. The tables that only grow refuse that by their own triggers,
 * which are off meanwhile; needs the owner of the tables.
 */
export async function emptyTables(tx: Tx): Promise<void> {
  const names = sql.join(tableNames.map((table) => sql.table(table)));
  for (const table of tableNames) {
    await sql`alter table ${sql.table(table)} disable trigger user`.execute(tx);
  }
  await sql`truncate ${names}`.execute(tx);
  for (const table of tableNames) {
    await sql`alter table ${sql.table(table)} enable trigger user`.execute(tx);
  }
}

/**
 * Grows whenever another connection has committed to a SQLite database since the last look on the connection
 * of `tx`.
 */
export async function loadDataVersion(tx: Tx): Promise<number> {
  const { rows } = await sql<{ data_version: number }>`pragma data_version`.execute(tx);
  return rows[0]?.data_version ?? 0;
}

const tablesWithObjects = ["references", "uploads", "outputs"] as const;

/** Names of the objects that rows name; one that several rows name may come several times. */
export async function* eachObject(handle: Handle): AsyncGenerator<string, undefined> {
  for (const table of tablesWithObjects) {
    for await (const row of eachRow(handle, table)) yield String(row["object"]);
  }
}
