/** How PostgreSQL cleans the tables whose rows all go again, and the queue sooner than before. */
import type { Kysely } from "kysely";

import { setStorageOptions } from "./table.ts";
import type { Dialect, StorageOptions } from "./table.ts";

export async function cleanSooner(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  if (dialect === "postgres") await setStorageOptions(db, storageOptions);
}

/**
 * As for the histories of 0006, but for the room on their pages: it would be of no use. Where a row is changed
 * at all (`remove_at`, `expanded_at`), that column is in an index, which needs the new version's place.
 */
const passing = {
  autovacuum_vacuum_scale_factor: 0.01,
  autovacuum_vacuum_threshold: 5_000,
  autovacuum_vacuum_insert_scale_factor: 0.05,
  autovacuum_analyze_scale_factor: 0.02,
};

const storageOptions: StorageOptions = {
  idempotency: passing,
  references: passing,
  outputs: passing,
  events: passing,
  delivery_tries: passing,
  // Every claim steps over what is dead before the first task that waits.
  queue: { autovacuum_vacuum_threshold: 500 },
};
