/** Webhook endpoints and secrets, the outbox of ended tasks, deliveries and the log of their tries. */
import type { Kysely } from "kysely";

import { createIndex, createTable, oneOf, setExactlyWhen } from "./table.ts";
import type { Dialect, IndexDefinition, TableDefinition } from "./table.ts";

export async function createWebhookTables(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  for (const [name, definition] of Object.entries(tables)) {
    await createTable(db, dialect, name, definition);
  }
  for (const index of indexes) await createIndex(db, index);
}

const modes = oneOf("mode", ["live", "test"]);
/** A rotated secret is kept together with the time until which it still signs. */
const previous = setExactlyWhen("previous_secret", "previous_until is not null");

const tables: Record<string, TableDefinition> = {
  webhook_endpoints: {
    columns: {
      account_id: "text",
      id: "text",
      mode: "text",
      url: "text",
      description: "text?",
      events: "text",
      secret: "text",
      previous_secret: "text?",
      previous_until: "integer?",
      failed_tries: "integer",
      failing_since: "integer?",
      disabled_at: "integer?",
      disabled_reason: "text?",
      created_at: "integer",
    },
    primaryKey: ["account_id", "id"],
    checks: {
      mode: modes,
      previous,
      failing: setExactlyWhen("failing_since", "failed_tries > 0"),
      disabled: setExactlyWhen(
        "disabled_at",
        oneOf("disabled_reason", ["owner", "gone", "failing"]),
      ),
    },
  },
  webhook_secrets: {
    columns: {
      account_id: "text",
      mode: "text",
      secret: "text",
      previous_secret: "text?",
      previous_until: "integer?",
      created_at: "integer",
    },
    primaryKey: ["account_id", "mode"],
    checks: { mode: modes, previous },
  },
  events: {
    columns: {
      account_id: "text",
      id: "text",
      mode: "text",
      type: "text",
      task_id: "text?",
      webhook: "text?",
      body: "text",
      created_at: "integer",
      expanded_at: "integer?",
    },
    primaryKey: ["account_id", "id"],
    checks: { mode: modes },
  },
  deliveries: {
    columns: {
      account_id: "text",
      id: "text",
      mode: "text",
      event_id: "text",
      type: "text",
      task_id: "text?",
      endpoint_id: "text?",
      url: "text",
      origin: "text",
      state: "text",
      due_at: "integer",
      lease: "text?",
      round: "integer",
      tries: "integer",
      last_status: "integer?",
      last_error: "text?",
      created_at: "integer",
      expires_at: "integer",
      ended_at: "integer?",
    },
    primaryKey: ["account_id", "id"],
    checks: {
      mode: modes,
      state: oneOf("state", ["pending", "delivered", "failed"]),
      ended: setExactlyWhen("ended_at", oneOf("state", ["delivered", "failed"])),
      lease: "lease is null or state = 'pending'",
      tries: "round >= 0 and tries >= round",
    },
  },
  delivery_tries: {
    columns: {
      account_id: "text",
      delivery_id: "text",
      number: "integer",
      started_at: "integer",
      duration_ms: "integer",
      status: "integer?",
      error: "text?",
      response: "text?",
    },
    primaryKey: ["account_id", "delivery_id", "number"],
    checks: { number: "number > 0", duration: "duration_ms >= 0" },
  },
};

const pending = "state = 'pending'";

const indexes: readonly IndexDefinition[] = [
  { name: "events_pending", table: "events", columns: ["id"], where: "expanded_at is null" },
  { name: "events_age", table: "events", columns: ["created_at"] },
  // The origin first: one that does not answer is passed over in one step, however much waits for it.
  { name: "deliveries_due", table: "deliveries", columns: ["origin", "due_at"], where: pending },
  { name: "deliveries_expiry", table: "deliveries", columns: ["expires_at"], where: pending },
  { name: "deliveries_event", table: "deliveries", columns: ["account_id", "event_id"] },
  { name: "deliveries_state", table: "deliveries", columns: ["account_id", "mode", "state", "id"] },
  {
    name: "deliveries_endpoint",
    table: "deliveries",
    columns: ["account_id", "endpoint_id", "id"],
    where: "endpoint_id is not null",
  },
  {
    name: "deliveries_task",
    table: "deliveries",
    columns: ["account_id", "task_id"],
    where: "task_id is not null",
  },
];
