/**
 * Rows for SQLite as one statement with a placeholder a value, kept prepared for each length of list. What all
 * rows of a long list have in common is bound once: in a list of 31 submits of one caller that is two values
 * of three, and binding them was a fifth of the list's inserts.
 */
import { CompiledQuery } from "kysely";

import { quoteNames } from "./insert-shape.ts";
import type { InsertShape } from "./insert-shape.ts";

type Rows = readonly (readonly unknown[])[];

/** Rows from which on it is worth a text of its own to bind less. */
const sharedFrom = 8;
/** Texts of a table; beyond them all are made anew. */
const textsMax = 256;

export function createSqliteInsert(shape: InsertShape): (rows: Rows) => CompiledQuery {
  const texts = new Map<string, string>();
  return (rows) => {
    const isShared = findShared(shape.columns, rows);
    const key = `${rows.length} ${isShared.join()}`;
    let text = texts.get(key);
    if (text === undefined) {
      if (texts.size >= textsMax) texts.clear();
      text = insertText(shape, isShared, rows.length);
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

/**
 * The columns that are shared come first. Only their placeholders are numbered: Node's driver looks each
 * number's name up in a list, which for all of them would take longer than binding them.
 */
function insertText(
  { table, columns, constants, ending }: InsertShape,
  isShared: readonly boolean[],
  length: number,
): string {
  const shared = columns.filter((_, column) => isShared[column]);
  const own = columns.filter((_, column) => isShared[column] !== true);
  const names = quoteNames([...shared, ...own, ...Object.keys(constants)]);
  const marks = [
    ...shared.map((_, i) => `?${i + 1}`),
    ...own.map(() => "?"),
    ...Object.values(constants),
  ];
  const rows = Array.from({ length }, () => `(${marks.join(", ")})`);
  return `insert into "${table}" (${names}) values ${rows.join(", ")}${ending}`;
}

/** Values in the order of the placeholders. */
function orderParameters(isShared: readonly boolean[], rows: Rows): unknown[] {
  const parameters = (rows[0] ?? []).filter((_, column) => isShared[column]);
  for (const row of rows) {
    for (let column = 0; column < row.length; column++) {
      if (isShared[column] !== true) parameters.push(row[column]);
    }
  }
  return parameters;
}
