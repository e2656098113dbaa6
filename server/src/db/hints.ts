import type { CompiledQuery } from "kysely";

/** What a driver may know of a query besides its text; SQLite needs none of it. */
export type Hints = {
  /** The text is one of a fixed few: worth keeping prepared in every session. */
  isKept?: boolean;
  /**
   * Nobody looks at the result. In a transaction the query may be sent together with a later one, which then
   * fails in its place; no transaction is committed with a query that has failed.
   */
  isUnread?: boolean;
  /**
   * It changes one row, as good as always. In a transaction that is guessed at this is taken for granted, and
   * it is sent as what has no reader; the transaction fails when it was wrong, before what comes after is run.
   */
  isGuess?: boolean;
  /**
   * It changes a row that many transactions change at the same time. As a guess it goes behind what else is sent
   * with the next reader or with COMMIT, so that they wait for the row's lock no longer than they must.
   */
  isContended?: boolean;
};

export type HintedQuery<Row = unknown> = CompiledQuery<Row> & Hints;
