import assert from "node:assert/strict";
import { test } from "node:test";

import { sql } from "kysely";
import type { Kysely } from "kysely";

import { onEachDatabase, openTestDatabase } from "../../test/support/databases.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { systemClock } from "../lib/time.ts";
import type { Database } from "./database.ts";
import { isCheckViolation, isUniqueViolation } from "./errors.ts";
import { isMigrated, migrateToLatest } from "./migrate.ts";
import type { DatabaseTarget } from "./open.ts";
import type { OpenedDatabase } from "./opened.ts";
import { openPostgres } from "./postgres.ts";
import type { Tables } from "./schema.ts";
import { openSqlite } from "./sqlite.ts";

const picture = { object: "o", content_type: "image/png", width: 1, height: 1, bytes: 1 };
const task = { account_id: "acc_1", task_id: "task_1" };

/** One row of every table, with a value in every column. */
const fullRows: Tables = {
  accounts: {
    id: "acc_1",
    name: "default",
    ratio_ppm: 1_000_000,
    created_at: 1,
    requests_per_minute: 1,
    tasks_in_flight: 1,
    spend_per_day: 0,
  },
  api_keys: {
    account_id: "acc_1",
    id: "key_1",
    mode: "live",
    name: "first",
    digest: "d",
    hint: "wxyz",
    cap: 0,
    models_json: "[]",
    ips_json: "[]",
    requests_per_minute: 1,
    tasks_in_flight: 1,
    expires_at: 1,
    revoked_at: 1,
    created_at: 1,
    spend_per_day: 0,
  },
  key_usage: {
    account_id: "acc_1",
    key_id: "key_1",
    held: 1,
    captured: 2,
    in_flight: 3,
    day: 4,
    day_spent: 5,
  },
  tasks: {
    account_id: "acc_1",
    id: "task_1",
    mode: "test",
    key_id: "key_1",
    model: "m",
    state: "completed",
    revision: 3,
    pictures: 2,
    open_slots: 0,
    done_slots: 2,
    request_json: "{}",
    warnings_json: "[]",
    price_json: "{}",
    held: Number.MAX_SAFE_INTEGER,
    captured: 1,
    webhook: "https://example.com",
    language: "de",
    error_json: "{}",
    usage_json: "{}",
    created_at: 1_790_000_000_000,
    deadline_at: 2,
    cancel_requested_at: 3,
    ended_at: 4,
    expires_at: 5,
  },
  slots: { ...task, slot: 0, state: "done", captured: 5, error_json: "{}" },
  queue: {
    ...task,
    lane: "m/test",
    tag: 1.25,
    state: "claimed",
    run_at: 1,
    worker_id: "wrk_1",
    claims: 1,
  },
  attempts: {
    ...task,
    id: "att_1",
    slots_json: "[0]",
    channel: "sandbox",
    upstream_model: "m",
    state: "done",
    handle_json: "{}",
    failure_json: "{}",
    usage_json: "{}",
    cost: 1,
    sent_at: 1,
    ended_at: 2,
    tier: "official",
    place_until: 3,
  },
  idempotency: {
    account_id: "acc_1",
    mode: "live",
    route: "POST /",
    key: "k",
    digest: "d",
    task_id: "task_1",
    expires_at: 1,
  },
  workers: { id: "wrk_1", beats: 0, started_at: 1 },
  nodes: { id: "nod_1", is_api: 1, beats: 0, started_at: 1 },
  references: { ...task, position: -1, ...picture, remove_at: 1 },
  uploads: {
    account_id: "acc_1",
    mode: "live",
    id: "upl_1",
    filename: "a.png",
    created_at: 1,
    expires_at: 2,
    ...picture,
  },
  outputs: { ...task, slot: 0, ...picture, created_at: 1, remove_at: 1 },
  balances: { account_id: "acc_1", mode: "live", available: 1, held: 2 },
  ledger: {
    account_id: "acc_1",
    id: "hold:task_1",
    mode: "live",
    kind: "hold",
    available: -5,
    held: 5,
    task_id: "task_1",
    key_id: "key_1",
    note: "n",
    created_at: 1,
    model: "m",
    input_tokens: 2,
    output_tokens: 3,
  },
  prices: { model: "m", price_row: "*", price: 0, updated_at: 1 },
  webhook_endpoints: {
    account_id: "acc_1",
    id: "whe_1",
    mode: "live",
    url: "https://example.com/",
    description: "d",
    events: "task.completed",
    secret: "s",
    previous_secret: "p",
    previous_until: 1,
    failed_tries: 1,
    failing_since: 1,
    disabled_at: 1,
    disabled_reason: "failing",
    created_at: 1,
  },
  webhook_secrets: {
    account_id: "acc_1",
    mode: "live",
    secret: "s",
    previous_secret: "p",
    previous_until: 1,
    created_at: 1,
  },
  events: {
    account_id: "acc_1",
    id: "evt_1",
    mode: "live",
    type: "task.completed",
    task_id: "task_1",
    webhook: "https://example.com/",
    body: "{}",
    created_at: 1,
    expanded_at: 1,
  },
  deliveries: {
    account_id: "acc_1",
    id: "dlv_1",
    mode: "live",
    event_id: "evt_1",
    type: "task.completed",
    task_id: "task_1",
    endpoint_id: "whe_1",
    url: "https://example.com/",
    origin: "https://example.com",
    state: "failed",
    due_at: 1,
    lease: null,
    round: 1,
    tries: 1,
    last_status: 500,
    last_error: "e",
    created_at: 1,
    expires_at: 1,
    ended_at: 1,
  },
  delivery_tries: {
    account_id: "acc_1",
    delivery_id: "dlv_1",
    number: 1,
    started_at: 1,
    duration_ms: 1,
    status: 500,
    error: "e",
    response: "r",
  },
  settings: { name: "a", value: "b" },
  costs: {
    ...task,
    attempt_id: "att_1",
    channel: "bfl",
    upstream_model: "m",
    amount: 1,
    fate: "wasted",
    created_at: 1,
  },
  channels: {
    name: "bfl",
    provider: "bfl",
    source: "environment",
    base_url: "https://api.bfl.ai",
    secret: "v1.a.b",
    secret_hint: "1234",
    models_json: "[]",
    tiers_json: "[]",
    priority: -1,
    weight: 1,
    cost_ratio_ppm: 1_000_000,
    caps_json: "{}",
    timeout_ms: 1_000,
    unknown_outcome: "retry_once",
    allow_json: "[]",
    settings_json: "{}",
    disabled_at: 1,
    disabled_reason: "r",
    fault: "exhausted",
    fault_reason: "r",
    fault_at: 1,
    fault_until: 2,
    revision: 1,
    created_at: 1,
    updated_at: 1,
  },
  channel_load: { channel: "bfl", upstream_model: "*", in_flight: 1 },
};

/** The same rows with nothing in every column that may hold nothing. */
const sparseRows: { [Table in keyof Tables]?: Tables[Table] } = {
  accounts: {
    ...fullRows.accounts,
    requests_per_minute: null,
    tasks_in_flight: null,
    spend_per_day: null,
  },
  api_keys: {
    ...fullRows.api_keys,
    cap: null,
    models_json: null,
    ips_json: null,
    requests_per_minute: null,
    tasks_in_flight: null,
    expires_at: null,
    revoked_at: null,
    spend_per_day: null,
  },
  tasks: {
    ...fullRows.tasks,
    state: "pending",
    warnings_json: null,
    webhook: null,
    language: null,
    error_json: null,
    usage_json: null,
    cancel_requested_at: null,
    ended_at: null,
    expires_at: null,
  },
  slots: { ...fullRows.slots, error_json: null },
  queue: { ...fullRows.queue, state: "ready", worker_id: null },
  attempts: {
    ...fullRows.attempts,
    state: "sent",
    handle_json: null,
    failure_json: null,
    usage_json: null,
    ended_at: null,
    place_until: null,
  },
  channels: {
    ...fullRows.channels,
    secret: null,
    secret_hint: null,
    disabled_at: null,
    disabled_reason: null,
    fault: null,
    fault_reason: null,
    fault_at: null,
    fault_until: null,
  },
  references: { ...fullRows.references, remove_at: null },
  outputs: { ...fullRows.outputs, remove_at: null },
  ledger: {
    ...fullRows.ledger,
    id: "credit:1",
    kind: "credit",
    available: -5,
    held: 0,
    task_id: null,
    key_id: null,
    note: null,
    model: null,
    input_tokens: null,
    output_tokens: null,
  },
  webhook_endpoints: {
    ...fullRows.webhook_endpoints,
    description: null,
    previous_secret: null,
    previous_until: null,
    failed_tries: 0,
    failing_since: null,
    disabled_at: null,
    disabled_reason: null,
  },
  webhook_secrets: { ...fullRows.webhook_secrets, previous_secret: null, previous_until: null },
  events: { ...fullRows.events, task_id: null, webhook: null, expanded_at: null },
  deliveries: {
    ...fullRows.deliveries,
    state: "pending",
    task_id: null,
    endpoint_id: null,
    last_status: null,
    last_error: null,
    ended_at: null,
  },
  delivery_tries: { ...fullRows.delivery_tries, status: null, error: null, response: null },
};

/** What no row may be. */
const broken: Partial<Record<keyof Tables, Record<string, unknown>[]>> = {
  accounts: [
    { ratio_ppm: -1 },
    { requests_per_minute: 0 },
    { tasks_in_flight: 0 },
    { spend_per_day: -1 },
  ],
  api_keys: [
    { mode: "other" },
    { cap: -1 },
    { requests_per_minute: 0 },
    { tasks_in_flight: 0 },
    { spend_per_day: -1 },
  ],
  key_usage: [{ held: -1 }, { captured: -1 }, { in_flight: -1 }, { day: -1 }, { day_spent: -1 }],
  tasks: [
    { mode: "other" },
    { state: "other" },
    { ended_at: null },
    { state: "processing" },
    { pictures: 0, done_slots: 0 },
    { open_slots: -1 },
    { open_slots: 1 },
    { done_slots: -1 },
    { done_slots: 3 },
    { held: -1 },
    { captured: -1 },
  ],
  slots: [{ slot: -1 }, { state: "other" }, { state: "failed" }, { captured: -1 }],
  queue: [{ state: "other" }, { state: "ready" }, { worker_id: null }, { claims: -1 }],
  attempts: [
    { state: "other" },
    { state: "running" },
    { ended_at: null },
    { cost: -1 },
    { tier: "other" },
  ],
  webhook_endpoints: [
    { mode: "other" },
    { previous_until: null },
    { failing_since: null },
    { disabled_reason: "other" },
    { disabled_at: null },
  ],
  webhook_secrets: [{ mode: "other" }, { previous_secret: null }],
  events: [{ mode: "other" }],
  deliveries: [
    { mode: "other" },
    { state: "other" },
    { state: "pending" },
    { ended_at: null },
    { lease: "l" },
    { round: -1 },
    { tries: 0 },
  ],
  delivery_tries: [{ number: 0 }, { duration_ms: -1 }],
  costs: [{ amount: 0 }, { amount: -1 }, { fate: "other" }],
  channels: [
    { source: "other" },
    { weight: -1 },
    { cost_ratio_ppm: -1 },
    { timeout_ms: 0 },
    { unknown_outcome: "other" },
    { disabled_at: null },
    { disabled_reason: null },
    { fault: "other" },
    { fault: null },
    { fault_until: null },
    { revision: 0 },
  ],
  channel_load: [{ in_flight: -1 }],
  idempotency: [{ mode: "other" }],
  workers: [{ beats: -1 }],
  nodes: [{ is_api: 2 }, { beats: -1 }],
  references: [{ position: -2 }, { width: 0 }, { height: 0 }, { bytes: 0 }],
  uploads: [{ mode: "other" }, { width: 0 }, { height: 0 }, { bytes: 0 }],
  outputs: [{ slot: -1 }, { width: 0 }, { height: 0 }, { bytes: 0 }],
  balances: [{ mode: "other" }, { available: -1 }, { held: -1 }],
  ledger: [
    { mode: "other" },
    { kind: "other" },
    { kind: "credit" },
    { kind: "capture" },
    { kind: "capture", available: 5, held: -5 },
    { kind: "release" },
    { available: -4 },
    { available: 5, held: -5 },
    { task_id: null },
  ],
  prices: [{ price: -1 }],
};

const tableNames = Object.keys(fullRows) as (keyof Tables)[];

/** A handle for rows that the types would refuse. */
type Loose = Kysely<Record<string, Record<string, unknown>>>;

async function insert(db: Database, table: string, row: Record<string, unknown>): Promise<void> {
  await db.transaction(async (tx) => {
    await (tx as unknown as Loose).insertInto(table).values(row).execute();
  });
}

async function readAll(db: Database, table: string): Promise<unknown[]> {
  return (db.read as unknown as Loose).selectFrom(table).selectAll().execute();
}

async function openUnmigrated(target: DatabaseTarget): Promise<OpenedDatabase> {
  const log = createLog("silent");
  const deps = { clock: systemClock, random: systemRandom, log, onFatal: assert.fail };
  return target.kind === "sqlite" ? openSqlite(target.path, deps) : openPostgres(target, deps);
}

/** The statements that run often or over much, and the index made for each. */
const plans: Record<string, string> = {
  queue_claim: `select account_id, task_id, tag from queue
    where lane = 'l' and state = 'ready' order by tag, task_id limit 5`,
  queue_account: `select tag from queue
    where account_id = 'a' and lane = 'l' and state = 'ready' order by tag desc limit 1`,
  queue_parked: `select task_id from queue
    where state = 'parked' and run_at <= 5 order by run_at limit 5`,
  queue_worker: "select task_id from queue where worker_id = 'w'",
  tasks_deadline: `select id from tasks
    where ended_at is null and deadline_at <= 5 order by deadline_at limit 5`,
  tasks_ended: `select id from tasks
    where ended_at is not null and ended_at <= 5 order by ended_at limit 5`,
  api_keys_digest: "select id from api_keys where digest = 'd'",
  accounts_name: "select id from accounts where name = 'n'",
  idempotency_expiry: "select key from idempotency where expires_at <= 5",
  references_removal: `select object from "references"
    where remove_at is not null and remove_at <= 5 order by remove_at limit 5`,
  outputs_removal: `select object from outputs
    where remove_at is not null and remove_at <= 5 order by remove_at limit 5`,
  uploads_expiry: "select object from uploads where expires_at <= 5 order by expires_at limit 5",
  uploads_object: "select id from uploads where account_id = 'a' and object = 'o'",
  outputs_object: "select slot from outputs where account_id = 'a' and object = 'o'",
  references_object: `select position from "references" where account_id = 'a' and object = 'o'`,
  ledger_moves: `select id from ledger
    where account_id = 'a' and mode = 'live' and kind <> 'hold' and created_at > 5
    order by created_at, id limit 5`,
};

onEachDatabase((name, setup, createTarget) => {
  for (const table of tableNames) {
    test(`a row of ${table} comes back as it was written, and its key is taken`, async () => {
      const { db } = await setup();
      await insert(db, table, fullRows[table]);
      assert.deepEqual(await readAll(db, table), [fullRows[table]]);
      await assert.rejects(insert(db, table, fullRows[table]), isUniqueViolation);
    });
  }

  for (const [table, row] of Object.entries(sparseRows)) {
    test(`a row of ${table} may lack what its type says it may lack`, async () => {
      const { db } = await setup();
      await insert(db, table, row);
      assert.deepEqual(await readAll(db, table), [row]);
    });
  }

  test("a column that its type does not let be null is not null", async () => {
    const { db } = await setup();
    for (const table of tableNames) {
      const optional = sparseRows[table] ?? {};
      for (const [column, value] of Object.entries(fullRows[table])) {
        const isOptional = (optional as Record<string, unknown>)[column] === null;
        if (value === null || isOptional) continue;
        const write = insert(db, table, { ...fullRows[table], [column]: null });
        await assert.rejects(write, /not.null|NOT NULL/i, `${table}.${column}`);
      }
    }
  });

  for (const [table, changes] of Object.entries(broken)) {
    test(`a row of ${table} that breaks an invariant is refused`, async () => {
      const { db } = await setup();
      for (const change of changes) {
        const row = { ...fullRows[table as keyof Tables], ...change };
        await assert.rejects(insert(db, table, row), isCheckViolation, JSON.stringify(change));
      }
      assert.deepEqual(await readAll(db, table), []);
    });
  }

  test("the kinds of ledger entries that move money rightly are accepted", async () => {
    const { db } = await setup();
    const moves = [
      { id: "credit:1", kind: "credit", available: 10, held: 0 },
      { id: "hold:1", kind: "hold", available: -10, held: 10 },
      { id: "capture:1:0", kind: "capture", available: 0, held: -4 },
      { id: "release:1", kind: "release", available: 6, held: -6 },
      { id: "hold:2", kind: "hold", available: 0, held: 0 },
    ];
    for (const move of moves) await insert(db, "ledger", { ...fullRows.ledger, ...move });
    assert.equal((await readAll(db, "ledger")).length, moves.length);
  });

  test("an entry of the ledger is never changed or removed", async () => {
    const { db } = await setup();
    await insert(db, "ledger", fullRows.ledger);
    const changes = [
      sql`update ledger set note = 'changed'`,
      sql`update ledger set available = 0, held = 0`,
      sql`delete from ledger`,
    ];
    if (name === "postgres") changes.push(sql`truncate ledger`);
    for (const change of changes) {
      await assert.rejects(
        db.transaction((tx) => change.execute(tx)),
        /the ledger is append-only/,
      );
    }
    assert.deepEqual(await readAll(db, "ledger"), [fullRows.ledger]);
  });

  test("a cost that is booked is never changed or removed", async () => {
    const { db } = await setup();
    await insert(db, "costs", fullRows.costs);
    const changes = [sql`update costs set amount = 2`, sql`delete from costs`];
    if (name === "postgres") changes.push(sql`truncate costs`);
    for (const change of changes) {
      await assert.rejects(
        db.transaction((tx) => change.execute(tx)),
        /costs are append-only/,
      );
    }
    assert.deepEqual(await readAll(db, "costs"), [fullRows.costs]);
  });

  // What PostgreSQL chooses depends on statistics that an empty table does not have.
  if (name === "sqlite") {
    test("each statement that runs often finds its rows, in their order, through its index", async () => {
      const { db } = await setup();
      for (const [index, statement] of Object.entries(plans)) {
        const query = sql.raw<{ detail: string }>(`explain query plan ${statement}`);
        const { rows } = await query.execute(db.read);
        const plan = rows.map((row) => row.detail).join("; ");
        assert.match(plan, new RegExp(`^SEARCH \\w+ USING (COVERING )?INDEX ${index} [^;]*$`));
      }
    });
  }

  test("two accounts do not share a name, nor two keys a digest", async () => {
    const { db } = await setup();
    await insert(db, "accounts", fullRows.accounts);
    await insert(db, "api_keys", fullRows.api_keys);
    await assert.rejects(
      insert(db, "accounts", { ...fullRows.accounts, id: "acc_2" }),
      isUniqueViolation,
    );
    await assert.rejects(
      insert(db, "api_keys", { ...fullRows.api_keys, account_id: "acc_2" }),
      isUniqueViolation,
    );
  });

  test("a new database gets its tables when several processes open it at once", async () => {
    const target = await createTarget();
    const opened = await Promise.all([1, 2, 3].map(() => openTestDatabase(target)));
    for (const db of opened) assert.deepEqual(await readAll(db, "tasks"), []);
    await Promise.all(opened.map((db) => db.close()));
  });

  test("a migration that fails half-way leaves nothing behind", async () => {
    const target = await createTarget();
    const { database, migrate } = await openUnmigrated(target);
    const read = database.read as unknown as Kysely<unknown>;
    const failed = migrate(async (tx) => {
      await migrateToLatest(tx, name);
      assert.equal(await isMigrated(tx, name), true);
      throw new Error("power cut");
    });
    await assert.rejects(failed, /power cut/);
    assert.equal(await isMigrated(read, name), false);
    await assert.rejects(readAll(database, "tasks"));
    await database.close();
    const db = await openTestDatabase(target);
    assert.deepEqual(await readAll(db, "tasks"), []);
    await db.close();
  });

  test("an up-to-date database is opened beside a transaction that holds the write lock", async () => {
    const { db, target } = await setup();
    await db.transaction(async (tx) => {
      await tx.insertInto("settings").values({ name: "a", value: "b" }).execute();
      const other = await openTestDatabase(target);
      assert.deepEqual(await readAll(other, "settings"), []);
      await other.close();
    });
  });

  test("a database that a newer version has made is refused, and left as it is", async () => {
    const target = await createTarget();
    const db = await openTestDatabase(target);
    const record = { name: "9999-future", timestamp: "2099-01-01T00:00:00.000Z" };
    await insert(db, "kysely_migration", record);
    await assert.rejects(openTestDatabase(target), /newer version of Darkroom.*9999-future/);
    assert.deepEqual((await readAll(db, "kysely_migration")).at(-1), record);
    await db.close();
  });
});
