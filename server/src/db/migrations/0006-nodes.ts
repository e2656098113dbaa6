/** The nodes that run now, and how PostgreSQL stores and cleans the tables whose rows change often. */
import type { Kysely } from "kysely";

import { createTable, setStorageOptions } from "./table.ts";
import type { Dialect, StorageOptions } from "./table.ts";

export async function addNodes(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  await createTable(db, dialect, "nodes", {
    columns: { id: "text", is_api: "integer", beats: "integer", started_at: "integer" },
    primaryKey: ["id"],
    checks: { is_api: "is_api in (0, 1)", beats: "beats >= 0" },
  });
  if (dialect === "postgres") await setStorageOptions(db, storageOptions);
}

/** Few rows that every task changes: room on the page for new versions, cleaned after a thousand changes. */
const counters = {
  fillfactor: 50,
  autovacuum_vacuum_scale_factor: 0,
  autovacuum_vacuum_threshold: 1_000,
  autovacuum_vacuum_cost_delay: 0,
};

/** Many rows, each changed a few times and then at rest: a share of the table would be a rare, long cleaning. */
const histories = {
  fillfactor: 80,
  autovacuum_vacuum_scale_factor: 0.01,
  autovacuum_vacuum_threshold: 5_000,
  autovacuum_vacuum_insert_scale_factor: 0.05,
  autovacuum_analyze_scale_factor: 0.02,
};

/** Rows that come and go: whoever looks for the first waiting one steps over the dead ones before it. */
const queues = {
  fillfactor: 70,
  autovacuum_vacuum_scale_factor: 0,
  autovacuum_vacuum_threshold: 2_000,
  autovacuum_vacuum_cost_delay: 0,
  autovacuum_analyze_scale_factor: 0,
  autovacuum_analyze_threshold: 10_000,
};

const storageOptions: StorageOptions = {
  balances: counters,
  key_usage: counters,
  channel_load: counters,
  workers: counters,
  nodes: counters,
  queue: queues,
  deliveries: queues,
  tasks: histories,
  slots: histories,
  attempts: histories,
};
