import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";

import { onEachEngine, testModel, testPrice } from "../../test/support/engine.ts";
import type { OpenEngine, SubmitWishes, TestEngine } from "../../test/support/engine.ts";
import { dataUri, paintPlain } from "../../test/support/pictures.ts";
import { createVendor } from "../../test/support/vendor.ts";
import { createAccounts } from "../accounts/accounts.ts";
import { loadUsage } from "../accounts/key-usage.ts";
import { openBooks } from "../billing/ledger.ts";
import { setFree } from "../billing/prices.ts";
import type { Tables } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import type { Reason } from "../lib/errors.ts";
import { dayMs, hourMs } from "../lib/time.ts";
import { claimTasks } from "./claim.ts";
import { insertIdempotency } from "./idempotency-store.ts";
import { insertWaiting, insertWorker } from "./queue-store.ts";
import type { Submitted } from "./submit.ts";
import { laneOf } from "./task.ts";

const body = { model: testModel, prompt: "a lighthouse" };
const route = "POST /v1/images/generations";

function keyed(key: string, digest = "d1"): SubmitWishes {
  return { body, idempotency: { route, key, digest } };
}

/** The accepted task's id, or the reason of the refusal. */
async function resultOf(submitted: Promise<Submitted>): Promise<string> {
  try {
    return (await submitted).taskId;
  } catch (error) {
    assert.ok(error instanceof AppError, String(error));
    return error.reason;
  }
}

async function assertRefused(submitted: Promise<Submitted>, reason: Reason): Promise<AppError> {
  const error = await submitted.then(
    () => assert.fail("it was accepted"),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof AppError, String(error));
  assert.equal(error.reason, reason);
  return error;
}

async function countRows(engine: TestEngine): Promise<Record<string, number>> {
  const tables: (keyof Tables)[] = [
    "tasks",
    "slots",
    "queue",
    "idempotency",
    "references",
    "attempts",
  ];
  const counts: Record<string, number> = {};
  for (const table of tables) {
    counts[table] = (await engine.db.read.selectFrom(table).selectAll().execute()).length;
  }
  const holds = await engine.db.read
    .selectFrom("ledger")
    .select("id")
    .where("kind", "=", "hold")
    .execute();
  const { held, inFlight } = await loadUsage(engine.db.read, engine.caller);
  return { ...counts, holds: holds.length, held, inFlight };
}

async function listObjects(engine: TestEngine): Promise<string[]> {
  const entries = await readdir(engine.folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

const nothing = {
  tasks: 0,
  slots: 0,
  queue: 0,
  idempotency: 0,
  references: 0,
  attempts: 0,
  holds: 0,
  held: 0,
  inFlight: 0,
};

async function openWith(open: OpenEngine, funds: number, key = {}): Promise<TestEngine> {
  return open({ funds, key });
}

onEachEngine((name, open) => {
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
      slots: 3,
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
    await using engine = await openWith(open, testPrice - 1);
    const reference = dataUri(
      await paintPlain({ colour: [255, 0, 0], width: 8, height: 8, format: "png" }),
    );
    const wishes = { ...keyed("k1"), body: { ...body, image_urls: [reference] } };
    const error = await assertRefused(engine.submitTask(wishes), "insufficient_balance");
    assert.match(error.message, /short of 0\.000001 USD/);
    assert.deepEqual(await countRows(engine), nothing);
    assert.deepEqual(await listObjects(engine), []);
    await engine.checkLedger();
    await engine.addFunds(1);
    const { taskId, replayed } = await engine.submitTask(wishes);
    assert.equal(replayed, false);
    assert.equal((await engine.find(taskId)).held, testPrice);
    assert.deepEqual(await engine.balance(), { available: 0, held: testPrice });
    await engine.checkLedger();
  });

  test("over the key's cap nothing remains, and what the cap leaves can still be spent", async () => {
    await using engine = await open({ key: { cap: 2 * testPrice } });
    const dear = { ...keyed("k1"), body: { ...body, n: 3 } };
    const error = await assertRefused(engine.submitTask(dear), "spend_cap_reached");
    assert.match(error.message, /0\.0774 USD/);
    assert.deepEqual(await countRows(engine), nothing);
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
    await using engine = await openWith(open, 3 * testPrice);
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

  test("twins in one list make one task", async () => {
    await using engine = await open();
    const before = engine.commits();
    const twins = await Promise.all(
      Array.from({ length: 6 }, () => engine.submitTask(keyed("k1"))),
    );
    // On PostgreSQL several lists are under way at once, and a twin may be in another one.
    const most = name === "sqlite" ? 3 : 5;
    assert.ok(engine.commits() - before <= most, `${engine.commits() - before} transactions`);
    assert.equal(new Set(twins.map(({ taskId }) => taskId)).size, 1);
    assert.equal(twins.filter(({ replayed }) => !replayed).length, 1);
    assert.equal((await countRows(engine))["tasks"], 1);
    assert.deepEqual(await engine.balance(), {
      available: 100_000_000 - testPrice,
      held: testPrice,
    });
    await engine.checkLedger();
  });

  test("of twins with different bodies one is taken and the others are refused, also when the key is an old one", async () => {
    await using engine = await open();
    const digests = ["d1", "d2", "d1", "d3"];
    const outcomes = [];
    for (const _ of ["new", "old"]) {
      const results = await Promise.all(
        digests.map((digest) => resultOf(engine.submitTask(keyed("k1", digest)))),
      );
      // On PostgreSQL they may be in lists that are under way at once, and any of them may be the first.
      const first = results.findIndex((result) => result.startsWith("task_"));
      const taken = digests[first];
      assert.deepEqual(
        results,
        digests.map((digest) => (digest === taken ? results[first] : "idempotency_key_reused")),
      );
      outcomes.push(results);
    }
    assert.deepEqual(outcomes[0], outcomes[1]);
    assert.equal((await countRows(engine))["tasks"], 1);
  });

  test("twins whose first is refused are each told why, not to come again", async () => {
    await using engine = await openWith(open, 0);
    const results = await Promise.all(
      Array.from({ length: 4 }, () => resultOf(engine.submitTask(keyed("k1")))),
    );
    assert.deepEqual(
      results,
      results.map(() => "insufficient_balance"),
    );
    assert.deepEqual(await countRows(engine), nothing);
  });

  test("concurrent twins in several processes make one task", async () => {
    await using engine = await open();
    const submits = [engine.submitTask, engine.createSubmit(), engine.createSubmit()];
    for (const key of ["k1", "k2", "k3", "k4", "k5"]) {
      const results = await Promise.all(submits.map((submit) => resultOf(submit(keyed(key)))));
      assert.equal(new Set(results).size, 1, String(results));
    }
    assert.equal((await countRows(engine))["tasks"], 5);
    assert.equal((await engine.balance()).held, 5 * testPrice);
    await engine.checkLedger();
  });

  test("a known key gives its task again, unlimited, unpaid and with the first reply's warnings", async () => {
    await using engine = await openWith(open, testPrice);
    const withWarning = { ...keyed("k1"), body: { ...body, quality: "high" } };
    const first = await engine.submitTask(withWarning);
    assert.equal(first.warnings.length, 1);
    let admitted = 0;
    const again = await engine.submitTask({ ...withWarning, admit: () => (admitted += 1) });
    assert.deepEqual(again, { ...first, replayed: true });
    assert.equal(admitted, 0);
    await assertRefused(
      engine.submitTask({ ...keyed("k1", "d2"), admit: () => (admitted += 1) }),
      "idempotency_key_reused",
    );
    assert.equal(admitted, 0);
    await assertRefused(
      engine.submitTask({ ...keyed("k2"), admit: () => (admitted += 1) }),
      "insufficient_balance",
    );
    assert.equal(admitted, 1);
  });

  test("a key belongs to its account, mode and route", async () => {
    const vendors = [createVendor(), createVendor({ name: "sandbox", mode: "test" })];
    await using engine = await open({ vendors });
    const { accountId } = engine.caller;
    const other = await engine.createCaller();
    await engine.addFunds(testPrice, other.accountId);
    const callers = [engine.caller, await engine.createCaller({ accountId, mode: "test" }), other];
    const ids = [];
    for (const caller of callers) {
      ids.push((await engine.submitTask({ ...keyed("k1"), caller })).taskId);
    }
    const elsewhere = { body, idempotency: { route: "POST /elsewhere", key: "k1", digest: "d1" } };
    ids.push((await engine.submitTask(elsewhere)).taskId);
    assert.equal(new Set(ids).size, 4);
    const sibling = await engine.createCaller({ accountId });
    assert.equal((await engine.submitTask({ ...keyed("k1"), caller: sibling })).taskId, ids[0]);
  });

  test("an expired key is free again, and remembers its new use", async () => {
    await using engine = await open();
    const first = await engine.submitTask(keyed("k1"));
    await engine.clock.advance(24 * hourMs - 1);
    assert.equal((await engine.submitTask(keyed("k1"))).taskId, first.taskId);
    await engine.clock.advance(1);
    const second = await engine.submitTask(keyed("k1", "d2"));
    assert.notEqual(second.taskId, first.taskId);
    assert.equal(second.replayed, false);
    assert.equal((await engine.submitTask(keyed("k1", "d2"))).taskId, second.taskId);
    assert.equal((await countRows(engine))["idempotency"], 1);
    assert.equal((await countRows(engine))["tasks"], 2);
  });

  test("twins in several processes that find an expired key make one task", async () => {
    await using engine = await open();
    const submits = [engine.submitTask, engine.createSubmit(), engine.createSubmit()];
    const keys = ["k1", "k2", "k3", "k4", "k5", "k6"];
    for (const key of keys) await engine.submitTask(keyed(key));
    await engine.clock.advance(dayMs);
    for (const key of keys) {
      const results = await Promise.all(submits.map((submit) => resultOf(submit(keyed(key)))));
      assert.equal(new Set(results).size, 1, String(results));
    }
    assert.equal((await countRows(engine))["tasks"], 2 * keys.length);
    await engine.checkLedger();
  });

  test(
    "a twin that is not committed within two seconds makes the other come again",
    { skip: name === "sqlite" && "transactions do not overlap" },
    async () => {
      await using engine = await open();
      const { accountId, mode } = engine.caller;
      const scope = { account_id: accountId, mode, route, key: "k1" };
      const row = {
        ...scope,
        digest: "d1",
        task_id: "task_1",
        expires_at: Number.MAX_SAFE_INTEGER,
      };
      const release = Promise.withResolvers<void>();
      const inserted = Promise.withResolvers<void>();
      const twin = engine.db.transaction(async (tx) => {
        await insertIdempotency(tx, [row]);
        inserted.resolve();
        await release.promise;
      });
      await inserted.promise;
      const waiting = engine.submitTask(keyed("k1"));
      // The database's own patience is in real time; only the engine's has to be moved.
      await engine.clock.advance(2_000);
      const error = await assertRefused(waiting, "idempotency_in_progress");
      assert.equal(error.retryAfterSeconds, 1);
      release.resolve();
      await twin;
    },
  );

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
    await using engine = await openWith(open, 0);
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
    assert.deepEqual(await countRows(engine), nothing);
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
