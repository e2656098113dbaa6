import type { Transaction } from "kysely";

import type { Database } from "./database.ts";

/** A database whose tables may not be up to date yet. */
export type OpenedDatabase = {
  database: Database;
  /** Throws `AppError` when the server is too old to be used. */
  assertSupported(): Promise<void>;
  /** Runs `work` in one transaction that no other process runs a migration beside. */
  migrate(work: (tx: Transaction<unknown>) => Promise<void>): Promise<void>;
};
