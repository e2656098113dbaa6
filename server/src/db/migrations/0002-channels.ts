/** Channels, the places their attempts hold, and what the vendors charge us. */
import { sql } from "kysely";
import type { Kysely } from "kysely";

import { addColumns, amount, createIndex, createTable, oneOf, setExactlyWhen } from "./table.ts";
import type { Dialect, IndexDefinition, TableDefinition } from "./table.ts";

export async function createChannelTables(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  for (const [name, definition] of Object.entries(tables)) {
    await createTable(db, dialect, name, definition);
  }
  await addColumns(db, dialect, "attempts", {
    tier: { type: "text", default: "'standard'", check: oneOf("tier", ["standard", "official"]) },
    place_until: { type: "integer?" },
  });
  for (const index of indexes) await createIndex(db, index);
  const statements = dialect === "sqlite" ? sqliteTriggers : postgresTriggers;
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const tables: Record<string, TableDefinition> = {
  channels: {
    columns: {
      name: "text",
      provider: "text",
      source: "text",
      base_url: "text",
      secret: "text?",
      secret_hint: "text?",
      models_json: "text",
      tiers_json: "text",
      priority: "integer",
      weight: "integer",
      cost_ratio_ppm: "integer",
      caps_json: "text",
      timeout_ms: "integer",
      unknown_outcome: "text",
      allow_json: "text",
      settings_json: "text",
      disabled_at: "integer?",
      disabled_reason: "text?",
      fault: "text?",
      fault_reason: "text?",
      fault_at: "integer?",
      fault_until: "integer?",
      revision: "integer",
      created_at: "integer",
      updated_at: "integer",
    },
    primaryKey: ["name"],
    checks: {
      source: oneOf("source", ["operator", "environment"]),
      weight: amount("weight"),
      cost_ratio: amount("cost_ratio_ppm"),
      timeout: "timeout_ms > 0",
      unknown_outcome: oneOf("unknown_outcome", ["fail", "retry_once"]),
      disabled: setExactlyWhen("disabled_reason", "disabled_at is not null"),
      fault: `fault is null or ${oneOf("fault", ["unauthorized", "exhausted"])}`,
      fault_reason: setExactlyWhen("fault_reason", "fault is not null"),
      fault_at: setExactlyWhen("fault_at", "fault is not null"),
      fault_until: setExactlyWhen("fault_until", "fault is not null"),
      revision: "revision > 0",
    },
  },
  channel_load: {
    columns: { channel: "text", upstream_model: "text", in_flight: "integer" },
    primaryKey: ["channel", "upstream_model"],
    checks: { in_flight: "in_flight >= 0" },
    clustered: true,
  },
  costs: {
    columns: {
      account_id: "text",
      attempt_id: "text",
      task_id: "text",
      channel: "text",
      upstream_model: "text",
      amount: "integer",
      fate: "text",
      created_at: "integer",
    },
    primaryKey: ["account_id", "attempt_id"],
    checks: {
      amount: `${amount("amount")} and amount > 0`,
      fate: oneOf("fate", ["delivered", "wasted"]),
    },
    clustered: true,
  },
};

const indexes: readonly IndexDefinition[] = [
  {
    name: "attempts_place",
    table: "attempts",
    columns: ["place_until"],
    where: "place_until is not null",
  },
  { name: "costs_time", table: "costs", columns: ["created_at"] },
];

const sqliteTriggers = ["update", "delete"].map(
  (change) =>
    `create trigger costs_no_${change} before ${change} on costs
     begin select raise(abort, 'costs are append-only'); end`,
);

const postgresTriggers = [
  `create function refuse_costs_change() returns trigger language plpgsql as
   $$ begin raise exception 'costs are append-only' using errcode = 'restrict_violation'; end $$`,
  `create trigger costs_append_only before update or delete or truncate on costs
   for each statement execute function refuse_costs_change()`,
];
