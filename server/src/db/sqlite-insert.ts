/**
 * Rows for SQLite as one statement with a placeholder a value, kept prepared for each length of list. What all
 * rows of a long list have in common is bound once: in a list of 31 submits of one caller that is two values
 * of three, and binding them was a fifth of the list's inserts.
 */
import { CompiledQuery } from "kysely";

import { quoteAll } from "./insert-shape.ts";
import type { InsertShape } from "./insert-shape.ts";

type Rows = readonly (readonly unknown[])[];

/** Rows from which on it is worth a text of its own to bind less. */
const sharedFrom = 8;
/** Texts of a table; beyond them all are made anew. */
const textsMax = 256;

export function createSqliteInsert(shape: InsertShape): (rows: Rows) => CompiledQuery {
  const { table, columns, constants, ending } = shape;
  const texts = new Map<string, string>();
  const names = quoteAll([...columns, ...Object.keys(constants)]);
  const literals = Object.values(constants);
  return (rows) => {
    const isShared = findShared(columns, rows);
    const key = `${rows.length} ${isShared.join()}`;
    let text = texts.get(key);
    if (text === undefined) {
      if (texts.size >= textsMax) texts.clear();
      const values = markValues(isShared, rows.length, literals);
      text = `insert into "${table}" (${names}) values ${values}${ending}`;
      texts.set(key, text);
    }
    return CompiledQuery.raw(text, orderParameters(isShared, rows));
  };
}

/** Which columns have the same value in every row. */
function findShared(columns: readonly string[], rows: Rows): boolean[] {
  const [first = []] = rows;
  if (rows.length < sharedFrom) return columns.map(() => false);
  return columns.map((_, column) => rows.every((row) => row[column] === first[column]));
}

/** Shared values are numbered first, then the others row by row. */
function markValues(
  isShared: readonly boolean[],
  length: number,
  literals: readonly string[],
): string {
  let bound = isShared.filter(Boolean).length;
  const rows: string[] = [];
  for (let row = 0; row < length; row++) {
    let shared = 0;
    const marks = isShared.map((is) => (is ? `?${++shared}` : `?${++bound}`));
    rows.push(`(${[...marks, ...literals].join(", ")})`);
  }
  return rows.join(", ");
}

/** Values in the order in which `markValues` numbers them. */
function orderParameters(isShared: readonly boolean[], rows: Rows): unknown[] {
  const parameters = (rows[0] ?? []).filter((_, column) => isShared[column]);
  for (const row of rows) {
    for (let column = 0; column < row.length; column++) {
      if (isShared[column] !== true) parameters.push(row[column]);
    }
  }
  return parameters;
}
