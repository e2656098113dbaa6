import assert from "node:assert/strict";
import { test } from "node:test";

import { sql } from "kysely";

import { insertRow, onEachDatabase, readRows } from "../../test/support/databases.ts";
import { fullRows, sparseRows, tableNames } from "../../test/support/rows.ts";
import { isCheckViolation, isUniqueViolation } from "./errors.ts";
import type { Tables } from "./schema.ts";

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

onEachDatabase((name, setup) => {
  for (const table of tableNames) {
    test(`a row of ${table} comes back as it was written, and its key is taken`, async () => {
      const { db } = await setup();
      await insertRow(db, table, fullRows[table]);
      assert.deepEqual(await readRows(db, table), [fullRows[table]]);
      await assert.rejects(insertRow(db, table, fullRows[table]), isUniqueViolation);
    });
  }

  for (const [table, row] of Object.entries(sparseRows)) {
    test(`a row of ${table} may lack what its type says it may lack`, async () => {
      const { db } = await setup();
      await insertRow(db, table, row);
      assert.deepEqual(await readRows(db, table), [row]);
    });
  }

  test("a column that its type does not let be null is not null", async () => {
    const { db } = await setup();
    for (const table of tableNames) {
      const optional = sparseRows[table] ?? {};
      for (const [column, value] of Object.entries(fullRows[table])) {
        const isOptional = (optional as Record<string, unknown>)[column] === null;
        if (value === null || isOptional) continue;
        const write = insertRow(db, table, { ...fullRows[table], [column]: null });
        await assert.rejects(write, /not.null|NOT NULL/i, `${table}.${column}`);
      }
    }
  });

  for (const [table, changes] of Object.entries(broken)) {
    test(`a row of ${table} that breaks an invariant is refused`, async () => {
      const { db } = await setup();
      for (const change of changes) {
        const row = { ...fullRows[table as keyof Tables], ...change };
        await assert.rejects(insertRow(db, table, row), isCheckViolation, JSON.stringify(change));
      }
      assert.deepEqual(await readRows(db, table), []);
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
    for (const move of moves) await insertRow(db, "ledger", { ...fullRows.ledger, ...move });
    assert.equal((await readRows(db, "ledger")).length, moves.length);
  });

  test("an entry of the ledger is never changed or removed", async () => {
    const { db } = await setup();
    await insertRow(db, "ledger", fullRows.ledger);
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
    assert.deepEqual(await readRows(db, "ledger"), [fullRows.ledger]);
  });

  test("a cost that is booked is never changed or removed", async () => {
    const { db } = await setup();
    await insertRow(db, "costs", fullRows.costs);
    const changes = [sql`update costs set amount = 2`, sql`delete from costs`];
    if (name === "postgres") changes.push(sql`truncate costs`);
    for (const change of changes) {
      await assert.rejects(
        db.transaction((tx) => change.execute(tx)),
        /costs are append-only/,
      );
    }
    assert.deepEqual(await readRows(db, "costs"), [fullRows.costs]);
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
    await insertRow(db, "accounts", fullRows.accounts);
    await insertRow(db, "api_keys", fullRows.api_keys);
    await assert.rejects(
      insertRow(db, "accounts", { ...fullRows.accounts, id: "acc_2" }),
      isUniqueViolation,
    );
    await assert.rejects(
      insertRow(db, "api_keys", { ...fullRows.api_keys, account_id: "acc_2" }),
      isUniqueViolation,
    );
  });
});
