import type { Kysely, Transaction } from "kysely";

import type { Tables } from "./schema.ts";

/** What a store function reads through: the database at large, or the transaction under way. */
export type Handle = Kysely<Tables>;

/** What a store function writes through. Only `Database.transaction` makes one. */
export type Tx = Transaction<Tables>;

/** SQLite or PostgreSQL behind one handle. */
export type Database = {
  readonly dialect: "sqlite" | "postgres";
  /** Reads outside a transaction; each statement sees the latest commit. It refuses to write. */
  readonly read: Handle;
  /**
   * Runs `work` in one write transaction and commits it. `work` awaits nothing but its own queries
   * and has no side effects, because it runs again when the database reports a serialisation failure
   * or a deadlock, or when what was taken for granted (`Prepared.changes`) was not so. Calling `read` or
   * `transaction` from inside `work` is an assertion failure.
   * Throws `AppError("unavailable")` when the database stays busy for five seconds.
   */
  transaction<T>(work: (tx: Tx) => Promise<T>): Promise<T>;
  /** Resolves once every commit made before the call survives a power loss. Callers share one sync. */
  durable(): Promise<void>;
  close(): Promise<void>;
};
