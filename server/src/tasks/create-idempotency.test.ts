import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine, testPrice } from "../../test/support/engine.ts";
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
import { dayMs, hourMs } from "../lib/time.ts";
import { insertIdempotency } from "./idempotency-store.ts";

onEachEngine((name, open) => {
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
    await using engine = await open({ funds: 0 });
    const results = await Promise.all(
      Array.from({ length: 4 }, () => resultOf(engine.submitTask(keyed("k1")))),
    );
    assert.deepEqual(
      results,
      results.map(() => "insufficient_balance"),
    );
    assert.deepEqual(await countRows(engine), noRows);
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
    await using engine = await open({ funds: testPrice });
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
});
