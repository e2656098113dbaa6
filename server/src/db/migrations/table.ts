/**
 * Table definitions that both databases understand: the differences in types and table options are here,
 * so that a migration is written once.
 */
import { sql } from "kysely";
import type { Kysely } from "kysely";

export type Dialect = "sqlite" | "postgres";

/** `integer` is 64 bits wide, `text` compares by bytes; `?` marks a column that may be null. */
export type ColumnType = "text" | "text?" | "integer" | "integer?" | "real";

export type TableDefinition = {
  columns: Readonly<Record<string, ColumnType>>;
  primaryKey: readonly string[];
  /** Conditions every row meets, by name. */
  checks?: Readonly<Record<string, string>>;
  /**
   * On SQLite, stores the row in the primary key's own tree: one page to write instead of two. For rows of
   * a few hundred bytes at most.
   */
  clustered?: boolean;
};

export type IndexDefinition = {
  name: string;
  table: string;
  columns: readonly string[];
  unique?: boolean;
  /** Only rows that meet this condition are in the index. */
  where?: string;
};

const typeNames = {
  sqlite: { text: "text", integer: "integer", real: "real" },
  // Without "C" the order of ids would depend on the server's language.
  postgres: { text: 'text collate "C"', integer: "bigint", real: "double precision" },
} as const;

export async function createTable(
  db: Kysely<unknown>,
  dialect: Dialect,
  name: string,
  definition: TableDefinition,
): Promise<void> {
  const columns = Object.entries(definition.columns).map(([column, type]) =>
    columnText(dialect, column, type),
  );
  const key = `primary key (${definition.primaryKey.map(quote).join(", ")})`;
  const checks = Object.entries(definition.checks ?? {}).map(
    ([check, condition]) => `constraint ${quote(`${name}_${check}`)} check (${condition})`,
  );
  const lines = [...columns, key, ...checks].join(",\n  ");
  const options = dialect === "sqlite" ? sqliteOptions(definition) : "";
  await sql.raw(`create table ${quote(name)} (\n  ${lines}\n)${options}`).execute(db);
}

export type AddedColumn = {
  type: ColumnType;
  /** What rows that are there get, as SQL; needed unless the column may be null. */
  default?: string;
  /** Condition that every row meets. */
  check?: string;
};

/** Adds columns to a table that has rows. */
export async function addColumns(
  db: Kysely<unknown>,
  dialect: Dialect,
  table: string,
  columns: Readonly<Record<string, AddedColumn>>,
): Promise<void> {
  for (const [name, added] of Object.entries(columns)) {
    const fallback = added.default === undefined ? "" : ` default ${added.default}`;
    const check =
      added.check === undefined
        ? ""
        : ` constraint ${quote(`${table}_${name}`)} check (${added.check})`;
    const column = `${columnText(dialect, name, added.type)}${fallback}${check}`;
    await sql.raw(`alter table ${quote(table)} add column ${column}`).execute(db);
  }
}

export async function createIndex(db: Kysely<unknown>, index: IndexDefinition): Promise<void> {
  const kind = index.unique === true ? "unique index" : "index";
  const columns = index.columns.map(quote).join(", ");
  const where = index.where === undefined ? "" : ` where ${index.where}`;
  await sql
    .raw(`create ${kind} ${quote(index.name)} on ${quote(index.table)} (${columns})${where}`)
    .execute(db);
}

/** By table: how PostgreSQL stores and cleans its rows; what is not named stays as it is. */
export type StorageOptions = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** For PostgreSQL alone. */
export async function setStorageOptions(
  db: Kysely<unknown>,
  tables: StorageOptions,
): Promise<void> {
  for (const [table, options] of Object.entries(tables)) {
    const list = Object.entries(options).map(([name, value]) => `${name} = ${value}`);
    await sql.raw(`alter table ${quote(table)} set (${list.join(", ")})`).execute(db);
  }
}

/** A condition: the column holds one of these words. */
export function oneOf(column: string, words: readonly string[]): string {
  return `${quote(column)} in (${words.map((word) => `'${word}'`).join(", ")})`;
}

/** A condition: the amount is not negative, and a JavaScript number can hold it. */
export function amount(column: string): string {
  return `${quote(column)} between 0 and ${Number.MAX_SAFE_INTEGER}`;
}

/** A condition: `column` is set if and only if `condition` holds. */
export function setExactlyWhen(column: string, condition: string): string {
  return `(${quote(column)} is not null) = (${condition})`;
}

function columnText(dialect: Dialect, column: string, type: ColumnType): string {
  const isOptional = type.endsWith("?");
  // The type without its mark is one of the names of the table above.
  const base = type.replace("?", "") as "text" | "integer" | "real";
  return `${quote(column)} ${typeNames[dialect][base]}${isOptional ? "" : " not null"}`;
}

function sqliteOptions(definition: TableDefinition): string {
  return definition.clustered === true ? " strict, without rowid" : " strict";
}

function quote(name: string): string {
  return `"${name}"`;
}
