/** On PostgreSQL one node migrates at a time: a lock that ends with the transaction of whoever holds it. */
import { sql } from "kysely";
import type { Transaction } from "kysely";

import { AppError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { isLockTimeout } from "./errors.ts";

/** Any number that no other program on the same database is likely to choose. */
const migrationLock = sql.lit(7_318_446_022_715);

/** The longest migration of a large installation is far shorter; a node that is frozen in one never ends it. */
export const migrationWaitMsDefault = 10 * minuteMs;

export type MigrationWait = { log: Log; waitMsMax: number };

/** Waits for the migration of another node, and says so. Throws `AppError` when it does not end. */
export async function lockMigrations(
  tx: Transaction<unknown>,
  { log, waitMsMax }: MigrationWait,
): Promise<void> {
  const { rows } = await sql<{ taken: boolean }>`
    select pg_try_advisory_xact_lock(${migrationLock}) as taken`.execute(tx);
  if (rows[0]?.taken === true) return;
  log.warn({ wait_ms_max: waitMsMax }, "waiting for another node that migrates the database");
  try {
    await sql`set local lock_timeout = ${sql.lit(waitMsMax)}`.execute(tx);
    await sql`select pg_advisory_xact_lock(${migrationLock})`.execute(tx);
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    throw new AppError(
      "unavailable",
      `another node has been migrating the database for ${waitMsMax / secondMs} s; ` +
        "when none is, end the session that holds the advisory lock (pg_locks)",
      { cause: error },
    );
  }
  await sql`set local lock_timeout = default`.execute(tx);
}
