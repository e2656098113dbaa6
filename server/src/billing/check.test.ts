import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import type { Tx } from "../db/database.ts";
import type { LedgerRow } from "../db/schema.ts";
import { microsPerUsd as usd } from "../lib/money.ts";
import { minuteMs } from "../lib/time.ts";
import { checkLedger } from "./check.ts";
import { credit, holdMany, openBooks, settle } from "./ledger.ts";

const live = { accountId: "acc_1", mode: "live", keyId: "key_1" } as const;

/**
 * One account with three tasks of 2 USD: the first settled at 1 USD, the second released, the third open;
 * and what tasks/ and accounts/ would say of them, for a test to falsify.
 */
async function setupChecked(setup: Setup) {
  const { db, clock } = await setup();
  const now = clock.now();
  await db.transaction(async (tx) => {
    await openBooks(tx, "acc_1", now);
    await credit(tx, { ...live, amount: 10 * usd, reference: "funds", note: null, now });
    const ids = ["task_1", "task_2", "task_3"];
    const holds = ids.map((taskId) => ({ ...live, taskId, amount: 2 * usd }));
    assert.deepEqual(await holdMany(tx, holds, now), [null, null, null]);
    const held = 2 * usd;
    const captures = [{ slot: 0, amount: usd }];
    await settle(tx, { ...live, taskId: "task_1", held, captures, now });
    await settle(tx, { ...live, taskId: "task_2", held, captures: [], now });
  });
  const said = {
    openTasks: ["task_3"],
    usages: [{ keyId: "key_1", held: 2 * usd, captured: usd, inFlight: 1 }],
  };
  const pageOf = <T>(rows: readonly T[], idOf: (row: T) => string, after: string, limit: number) =>
    rows.filter((row) => idOf(row) > after).slice(0, limit);
  return {
    db,
    now,
    said,
    change: (work: (tx: Tx) => Promise<unknown>) =>
      db.transaction(async (tx) => {
        await work(tx);
      }),
    check: () =>
      checkLedger({
        db,
        listOpenTaskIds: (_handle, accountId, { after, limit }) =>
          Promise.resolve(
            accountId === "acc_1" ? pageOf(said.openTasks, (id) => id, after, limit) : [],
          ),
        listUsages: (_handle, accountId, { after, limit }) =>
          Promise.resolve(
            accountId === "acc_1" ? pageOf(said.usages, (row) => row.keyId, after, limit) : [],
          ),
        findLockedUsage: (_tx, { keyId }) =>
          Promise.resolve(said.usages.find((row) => row.keyId === keyId) ?? null),
      }),
  };
}

function entry(change: Partial<LedgerRow> & Pick<LedgerRow, "id" | "kind">): LedgerRow {
  return {
    account_id: "acc_1",
    mode: "live",
    available: 0,
    held: 0,
    task_id: null,
    key_id: null,
    note: null,
    created_at: 1,
    model: null,
    input_tokens: null,
    output_tokens: null,
    ...change,
  };
}

onEachDatabase((_name, setup) => {
  test("a sound ledger is found sound, and its accounts and entries are counted", async () => {
    const { check } = await setupChecked(setup);
    assert.deepEqual(await check(), { ok: true, accounts: 1, entries: 8, problems: [] });
  });

  test("an empty database is sound", async () => {
    const { db } = await setup();
    const none = () => Promise.resolve([]);
    const found = await checkLedger({
      db,
      listOpenTaskIds: none,
      listUsages: none,
      findLockedUsage: () => Promise.resolve(null),
    });
    assert.deepEqual(found, { ok: true, accounts: 0, entries: 0, problems: [] });
  });

  test("a balance that is not the sum of its entries is found", async () => {
    const { change, check } = await setupChecked(setup);
    await change((tx) =>
      tx
        .updateTable("balances")
        .set((row) => ({ available: row("available", "+", 1) }))
        .where("mode", "=", "live")
        .execute(),
    );
    const { ok, problems } = await check();
    assert.equal(ok, false);
    assert.deepEqual(problems, [
      "account acc_1 live: the balance says 7.000001 USD available and 2.00 held, " +
        "the entries say 7.00 and 2.00",
    ]);
  });

  test("entries of an account without a balance are found", async () => {
    const { change, check } = await setupChecked(setup);
    await change((tx) =>
      tx
        .insertInto("ledger")
        .values(entry({ account_id: "acc_2", id: "credit:x", kind: "credit", available: 1 }))
        .execute(),
    );
    assert.deepEqual((await check()).problems, [
      "account acc_2 has live entries but no live balance",
    ]);
  });

  test("an ended task whose hold is open is found", async () => {
    const { said, check } = await setupChecked(setup);
    said.openTasks = [];
    assert.deepEqual((await check()).problems, [
      "task task_3 has ended but its hold is not resolved",
    ]);
  });

  test("an open task whose hold is resolved is found", async () => {
    const { said, check } = await setupChecked(setup);
    said.openTasks = ["task_2", "task_3"];
    assert.deepEqual((await check()).problems, ["task task_2 is open but its hold is resolved"]);
  });

  test("an open task without a hold is found", async () => {
    const { said, check } = await setupChecked(setup);
    said.openTasks = ["task_3", "task_4"];
    assert.deepEqual((await check()).problems, [
      "task task_4 is open and has no entry in the ledger",
    ]);
  });

  test("a task that ends between the reads of a walk is no problem", async () => {
    const { db, now, said, check } = await setupChecked(setup);
    const honest = said.openTasks;
    let reads = 0;
    // The list of open tasks was read a moment before the task ended.
    Object.defineProperty(said, "openTasks", { get: () => (reads++ === 0 ? honest : []) });
    said.usages = [{ keyId: "key_1", held: 0, captured: usd, inFlight: 0 }];
    await db.transaction((tx) =>
      settle(tx, { ...live, taskId: "task_3", held: 2 * usd, captures: [], now }),
    );
    assert.deepEqual((await check()).problems, []);
    assert.equal(reads, 2);
  });

  test("a captured and released sum that is not the hold is found", async () => {
    const { change, check } = await setupChecked(setup);
    const stray = { task_id: "task_2", key_id: "key_1", held: -1 };
    await change((tx) =>
      tx
        .insertInto("ledger")
        .values(entry({ ...stray, id: "capture:task_2:9", kind: "capture", created_at: 2e12 }))
        .execute(),
    );
    const { problems } = await check();
    assert.ok(
      problems.includes("task task_2 was resolved with -0.000001 USD of its hold left over"),
      problems.join("\n"),
    );
  });

  test("a capture of an unresolved hold is found", async () => {
    const { change, check } = await setupChecked(setup);
    const stray = { task_id: "task_3", key_id: "key_1" };
    await change((tx) =>
      tx
        .insertInto("ledger")
        .values(entry({ ...stray, id: "capture:task_3:0", kind: "capture" }))
        .execute(),
    );
    assert.deepEqual((await check()).problems, [
      "task task_3 has captures but its hold is not resolved",
    ]);
  });

  test("entries of a task under two keys, in both books or without a hold are found", async () => {
    const { change, check } = await setupChecked(setup);
    await change((tx) =>
      tx
        .insertInto("ledger")
        .values([
          entry({ id: "capture:task_1:1", kind: "capture", task_id: "task_1", key_id: "key_2" }),
          entry({ id: "capture:task_2:1", kind: "capture", task_id: "task_2", mode: "test" }),
          entry({ id: "release:task_8", kind: "release", task_id: "task_8", key_id: "key_1" }),
        ])
        .execute(),
    );
    const { problems } = await check();
    assert.ok(problems.includes("task task_1 has entries of two keys"), problems.join("\n"));
    assert.ok(problems.includes("task task_2 has entries in both books"), problems.join("\n"));
    assert.ok(problems.includes("task task_8 has 0 holds"), problems.join("\n"));
  });

  test("an entry that is not named after what it does is found", async () => {
    const { change, check } = await setupChecked(setup);
    await change((tx) =>
      tx
        .insertInto("ledger")
        .values([
          entry({ id: "capture:task_2:1", kind: "capture", task_id: "task_1", key_id: "key_1" }),
          entry({ id: "gift:1", kind: "credit" }),
        ])
        .execute(),
    );
    const { problems } = await check();
    assert.deepEqual(problems, [
      "entry capture:task_2:1 is not named after what it does",
      "entry gift:1 is not named after what it does",
    ]);
  });

  test("a usage that is not what its entries say is found, in each of its figures", async () => {
    const { said, check } = await setupChecked(setup);
    const [honest] = said.usages;
    for (const change of [{ held: 1 }, { captured: 1 }, { inFlight: 2 }]) {
      said.usages = [{ ...honest!, ...change }];
      const { problems } = await check();
      assert.equal(problems.length, 1);
      assert.match(
        problems[0] ?? "",
        /^key key_1: its usage says .* its entries say 2\.00 USD held/,
      );
    }
  });

  test("a used key that has no entries and entries of a key nobody knows are found", async () => {
    const { said, check } = await setupChecked(setup);
    said.usages = [{ keyId: "key_0", held: 0, captured: 5, inFlight: 0 }];
    const { problems } = await check();
    assert.deepEqual(problems, [
      "key key_0: its usage says 0.00 USD held, 0.000005 captured and 0 tasks in flight, " +
        "its entries say 0.00 USD held, 0.00 captured and 0 tasks in flight",
      "key key_1 of account acc_1 has entries but no usage",
    ]);
  });

  test("a usage that only lagged behind is no problem once it is read under its lock", async () => {
    const { db, said } = await setupChecked(setup);
    const found = await checkLedger({
      db,
      listOpenTaskIds: () => Promise.resolve(["task_3"]),
      listUsages: () => Promise.resolve([{ keyId: "key_1", held: 0, captured: 0, inFlight: 0 }]),
      findLockedUsage: () => Promise.resolve(said.usages[0] ?? null),
    });
    assert.deepEqual(found.problems, []);
  });

  test("a book that was below zero for longer than clocks disagree is found", async () => {
    const { change, now, check } = await setupChecked(setup);
    const spend = { task_id: "task_4", key_id: "key_1", available: -20 * usd, held: 20 * usd };
    const back = { task_id: "task_4", key_id: "key_1", available: 20 * usd, held: -20 * usd };
    await change((tx) =>
      tx
        .insertInto("ledger")
        .values([
          entry({ ...spend, id: "hold:task_4", kind: "hold", created_at: now + 1 }),
          entry({ ...back, id: "release:task_4", kind: "release", created_at: now + 1 + minuteMs }),
        ])
        .execute(),
    );
    assert.deepEqual((await check()).problems, []);
    const late = { ...back, task_id: "task_5", available: 20 * usd };
    const early = { ...spend, task_id: "task_5" };
    await change((tx) =>
      tx
        .insertInto("ledger")
        .values([
          entry({ ...early, id: "hold:task_5", kind: "hold", created_at: now + 10 * minuteMs }),
          entry({
            ...late,
            id: "release:task_5",
            kind: "release",
            created_at: now + 12 * minuteMs,
          }),
        ])
        .execute(),
    );
    assert.deepEqual((await check()).problems, [
      "account acc_1 live: more was held than was available",
    ]);
  });

  test("more entries, tasks and keys than a page are all read", async () => {
    const { db, now, said, check } = await setupChecked(setup);
    const ids = Array.from({ length: 2_100 }, (_, i) => `many_${String(i).padStart(4, "0")}`);
    await db.transaction(async (tx) => {
      const holds = ids.map((taskId) => ({ ...live, keyId: `key_${taskId}`, taskId, amount: 1 }));
      await holdMany(tx, holds, now);
    });
    said.openTasks = [...ids, "task_3"];
    const usages = ids.map((id) => ({ keyId: `key_${id}`, held: 1, captured: 0, inFlight: 1 }));
    said.usages = [...said.usages, ...usages];
    assert.deepEqual(await check(), { ok: true, accounts: 1, entries: 2_108, problems: [] });
    await db.transaction((tx) =>
      tx
        .insertInto("ledger")
        .values(entry({ id: "z-gift", kind: "credit", created_at: now }))
        .execute(),
    );
    said.openTasks = said.openTasks.filter((id) => id !== "many_2050");
    said.usages[1_500] = { ...said.usages[1_500]!, held: 2 };
    assert.equal((await check()).problems.length, 3);
  });

  test("more ended tasks than a page between two open ones are all read", async () => {
    const { db, now, said, check } = await setupChecked(setup);
    const ids = Array.from({ length: 1_100 }, (_, i) => `many_${String(i).padStart(4, "0")}`);
    await db.transaction(async (tx) => {
      const holds = ids.map((taskId) => ({ ...live, taskId, amount: 1 }));
      await holdMany(tx, holds, now);
      for (const taskId of ids) await settle(tx, { ...live, taskId, held: 1, captures: [], now });
    });
    assert.deepEqual(await check(), { ok: true, accounts: 1, entries: 2_208, problems: [] });
    said.openTasks = ["many_1099", "task_3"];
    assert.deepEqual((await check()).problems, ["task many_1099 is open but its hold is resolved"]);
  });

  test("however much is wrong, the report stays short", async () => {
    const { db, now, check } = await setupChecked(setup);
    await db.transaction(async (tx) => {
      const holds = Array.from({ length: 300 }, (_, i) => ({
        ...live,
        taskId: `x_${i}`,
        amount: 1,
      }));
      await holdMany(tx, holds, now);
    });
    const { ok, problems } = await check();
    assert.equal(ok, false);
    assert.equal(problems.length, 100);
  });
});
