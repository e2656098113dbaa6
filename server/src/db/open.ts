import type { Kysely } from "kysely";

import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import type { Clock } from "../lib/time.ts";
import type { Database } from "./database.ts";
import { isMigrated, migrateToLatest } from "./migrate.ts";
import type { OpenedDatabase } from "./opened.ts";
import type { PostgresOptions } from "./postgres.ts";
import type { Notices, NoticesDeps, NoticesOptions } from "./postgres-notices.ts";
import { openSqlite } from "./sqlite.ts";
import type { SyncDescriptor } from "./wal-file.ts";

export type DatabaseTarget =
  /** `path` of the database file, or `:memory:`. */
  { kind: "sqlite"; path: string } | ({ kind: "postgres" } & PostgresOptions);

export type DatabaseDeps = {
  clock: Clock;
  random: Random;
  log: Log;
  /** Called once when the storage has failed and nothing can be promised any more: end the process. */
  onFatal(error: Error): void;
  /** Replaces `fdatasync` on SQLite; for measurements and fault tests. */
  syncDescriptor?: SyncDescriptor;
};

/**
 * Opens a database and brings its tables up to date. Throws `AppError("unavailable")` when a newer version has
 * made it, when its server is too old, and when another process keeps it locked.
 */
export async function openDatabase(target: DatabaseTarget, deps: DatabaseDeps): Promise<Database> {
  const opened = await openTarget(target, deps);
  const { database } = opened;
  try {
    await opened.assertSupported();
    // Most starts find nothing to do, and then need no lock that a running server might hold.
    const isCurrent = await isMigrated(
      database.read as unknown as Kysely<unknown>,
      database.dialect,
    );
    if (!isCurrent) await opened.migrate((tx) => migrateToLatest(tx, database.dialect));
    return database;
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Wake-ups between the nodes of a PostgreSQL database, not started yet. */
export async function openNotices(
  deps: Omit<NoticesDeps, "createClient">,
  { url, ...options }: NoticesOptions & { url: string },
): Promise<Notices> {
  const { createNotices } = await import("./postgres-notices.ts");
  const { createListener } = await import("./postgres.ts");
  return createNotices({ ...deps, createClient: () => createListener(url) }, options);
}

async function openTarget(target: DatabaseTarget, deps: DatabaseDeps): Promise<OpenedDatabase> {
  if (target.kind === "sqlite") return openSqlite(target.path, deps);
  // An installation on SQLite does without the 10 MB of the other driver.
  const { openPostgres } = await import("./postgres.ts");
  return openPostgres(target, deps);
}
