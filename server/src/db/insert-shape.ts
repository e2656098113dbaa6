/** What an INSERT of rows is made of, on either database. */
export type InsertShape = {
  table: string;
  columns: readonly string[];
  /** Columns that have the same value in every row, as SQL. */
  constants: Readonly<Record<string, string>>;
  /** The statement's end: what to do about conflicts, what to return. */
  ending: string;
  /** Nobody looks at what it returns. */
  isUnread: boolean;
};

export function quoteNames(columns: readonly string[]): string {
  return columns.map((column) => `"${column}"`).join(", ");
}
