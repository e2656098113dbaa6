import { CompiledQuery } from "kysely";

import type { Handle } from "./database.ts";
import type { HintedQuery } from "./hints.ts";
import { encodeArray } from "./postgres-arrays.ts";
import type { Tables } from "./schema.ts";
import { isSqlite } from "./sqlite-driver.ts";
import { run } from "./statements.ts";

/** Keys in one statement; a larger list takes several. */
const keysMax = 64;

type Key = readonly string[];

/**
 * Finds the rows with the given keys with as few statements as possible, in any order; those that are not
 * there are left out. A key is the values of `keyColumns`, texts that an index begins with.
 */
export function selectRows<Table extends keyof Tables, Column extends keyof Tables[Table] & string>(
  table: Table,
  keyColumns: readonly (keyof Tables[Table] & string)[],
  columns: readonly Column[],
): (handle: Handle, keys: readonly Key[]) => Promise<Pick<Tables[Table], Column>[]> {
  const shape = { table, keyColumns, columns };
  const onSqlite = createSqliteSelect(shape);
  const onPostgres = createPostgresSelect(shape);
  return async (handle, keys) => {
    const isOnSqlite = isSqlite(handle.getExecutor().adapter);
    const found: Pick<Tables[Table], Column>[] = [];
    for (let start = 0; start < keys.length; start += keysMax) {
      const part = keys.slice(start, start + keysMax);
      const { rows } = await run(handle, isOnSqlite ? onSqlite(part) : onPostgres(part));
      // The statement returns the columns its text names.
      found.push(...(rows as Pick<Tables[Table], Column>[]));
    }
    return found;
  };
}

type SelectShape = { table: string; keyColumns: readonly string[]; columns: readonly string[] };

type CreateSelect = (keys: readonly Key[]) => HintedQuery;

/** A statement for each length of list. */
function createSqliteSelect(shape: SelectShape): CreateSelect {
  const marks = `(${shape.keyColumns.map(() => "?").join(", ")})`;
  const texts = new Map<number, string>();
  return (keys) => {
    const values = `(values ${keys.map(() => marks).join(", ")})`;
    const known = texts.get(keys.length);
    const text = known ?? selectText(shape, values);
    if (known === undefined) texts.set(keys.length, text);
    return CompiledQuery.raw(text, keys.flat());
  };
}

/** One statement: a column of the keys is one parameter. */
function createPostgresSelect(shape: SelectShape): CreateSelect {
  const lists = shape.keyColumns.map((_column, i) => `$${i + 1}::text[]`);
  const text = selectText(shape, `(select * from unnest(${lists.join(", ")}))`);
  return (keys) => {
    const parameters = shape.keyColumns.map((_column, i) =>
      encodeArray(
        "text",
        keys.map((key) => key[i] ?? null),
      ),
    );
    return { ...CompiledQuery.raw(text, parameters), isKept: true };
  };
}

/** A join: for a list of pairs after `in`, PostgreSQL would make as many conditions. */
function selectText({ table, keyColumns, columns }: SelectShape, wanted: string): string {
  const names = keyColumns.map((_column, i) => `key_${i}`);
  const conditions = keyColumns.map((column, i) => `found."${column}" = wanted.key_${i}`);
  return `with wanted(${names.join(", ")}) as ${wanted}
    select ${columns.map((column) => `found."${column}"`).join(", ")}
    from wanted join "${table}" as found on ${conditions.join(" and ")}`;
}
