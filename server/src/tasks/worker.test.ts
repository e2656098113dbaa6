import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine, testModel, testPrice } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import {
  createVendor,
  deaf,
  delivered,
  failing,
  held,
  mistaken,
  running,
  silent,
  watched,
} from "../../test/support/vendor.ts";
import { secondMs } from "../lib/time.ts";
import { claimTasks } from "./claim.ts";
import { deadAfterMs } from "./lease.ts";
import { freeTasks, insertWorker, loadWorkers } from "./queue-store.ts";
import { createRescue } from "./rescue.ts";
import { laneOf } from "./task.ts";

async function readQueue(engine: TestEngine) {
  return engine.db.read
    .selectFrom("queue")
    .select(["state", "worker_id", "claims"])
    .orderBy("task_id")
    .execute();
}

onEachEngine((_name, open) => {
  test("tasks that were waiting before the worker are found without a hint", async () => {
    await using engine = await open();
    const ids = [await engine.submit(), await engine.submit({ model: "flux-2-pro" })];
    await engine.start();
    for (const id of ids) await engine.untilEnded(id, 5 * secondMs);
    await engine.checkLedger();
  });

  test("a task is begun at the hint of its submit, not at the next look", async () => {
    await using engine = await open();
    await engine.start();
    await engine.pass(100);
    const begun = engine.clock.now();
    await engine.submit();
    await engine.rest();
    assert.equal(engine.vendor.countOf("submit"), 1);
    assert.equal(engine.clock.now(), begun);
  });

  test("a worker has no more tasks in hand than it may, and takes the next as soon as one ends", async () => {
    const vendor = createVendor();
    const answers = Array.from({ length: 5 }, () => held());
    vendor.onSubmit(...answers);
    await using engine = await open({ vendors: [vendor] });
    for (let i = 0; i < 5; i += 1) await engine.submit();
    const { worker } = await engine.start({ tasksMax: 2 });
    await engine.pass(5 * secondMs);
    for (const [index, answer] of answers.entries()) {
      assert.equal(vendor.countOf("submit"), Math.min(5, 2 + index));
      assert.equal(worker.tasksInHand, Math.min(2, 5 - index));
      answer.release(delivered());
      await engine.rest();
    }
    assert.equal(worker.tasksInHand, 0);
  });

  test("an orderly stop gives tasks back ready and uncounted, and takes the worker off the list", async () => {
    const vendor = createVendor({ submit: running(60_000) });
    await using engine = await open({ vendors: [vendor] });
    const waiting = [await engine.submit(), await engine.submit()];
    const life = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 2);
    await engine.rest();
    assert.equal(life.worker.tasksInHand, 2);
    await life.stop();
    assert.equal(life.worker.tasksInHand, 0);
    assert.deepEqual(
      await readQueue(engine),
      waiting.map(() => ({ state: "ready", worker_id: null, claims: 0 })),
    );
    assert.deepEqual(await loadWorkers(engine.db.read), []);
    await engine.submit();
    await engine.pass(10 * secondMs);
    assert.equal(vendor.countOf("submit"), 2);
  });

  test("a task that was claimed five times without a step is ended without being run again", async () => {
    await using engine = await open();
    const id = await engine.submit();
    const lane = laneOf(testModel, "live");
    for (const workerId of ["wrk_1", "wrk_2", "wrk_3", "wrk_4"]) {
      await engine.db.transaction((tx) =>
        insertWorker(tx, { id: workerId, beats: 0, started_at: 0 }),
      );
      await claimTasks(engine.db, { lane, workerId, limit: 1 });
      await engine.db.transaction((tx) => freeTasks(tx, workerId));
    }
    await engine.start();
    await engine.untilEnded(id);
    const task = await engine.read(id);
    assert.deepEqual([task.status, task.error?.code], ["failed", "internal_error"]);
    assert.equal(engine.vendor.countOf("submit"), 0);
    await engine.checkLedger();
  });

  test("the fourth claim is still run, and its step forgets the ones before", async () => {
    const vendor = createVendor({ submit: running(60_000) });
    await using engine = await open({ vendors: [vendor] });
    await engine.submit();
    const lane = laneOf(testModel, "live");
    for (const workerId of ["wrk_1", "wrk_2", "wrk_3"]) {
      await engine.db.transaction((tx) =>
        insertWorker(tx, { id: workerId, beats: 0, started_at: 0 }),
      );
      await claimTasks(engine.db, { lane, workerId, limit: 1 });
      await engine.db.transaction((tx) => freeTasks(tx, workerId));
    }
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.rest();
    assert.equal((await readQueue(engine))[0]?.claims, 0);
  });

  test("a worker that lost its lease writes nothing, and works on as a new one", async () => {
    const vendor = createVendor({ resend: "safe" });
    const late = held();
    vendor.onSubmit(late, running(2_000));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const cut = await engine.start({ another: true });
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.rest();
    cut.cutOff(true);
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 2, 60 * secondMs);
    cut.cutOff(false);
    // The first answer comes while the task is in the other worker's hands.
    late.release(delivered());
    await engine.rest();
    assert.equal((await engine.read(id)).progress, 0);
    assert.equal((await engine.attempts(id))[0]?.state, "running");
    await engine.untilEnded(id);
    assert.deepEqual(await engine.balance(), { available: 100_000_000 - testPrice, held: 0 });
    const attempts = await engine.attempts(id);
    assert.deepEqual(
      attempts.map(({ state }) => state),
      ["done"],
    );
    await engine.checkLedger();
    await engine.pass(5 * secondMs);
    await engine.untilEnded(await engine.submit());
    assert.equal((await loadWorkers(engine.db.read)).length, 2);
    assert.equal(cut.worker.tasksInHand, 0);
  });

  test("a worker that lost its lease lets go of its tasks, also of those that only wait", async () => {
    const vendor = createVendor({ submit: running(60_000), poll: running(60_000) });
    await using engine = await open({ vendors: [vendor] });
    await engine.submit();
    const cut = await engine.start({ another: true });
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.rest();
    cut.cutOff(true);
    const other = await engine.start();
    await engine.run(() => other.worker.tasksInHand === 1);
    assert.equal(cut.worker.tasksInHand, 1);
    cut.cutOff(false);
    await engine.pass(4 * secondMs);
    assert.deepEqual([cut.worker.tasksInHand, other.worker.tasksInHand], [0, 1]);
  });

  test("a stop does not wait for polls: asking again is free", async () => {
    const vendor = createVendor({ submit: running(1_000), poll: silent() });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start();
    await engine.run(() => vendor.countOf("poll") === 1);
    await life.stop();
    vendor.always({ poll: delivered() });
    await engine.start();
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).status, "completed");
  });

  test("a database that is away again and again is never the task's fault", async () => {
    const vendor = createVendor({ resend: "safe" });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start();
    for (let outage = 1; outage <= 7; outage += 1) {
      vendor.onSubmit(watched(async () => life.cutOff(true), failing("refused")));
      await engine.run(() => vendor.countOf("submit") === outage);
      await engine.pass(secondMs);
      life.cutOff(false);
    }
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).status, "completed");
    assert.equal(new Set(vendor.submitted).size, 1);
  });

  test("a worker that is not sure of its lease sends nothing until it is, and then goes on", async () => {
    const vendor = createVendor({ submit: running(1_000), poll: running(1_000) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start({ another: true });
    await engine.run(() => vendor.countOf("poll") === 5);
    life.cutOff(true);
    await engine.pass(13 * secondMs);
    const polls = vendor.countOf("poll");
    await engine.pass(3 * secondMs);
    assert.equal(vendor.countOf("poll"), polls);
    assert.ok(16 * secondMs < deadAfterMs);
    life.cutOff(false);
    vendor.always({ poll: delivered() });
    await engine.untilEnded(id, 90 * secondMs);
    assert.equal((await engine.read(id)).status, "completed");
    assert.equal(vendor.countOf("submit"), 1);
    await engine.checkLedger();
  });

  test("a task whose run failed while the database was away is given back when it is there again", async () => {
    const vendor = createVendor({ resend: "safe" });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start();
    vendor.onSubmit(watched(async () => life.cutOff(true), mistaken()));
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.pass(5 * secondMs);
    assert.equal((await readQueue(engine))[0]?.state, "claimed");
    life.cutOff(false);
    await engine.untilEnded(id, 20 * secondMs);
    assert.equal((await engine.read(id)).status, "completed");
  });

  test("a result that could not be committed while the database was away is not lost", async () => {
    const vendor = createVendor({ submit: running(1_000) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start();
    vendor.onPoll(watched(async () => life.cutOff(true), delivered()));
    await engine.run(() => vendor.countOf("poll") === 1);
    await engine.pass(8 * secondMs);
    life.cutOff(false);
    await engine.untilEnded(id, 30 * secondMs);
    assert.equal((await engine.read(id)).status, "completed");
    assert.equal(vendor.countOf("submit"), 1);
    assert.deepEqual(await engine.balance(), { available: 100_000_000 - testPrice, held: 0 });
  });

  test("a handle that could not be committed while the database was away is not lost either", async () => {
    const vendor = createVendor({ resend: "never", poll: delivered() });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start();
    vendor.onSubmit(watched(async () => life.cutOff(true), running(1_000)));
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.pass(8 * secondMs);
    life.cutOff(false);
    await engine.untilEnded(id, 30 * secondMs);
    assert.equal((await engine.read(id)).status, "completed");
    assert.equal(vendor.countOf("submit"), 1);
  });

  test("a worker may get back the task it has lost: the end of the old run is not that of the new", async () => {
    const vendor = createVendor({ resend: "safe" });
    const old = held();
    vendor.onSubmit(old, running(60_000));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start({ another: true });
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.rest();
    life.cutOff(true);
    const observer = createRescue(engine.deps);
    await observer.start();
    await engine.run(async () => (await loadWorkers(engine.db.read)).length === 0);
    life.cutOff(false);
    await engine.run(() => vendor.countOf("submit") === 2);
    await engine.rest();
    old.release(delivered());
    await engine.rest();
    assert.equal(life.worker.tasksInHand, 1);
    await engine.untilEnded(id);
    assert.equal((await engine.attempts(id)).length, 1);
    await engine.checkLedger();
    await observer.stop();
  });

  test("two workers share a lane without running a task twice", async () => {
    await using engine = await open();
    const ids = await Promise.all(Array.from({ length: 20 }, () => engine.submit()));
    await engine.start();
    await engine.start({ another: true });
    for (const id of ids) await engine.untilEnded(id);
    assert.equal(engine.vendor.countOf("submit"), 20);
    assert.deepEqual(await engine.balance(), { available: 100_000_000 - 20 * testPrice, held: 0 });
    await engine.checkLedger();
  });

  test("a deaf vendor's call does not keep the worker from its other tasks", async () => {
    await using engine = await open();
    engine.vendor.onSubmit(deaf());
    await engine.submit();
    await engine.start();
    await engine.run(() => engine.vendor.countOf("submit") === 1);
    const id = await engine.submit();
    await engine.untilEnded(id, 2 * secondMs);
  });
});
