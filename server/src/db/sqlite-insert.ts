/**
 * Rows for SQLite as one statement with a placeholder a value, kept prepared for each length of list. What all
 * rows of a long list have in common is bound once: in a list of 31 submits of one caller that is two values
 * of three. Measured: 5.6 of 75 µs of CPU a submit.
 */
import { CompiledQuery } from "kysely";

import { must } from "../lib/errors.ts";
import { quoteNames } from "./insert-shape.ts";
import type { InsertShape } from "./insert-shape.ts";

type Rows = readonly (readonly unknown[])[];

/** Rows from which on it is worth a text of its own to bind less. */
const sharedFrom = 8;
/**
 * Texts of a table; beyond them a list of other columns in common binds every value, as a short one does. Mixed
 * callers would else make a statement a list, and push the others out of the driver's.
 */
const textsMax = 96;

export function createSqliteInsert(shape: InsertShape): (rows: Rows) => CompiledQuery {
  const texts = new Map<string, string>();
  const none = shape.columns.map(() => false);
  const textOf = (isShared: readonly boolean[], length: number): string | null => {
    const key = `${length} ${isShared.join()}`;
    let text = texts.get(key) ?? null;
    if (text === null && (isShared === none || texts.size < textsMax)) {
      text = insertText(shape, isShared, length);
      texts.set(key, text);
    }
    return text;
  };
  return (rows) => {
    const { length } = rows;
    const isShared = length < sharedFrom ? none : findShared(shape.columns, rows);
    const text = textOf(isShared, length);
    if (text !== null) return CompiledQuery.raw(text, orderParameters(isShared, rows));
    return CompiledQuery.raw(must(textOf(none, length), "a plain text"), rows.flat());
  };
}

/** Which columns have the same value in every row. */
function findShared(columns: readonly string[], rows: Rows): boolean[] {
  const [first = []] = rows;
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
