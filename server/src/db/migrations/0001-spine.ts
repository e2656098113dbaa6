/** The tables of accounts, tasks, images, money and settings, with their invariants and indexes. */
import { sql } from "kysely";
import type { Kysely } from "kysely";

import { amount, createIndex, createTable, oneOf, setExactlyWhen } from "./table.ts";
import type { Dialect, IndexDefinition, TableDefinition } from "./table.ts";

export async function createSpine(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  for (const [name, definition] of Object.entries(tables)) {
    await createTable(db, dialect, name, definition);
  }
  for (const index of indexes) await createIndex(db, index);
  await forbidLedgerChanges(db, dialect);
}

const modes = oneOf("mode", ["live", "test"]);
const picture = "width > 0 and height > 0 and bytes > 0";

const accountTables = {
  accounts: {
    columns: { id: "text", name: "text", ratio_ppm: "integer", created_at: "integer" },
    primaryKey: ["id"],
    checks: { ratio: amount("ratio_ppm") },
  },
  api_keys: {
    columns: {
      account_id: "text",
      id: "text",
      mode: "text",
      name: "text",
      digest: "text",
      hint: "text",
      cap: "integer?",
      models_json: "text?",
      ips_json: "text?",
      requests_per_minute: "integer?",
      tasks_in_flight: "integer?",
      expires_at: "integer?",
      revoked_at: "integer?",
      created_at: "integer",
    },
    primaryKey: ["account_id", "id"],
    checks: {
      mode: modes,
      cap: `cap is null or ${amount("cap")}`,
      limits: "coalesce(requests_per_minute, 1) > 0 and coalesce(tasks_in_flight, 1) > 0",
    },
  },
  key_usage: {
    columns: {
      account_id: "text",
      key_id: "text",
      held: "integer",
      captured: "integer",
      in_flight: "integer",
    },
    primaryKey: ["account_id", "key_id"],
    checks: { amounts: `${amount("held")} and ${amount("captured")}`, in_flight: "in_flight >= 0" },
    clustered: true,
  },
} satisfies Record<string, TableDefinition>;

const taskTables = {
  tasks: {
    columns: {
      account_id: "text",
      id: "text",
      mode: "text",
      key_id: "text",
      model: "text",
      state: "text",
      revision: "integer",
      pictures: "integer",
      open_slots: "integer",
      done_slots: "integer",
      request_json: "text",
      warnings_json: "text?",
      price_json: "text",
      held: "integer",
      captured: "integer",
      webhook: "text?",
      language: "text?",
      error_json: "text?",
      usage_json: "text?",
      created_at: "integer",
      deadline_at: "integer",
      cancel_requested_at: "integer?",
      ended_at: "integer?",
      expires_at: "integer?",
    },
    primaryKey: ["account_id", "id"],
    checks: {
      mode: modes,
      state: oneOf("state", ["pending", "processing", "completed", "failed", "cancelled"]),
      ended: setExactlyWhen("ended_at", oneOf("state", ["completed", "failed", "cancelled"])),
      slots:
        "pictures > 0 and open_slots >= 0 and done_slots >= 0 and open_slots + done_slots <= pictures",
      amounts: `${amount("held")} and ${amount("captured")}`,
    },
  },
  slots: {
    columns: {
      account_id: "text",
      task_id: "text",
      slot: "integer",
      state: "text",
      captured: "integer",
      error_json: "text?",
    },
    primaryKey: ["account_id", "task_id", "slot"],
    checks: {
      slot: "slot >= 0",
      state: oneOf("state", ["open", "done", "failed"]),
      captured: `${amount("captured")} and (captured = 0 or state = 'done')`,
    },
    clustered: true,
  },
  queue: {
    columns: {
      account_id: "text",
      task_id: "text",
      lane: "text",
      tag: "real",
      state: "text",
      run_at: "integer",
      worker_id: "text?",
      claims: "integer",
    },
    primaryKey: ["account_id", "task_id"],
    checks: {
      state: oneOf("state", ["ready", "parked", "claimed"]),
      worker: setExactlyWhen("worker_id", "state = 'claimed'"),
      claims: "claims >= 0",
    },
    clustered: true,
  },
  attempts: {
    columns: {
      account_id: "text",
      task_id: "text",
      id: "text",
      slots_json: "text",
      channel: "text",
      upstream_model: "text",
      state: "text",
      handle_json: "text?",
      failure_json: "text?",
      usage_json: "text?",
      cost: "integer",
      sent_at: "integer",
      ended_at: "integer?",
    },
    primaryKey: ["account_id", "task_id", "id"],
    checks: {
      state: oneOf("state", ["sent", "running", "done", "failed", "unknown"]),
      ended: setExactlyWhen("ended_at", oneOf("state", ["done", "failed", "unknown"])),
      cost: amount("cost"),
    },
  },
  idempotency: {
    columns: {
      account_id: "text",
      mode: "text",
      route: "text",
      key: "text",
      digest: "text",
      task_id: "text",
      expires_at: "integer",
    },
    primaryKey: ["account_id", "mode", "route", "key"],
    checks: { mode: modes },
    clustered: true,
  },
  workers: {
    columns: { id: "text", beats: "integer", started_at: "integer" },
    primaryKey: ["id"],
    checks: { beats: "beats >= 0" },
  },
} satisfies Record<string, TableDefinition>;

const imageTables = {
  references: {
    columns: {
      account_id: "text",
      task_id: "text",
      position: "integer",
      object: "text",
      content_type: "text",
      width: "integer",
      height: "integer",
      bytes: "integer",
      remove_at: "integer?",
    },
    primaryKey: ["account_id", "task_id", "position"],
    checks: { position: "position >= -1", picture },
    clustered: true,
  },
  uploads: {
    columns: {
      account_id: "text",
      mode: "text",
      id: "text",
      object: "text",
      filename: "text",
      content_type: "text",
      width: "integer",
      height: "integer",
      bytes: "integer",
      created_at: "integer",
      expires_at: "integer",
    },
    primaryKey: ["account_id", "id"],
    checks: { mode: modes, picture },
  },
  outputs: {
    columns: {
      account_id: "text",
      task_id: "text",
      slot: "integer",
      object: "text",
      content_type: "text",
      width: "integer",
      height: "integer",
      bytes: "integer",
      created_at: "integer",
      remove_at: "integer?",
    },
    primaryKey: ["account_id", "task_id", "slot"],
    checks: { slot: "slot >= 0", picture },
    clustered: true,
  },
} satisfies Record<string, TableDefinition>;

/** What each kind of ledger entry may do to an account's spendable and held money. */
const ledgerMoves = `case kind
    when 'credit' then held = 0
    when 'hold' then held >= 0 and available = -held
    when 'capture' then held <= 0 and available = 0
    else held <= 0 and available = -held
  end`;

const moneyTables = {
  balances: {
    columns: { account_id: "text", mode: "text", available: "integer", held: "integer" },
    primaryKey: ["account_id", "mode"],
    checks: { mode: modes, amounts: `${amount("available")} and ${amount("held")}` },
    clustered: true,
  },
  ledger: {
    columns: {
      account_id: "text",
      id: "text",
      mode: "text",
      kind: "text",
      available: "integer",
      held: "integer",
      task_id: "text?",
      key_id: "text?",
      note: "text?",
      created_at: "integer",
    },
    primaryKey: ["account_id", "id"],
    checks: {
      mode: modes,
      kind: oneOf("kind", ["credit", "hold", "capture", "release"]),
      moves: ledgerMoves,
      amounts: "abs(available) <= 9007199254740991 and abs(held) <= 9007199254740991",
      task: "kind = 'credit' or task_id is not null",
    },
    clustered: true,
  },
  prices: {
    columns: { model: "text", price_row: "text", price: "integer", updated_at: "integer" },
    primaryKey: ["model", "price_row"],
    checks: { price: amount("price") },
  },
  settings: { columns: { name: "text", value: "text" }, primaryKey: ["name"] },
} satisfies Record<string, TableDefinition>;

const tables: Record<string, TableDefinition> = {
  ...accountTables,
  ...taskTables,
  ...imageTables,
  ...moneyTables,
};

const indexes: readonly IndexDefinition[] = [
  { name: "accounts_name", table: "accounts", columns: ["name"], unique: true },
  { name: "api_keys_digest", table: "api_keys", columns: ["digest"], unique: true },

  { name: "tasks_deadline", table: "tasks", columns: ["deadline_at"], where: "ended_at is null" },
  { name: "tasks_ended", table: "tasks", columns: ["ended_at"], where: "ended_at is not null" },

  { name: "queue_claim", table: "queue", columns: ["lane", "state", "tag", "task_id"] },
  // With the state, or SQLite would look for an account's last tag among all tasks of the lane.
  { name: "queue_account", table: "queue", columns: ["account_id", "lane", "state", "tag"] },
  { name: "queue_parked", table: "queue", columns: ["run_at"], where: "state = 'parked'" },
  {
    name: "queue_worker",
    table: "queue",
    columns: ["worker_id"],
    where: "worker_id is not null",
  },

  { name: "idempotency_expiry", table: "idempotency", columns: ["expires_at"] },
  { name: "references_object", table: "references", columns: ["account_id", "object"] },
  { name: "uploads_object", table: "uploads", columns: ["account_id", "object"] },
  { name: "uploads_expiry", table: "uploads", columns: ["expires_at"] },
  { name: "outputs_object", table: "outputs", columns: ["account_id", "object"] },

  {
    name: "references_removal",
    table: "references",
    columns: ["remove_at"],
    where: "remove_at is not null",
  },
  {
    name: "outputs_removal",
    table: "outputs",
    columns: ["remove_at"],
    where: "remove_at is not null",
  },

  { name: "ledger_time", table: "ledger", columns: ["account_id", "mode", "created_at"] },
  {
    name: "ledger_task",
    table: "ledger",
    columns: ["account_id", "task_id"],
    where: "task_id is not null",
  },
];

/** The ledger is append-only, whatever code above the database believes. */
async function forbidLedgerChanges(db: Kysely<unknown>, dialect: Dialect): Promise<void> {
  const statements = dialect === "sqlite" ? sqliteTriggers : postgresTriggers;
  for (const statement of statements) await sql.raw(statement).execute(db);
}

const sqliteTriggers = ["update", "delete"].map(
  (change) =>
    `create trigger ledger_no_${change} before ${change} on ledger
     begin select raise(abort, 'the ledger is append-only'); end`,
);

const postgresTriggers = [
  `create function refuse_ledger_change() returns trigger language plpgsql as
   $$ begin raise exception 'the ledger is append-only' using errcode = 'restrict_violation'; end $$`,
  `create trigger ledger_append_only before update or delete or truncate on ledger
   for each statement execute function refuse_ledger_change()`,
];
