import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { createVendor, delivered, failing, held, running } from "../../test/support/vendor.ts";
import { AppError } from "../lib/errors.ts";
import type { Reason } from "../lib/errors.ts";
import { systemRandom } from "../lib/random.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import type { FailureKind } from "../providers/adapter.ts";

const funds = 100_000_000;

async function assertCancelled(engine: TestEngine, taskId: string): Promise<void> {
  const task = await engine.read(taskId);
  assert.equal(task.status, "cancelled");
  assert.deepEqual([task.error?.code, task.error?.type], ["cancelled", "task_cancelled"]);
  assert.equal(task.cost, 0);
  assert.equal(task.cancel_requested, undefined);
  assert.deepEqual(await engine.balance(), { available: funds, held: 0 });
  assert.deepEqual(await engine.db.read.selectFrom("queue").select("task_id").execute(), []);
  await engine.checkLedger();
}

function assertRefused(cancelled: Promise<void>, reason: Reason): Promise<void> {
  return assert.rejects(cancelled, (error) => error instanceof AppError && error.reason === reason);
}

onEachEngine((_name, open) => {
  test("a task that nobody has begun is cancelled at once, free of charge", async () => {
    await using engine = await open();
    const id = await engine.submit({ n: 3 });
    let changes = 0;
    engine.deps.watch.onChanged(id, () => {
      changes += 1;
      assert.equal(engine.unsynced(), 0);
    });
    await engine.cancel(id);
    assert.equal(changes, 1);
    await assertCancelled(engine, id);
    await engine.start();
    await engine.pass(5 * secondMs);
    assert.equal(engine.vendor.countOf("submit"), 0);
    await assertCancelled(engine, id);
  });

  test("what the vendor already has runs on, is delivered and charged", async () => {
    const vendor = createVendor({ submit: running(10_000) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 2 });
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 2);
    await engine.rest();
    await engine.cancel(id);
    const meanwhile = await engine.read(id);
    assert.deepEqual([meanwhile.status, meanwhile.cancel_requested], ["processing", true]);
    await engine.cancel(id);
    await engine.untilEnded(id);
    const task = await engine.read(id);
    assert.deepEqual([task.status, task.result?.images.length], ["completed", 2]);
    assert.equal(task.cancel_requested, undefined);
    assert.deepEqual(await engine.balance(), { available: funds - 2 * testPrice, held: 0 });
    await engine.checkLedger();
  });

  test("slots between two tries end at once; the others are delivered and charged", async () => {
    const vendor = createVendor();
    const last = held();
    vendor.onSubmit(delivered(), failing("unavailable", { retryAfterMs: 5_000 }), last);
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 3 });
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 3);
    await engine.rest();
    await engine.cancel(id);
    assert.deepEqual(
      (await engine.slots(id)).map(({ state, error }) => error?.code ?? state),
      ["done", "cancelled", "open"],
    );
    last.release(delivered());
    await engine.untilEnded(id, minuteMs);
    const task = await engine.read(id);
    assert.deepEqual([task.status, task.result?.images.length], ["completed", 2]);
    assert.deepEqual(
      task.result?.errors?.map(({ index, code }) => [index, code]),
      [[1, "cancelled"]],
    );
    assert.equal(vendor.countOf("submit"), 3);
    assert.deepEqual(await engine.balance(), { available: funds - 2 * testPrice, held: 0 });
    await engine.checkLedger();
  });

  test("a task that waits for its next try is cancelled at once, in memory as in the queue", async () => {
    for (const retryAfterMs of [5_000, 60_000]) {
      const vendor = createVendor({ submit: failing("rate_limited", { retryAfterMs }) });
      await using engine = await open({ vendors: [vendor] });
      const id = await engine.submit();
      const life = await engine.start();
      await engine.run(() => vendor.countOf("submit") === 1);
      await engine.rest();
      await engine.cancel(id);
      await assertCancelled(engine, id);
      await engine.pass(2 * minuteMs);
      assert.equal(vendor.countOf("submit"), 1);
      assert.equal(life.worker.tasksInHand, 0);
    }
  });

  test("after a cancellation no failure starts another attempt, and without a picture nobody pays", async () => {
    for (const kind of ["unavailable", "exhausted", "refused", "lost"] as FailureKind[]) {
      const vendor = createVendor({ priority: 1 });
      const other = createVendor({ name: "other" });
      const answer = held();
      vendor.onSubmit(answer);
      await using engine = await open({ vendors: [vendor, other] });
      const id = await engine.submit();
      await engine.start();
      await engine.run(() => vendor.countOf("submit") === 1);
      await engine.cancel(id);
      answer.release(failing(kind));
      await engine.untilEnded(id, 2 * secondMs);
      await assertCancelled(engine, id);
      assert.equal(vendor.countOf("submit") + other.countOf("submit"), 1, kind);
    }
  });

  test("a cancellation survives a crash", async () => {
    const vendor = createVendor({ submit: running(5_000), poll: failing("refused") });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.rest();
    await engine.cancel(id);
    first.crash();
    await engine.start();
    await engine.untilEnded(id);
    await assertCancelled(engine, id);
    assert.equal(vendor.countOf("submit"), 1);
  });

  test("a task that has ended is not cancelled any more, and does not change", async () => {
    await using engine = await open();
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    const before = await engine.read(id);
    await assertRefused(engine.cancel(id), "task_already_ended");
    assert.deepEqual(await engine.read(id), before);
    const cancelled = await engine.submit({ model: "flux-2-pro" });
    await engine.cancel(cancelled).catch(() => undefined);
    await engine.untilEnded(cancelled);
    await assertRefused(engine.cancel(cancelled), "task_already_ended");
  });

  test("unknown tasks, and those of other accounts and of the other mode, are not found", async () => {
    await using engine = await open();
    const id = await engine.submit();
    const stranger = await engine.createCaller();
    const tester = await engine.createCaller({ accountId: engine.caller.accountId, mode: "test" });
    await assertRefused(engine.cancel(id, stranger), "task_not_found");
    await assertRefused(engine.cancel(id, tester), "task_not_found");
    await assertRefused(engine.cancel("task_unknown"), "task_not_found");
    assert.equal((await engine.read(id)).cancel_requested, undefined);
  });

  test("a cancellation between any two steps of a run starts nothing more for what it ended", async () => {
    for (let moment = 1; moment <= 12; moment += 1) {
      const vendor = createVendor();
      vendor.onSubmit(failing("unavailable"), failing("unavailable"));
      let left = Infinity;
      const cancelling: Promise<void>[] = [];
      // A run throws its dice while it plans and before each step: moments that nothing else tells.
      const fraction = (): number => {
        left -= 1;
        if (left === 0) cancelling.push(engine.cancel(id).catch(() => undefined));
        return 0.2;
      };
      const random = { bytes: systemRandom.bytes, fraction };
      await using engine = await open({ vendors: [vendor], random });
      const id = await engine.submit({ n: 2 });
      await engine.start();
      await engine.run(() => vendor.countOf("submit") === 2);
      await engine.rest();
      left = moment;
      await engine.untilEnded(id);
      await Promise.all(cancelling);
      const attempts = await engine.attempts(id);
      for (const { slot, error } of await engine.slots(id)) {
        const states = attempts.filter(({ slots }) => slots.includes(slot));
        const expected = error?.code === "cancelled" ? ["failed"] : ["failed", "done"];
        assert.deepEqual(
          states.map(({ state }) => state),
          expected,
          `moment ${moment}, slot ${slot}`,
        );
      }
      assert.equal(vendor.countOf("submit"), attempts.length);
      await engine.checkLedger();
    }
  });

  test("a cancellation that races with the first attempt either comes first or finds the task sent", async () => {
    const vendor = createVendor({ submit: running(1_000) });
    await using engine = await open({ vendors: [vendor] });
    const ids = await Promise.all(Array.from({ length: 20 }, () => engine.submit()));
    const starting = engine.start();
    await Promise.all(ids.map((id) => engine.cancel(id)));
    await starting;
    for (const id of ids) await engine.untilEnded(id);
    const tasks = await Promise.all(ids.map((id) => engine.read(id)));
    const completed = tasks.filter(({ status }) => status === "completed").length;
    assert.ok(tasks.every(({ status }) => status === "completed" || status === "cancelled"));
    assert.equal(vendor.countOf("submit"), completed);
    assert.deepEqual(await engine.balance(), {
      available: funds - completed * testPrice,
      held: 0,
    });
    await engine.checkLedger();
  });
});
