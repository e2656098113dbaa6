import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";

import { onEachEngine, testModel, testPrice } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { dataUri, paintPlain } from "../../test/support/pictures.ts";
import {
  assertRefused,
  body,
  countRows,
  keyed,
  noRows,
  resultOf,
  route,
} from "../../test/support/submits.ts";
import { createVendor } from "../../test/support/vendor.ts";
import { createAccounts } from "../accounts/accounts.ts";
import { openBooks } from "../billing/ledger.ts";
import { setFree } from "../billing/prices.ts";
import { claimTasks } from "./claim.ts";
import { insertWaiting, insertWorker } from "./queue-store.ts";
import { laneOf } from "./task.ts";

async function listObjects(engine: TestEngine): Promise<string[]> {
  const entries = await readdir(engine.folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

onEachEngine((_name, open) => {
  test("a submit holds price times n, and everything about the task is there at once", async () => {
    await using engine = await open();
    const reference = dataUri(
      await paintPlain({ colour: [255, 0, 0], width: 8, height: 8, format: "png" }),
    );
    const before = engine.commits();
    const { taskId, replayed } = await engine.submitTask({
      body: {
        ...body,
        n: 3,
        image_urls: [reference],
        webhook: "https://example.com/hooks",
        language: "DE",
      },
      idempotency: { route, key: "k1", digest: "d1" },
    });
    assert.equal(engine.commits() - before, 1);
    assert.equal(engine.unsynced(), 0);
    assert.equal(replayed, false);
    assert.deepEqual(await countRows(engine), {
      tasks: 1,
      slots: 0,
      queue: 1,
      idempotency: 1,
      references: 1,
      attempts: 0,
      holds: 1,
      held: 3 * testPrice,
      inFlight: 1,
    });
    const task = await engine.find(taskId);
    assert.deepEqual(
      [task.state, task.pictures, task.openSlots, task.held],
      ["pending", 3, 3, 3 * testPrice],
    );
    assert.deepEqual(task.references, [{ from: "body" }]);
    const row = await engine.db.read
      .selectFrom("tasks")
      .select(["webhook", "language", "request_json"])
      .executeTakeFirst();
    assert.deepEqual([row?.webhook, row?.language], ["https://example.com/hooks", "de"]);
    assert.ok(!row?.request_json.includes("base64"));
    assert.equal((await listObjects(engine)).length, 1);
    await engine.checkLedger();
  });

  test("without the money nothing remains, and the same key works once the money is there", async () => {
    await using engine = await open({ funds: testPrice - 1 });
    const reference = dataUri(
      await paintPlain({ colour: [255, 0, 0], width: 8, height: 8, format: "png" }),
    );
    const wishes = { ...keyed("k1"), body: { ...body, image_urls: [reference] } };
    const error = await assertRefused(engine.submitTask(wishes), "insufficient_balance");
    assert.match(error.message, /short of 0\.000001 USD/);
    assert.deepEqual(await countRows(engine), noRows);
    assert.deepEqual(await listObjects(engine), []);
    await engine.checkLedger();
    await engine.addFunds(1);
    const { taskId, replayed } = await engine.submitTask(wishes);
    assert.equal(replayed, false);
    assert.equal((await engine.find(taskId)).held, testPrice);
    assert.deepEqual(await engine.balance(), { available: 0, held: testPrice });
    await engine.checkLedger();
  });

  test("a live prompt is not looked at for words of the sandbox", async () => {
    await using engine = await open();
    const prompt = "a sign that reads [[fail:bogus]]";
    const { warnings } = await engine.submitTask({ ...keyed("k1"), body: { ...body, prompt } });
    assert.deepEqual(warnings, []);
  });

  test("over the key's cap nothing remains, and what the cap leaves can still be spent", async () => {
    await using engine = await open({ key: { cap: 2 * testPrice } });
    const dear = { ...keyed("k1"), body: { ...body, n: 3 } };
    const error = await assertRefused(engine.submitTask(dear), "spend_cap_reached");
    assert.match(error.message, /leaves 0\.0774 USD, and this request needs 0\.1161 USD$/);
    assert.deepEqual(await countRows(engine), noRows);
    await engine.submitTask({ ...keyed("k1"), body: { ...body, n: 2 } });
    await assertRefused(engine.submitTask(keyed("k2")), "spend_cap_reached");
    await engine.checkLedger();
  });

  test("over the key's tasks in flight nothing remains, and a place is free when one has ended", async () => {
    await using engine = await open({ key: { tasksInFlight: 1 } });
    const { taskId } = await engine.submitTask(keyed("k1"));
    const error = await assertRefused(engine.submitTask(keyed("k2")), "task_limit_reached");
    assert.equal(error.retryAfterSeconds, 1);
    assert.equal((await countRows(engine))["idempotency"], 1);
    await engine.cancel(taskId);
    await engine.submitTask(keyed("k2"));
    await engine.checkLedger();
  });

  test("a list shares one transaction, and each submit in it has its own answer", async () => {
    await using engine = await open({ funds: 3 * testPrice });
    const other = await engine.createCaller();
    await engine.addFunds(testPrice, other.accountId);
    const before = engine.commits();
    const results = await Promise.all(
      [
        { body },
        { body: { ...body, n: 4 } },
        { body, caller: other },
        { body: { ...body, n: 2 } },
        { body },
        { body, caller: other },
      ].map((wishes) => resultOf(engine.submitTask(wishes))),
    );
    assert.deepEqual(
      results.map((result) => (result.startsWith("task_") ? "task" : result)),
      [
        "task",
        "insufficient_balance",
        "task",
        "task",
        "insufficient_balance",
        "insufficient_balance",
      ],
    );
    assert.equal(engine.commits() - before, 1);
    assert.deepEqual(await engine.balance(), { available: 0, held: 3 * testPrice });
    await engine.checkLedger();
  });

  test("a hundred submits at once take few transactions and all hold their money", async () => {
    await using engine = await open();
    const before = engine.commits();
    const ids = await Promise.all(Array.from({ length: 100 }, () => engine.submit()));
    assert.equal(new Set(ids).size, 100);
    assert.ok(engine.commits() - before <= 3, `${engine.commits() - before} transactions`);
    assert.equal((await engine.balance()).held, 100 * testPrice);
    await engine.checkLedger();
  });

  test("the price is the one of the submit, whatever ratio and prices are at the end", async () => {
    await using engine = await open();
    const accounts = createAccounts({ ...engine.deps, openBooks });
    await accounts.setRatio(engine.caller.accountName, 500_000);
    const id = await engine.submit({ n: 2 });
    await accounts.setRatio(engine.caller.accountName, 3_000_000);
    assert.equal((await engine.find(id)).held, testPrice);
    await engine.start();
    await engine.untilEnded(id);
    assert.deepEqual(await engine.balance(), { available: 100_000_000 - testPrice, held: 0 });
    await engine.checkLedger();
  });

  test("a free model makes its task with an empty hold", async () => {
    await using engine = await open({ funds: 0 });
    await engine.db.transaction((tx) => setFree(tx, testModel, engine.clock.now()));
    const id = await engine.submit();
    await engine.checkLedger();
    await engine.start();
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).cost, 0);
    await engine.checkLedger();
  });

  test("a live key whose model has no channel is told so, and nothing is made", async () => {
    const vendor = createVendor({ mode: "test" });
    await using engine = await open({ vendors: [vendor] });
    const error = await assertRefused(engine.submitTask({ body }), "no_channel");
    assert.equal(error.param, "model");
    assert.deepEqual(await countRows(engine), noRows);
  });

  test("ten thousand tasks of one account do not hide another's one", async () => {
    await using engine = await open();
    const lane = laneOf(testModel, "live");
    const crowd = Array.from({ length: 10_000 }, (_, index) => ({
      accountId: "acc_crowd",
      id: `task_${String(index).padStart(5, "0")}`,
      lane,
      tag: index + 1,
    }));
    await engine.db.transaction((tx) => insertWaiting(tx, crowd));
    await engine.submit();
    const queue = await readQueue(engine, 3);
    assert.ok(queue.includes(engine.caller.accountId), String(queue));
  });

  test("accounts that submit at the same time take turns, in one list as in many", async () => {
    for (const isOneList of [true, false]) {
      await using engine = await open();
      const other = await engine.createCaller();
      await engine.addFunds(10 * testPrice, other.accountId);
      const callers = [engine.caller, engine.caller, engine.caller, other, other, other];
      if (isOneList) await Promise.all(callers.map((caller) => engine.submit({}, caller)));
      else for (const caller of callers) await engine.submit({}, caller);
      const queue = await readQueue(engine, 6);
      const places = queue.flatMap((account, place) =>
        account === other.accountId ? [place] : [],
      );
      // The other account came later, and is never more than a turn behind.
      assert.ok(places[0]! <= 2 && places[1]! <= 4, `${isOneList}: ${places.join()}`);
    }
  });

  test("a newcomer stands behind what is next, not before it, also when much has been taken", async () => {
    await using engine = await open();
    for (let i = 0; i < 5; i += 1) await engine.submit();
    const worker = { id: "wrk_1", beats: 0, started_at: 0 };
    await engine.db.transaction((tx) => insertWorker(tx, worker));
    const lane = laneOf(testModel, "live");
    await claimTasks(engine.db, { lane, workerId: worker.id, limit: 3 });
    const other = await engine.createCaller();
    await engine.addFunds(testPrice, other.accountId);
    await engine.submit({}, other);
    assert.deepEqual(
      (await readQueue(engine, 3)).map((account) => account === other.accountId),
      [false, false, true],
    );
  });
});

/** The accounts of the first waiting tasks, in the order in which they would be claimed. */
async function readQueue(engine: TestEngine, limit: number): Promise<string[]> {
  const rows = await engine.db.read
    .selectFrom("queue")
    .select("account_id")
    .where("state", "=", "ready")
    .orderBy("tag")
    .orderBy("task_id")
    .limit(limit)
    .execute();
  return rows.map(({ account_id }) => account_id);
}
