import { sql } from "kysely";
import type { Kysely, Transaction } from "kysely";
import { Migrator } from "kysely/migration";
import type { Migration } from "kysely/migration";

import { AppError } from "../lib/errors.ts";
import { createSpine } from "./migrations/0001-spine.ts";
import { createChannelTables } from "./migrations/0002-channels.ts";
import { createWebhookTables } from "./migrations/0003-webhooks.ts";
import { addLimits } from "./migrations/0004-limits.ts";
import { narrowLedgerIndexes } from "./migrations/0005-ledger-indexes.ts";
import { addNodes } from "./migrations/0006-nodes.ts";
import { leadWithObjects } from "./migrations/0007-object-indexes.ts";
import { cleanSooner } from "./migrations/0008-cleaning.ts";
import type { Dialect } from "./migrations/table.ts";

type Migrate = (db: Kysely<unknown>, dialect: Dialect) => Promise<void>;

/** Every migration, by the name it is remembered under. Forward only; a released one never changes. */
const migrations: Readonly<Record<string, Migrate>> = {
  "0001-spine": createSpine,
  "0002-channels": createChannelTables,
  "0003-webhooks": createWebhookTables,
  "0004-limits": addLimits,
  "0005-ledger-indexes": narrowLedgerIndexes,
  "0006-nodes": addNodes,
  "0007-object-indexes": leadWithObjects,
  "0008-cleaning": cleanSooner,
};

/** Kysely's own record of what has run. */
type MigrationTables = { kysely_migration: { name: string } };

/**
 * True when every migration has run. Throws `AppError` when the database knows one that this program does
 * not: a newer version has made it, and writing to tables of unknown shape could lose money.
 */
export async function isMigrated(db: Kysely<unknown>, dialect: Dialect): Promise<boolean> {
  // The record is Kysely's table, which `Tables` does not list.
  const handle = db as unknown as Kysely<MigrationTables>;
  if (!(await hasRecord(handle, dialect))) return false;
  const rows = await handle.selectFrom("kysely_migration").select("name").execute();
  for (const { name } of rows) {
    if (migrations[name] === undefined) {
      throw new AppError(
        "unavailable",
        `the database was made by a newer version of Darkroom (it has migration "${name}"); ` +
          "start that version, or restore a backup from before it",
      );
    }
  }
  return rows.length === Object.keys(migrations).length;
}

/** Brings the tables up to date inside `tx`, which no other process runs beside. */
export async function migrateToLatest(tx: Transaction<unknown>, dialect: Dialect): Promise<void> {
  if (await isMigrated(tx, dialect)) return;
  const migrator = new Migrator({
    db: tx,
    provider: { getMigrations: () => Promise.resolve(bindMigrations(dialect)) },
  });
  const { error } = await migrator.migrateToLatest();
  if (error instanceof Error) throw error;
  if (error !== undefined) throw new Error("a migration failed", { cause: error });
}

function bindMigrations(dialect: Dialect): Record<string, Migration> {
  return Object.fromEntries(
    Object.entries(migrations).map(([name, migrate]) => [
      name,
      { up: (db: Kysely<unknown>) => migrate(db, dialect) },
    ]),
  );
}

async function hasRecord(db: Kysely<MigrationTables>, dialect: Dialect): Promise<boolean> {
  const query =
    dialect === "sqlite"
      ? sql<{
          found: number;
        }>`select count(*) as found from sqlite_master where name = 'kysely_migration'`
      : sql<{ found: number }>`select count(to_regclass('kysely_migration')) as found`;
  const { rows } = await query.execute(db);
  return rows[0]?.found === 1;
}
