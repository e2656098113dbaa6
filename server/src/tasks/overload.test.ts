import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestClock } from "../../test/support/clock.ts";
import { onEachEngine, testModel } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import type { DiskRoom } from "../lib/disk-room.ts";
import { AppError } from "../lib/errors.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { createOverload } from "./overload.ts";
import { laneOf } from "./task.ts";

const lane = laneOf(testModel, "live");
const enough = { free: 2 ** 39 };

/** An overload that has measured once, with numbers that a test may change. */
async function setup(engine: TestEngine, deadlineMs = 30 * minuteMs) {
  const load: { delayMs: number; room: Partial<DiskRoom> & { free: number } } = {
    delayMs: 0,
    room: enough,
  };
  const overload = createOverload({
    ...engine.deps,
    readLoopDelay: () => load.delayMs,
    readDiskRoom: () => Promise.resolve({ total: 2 ** 40, ...load.room }),
    deadlineMs,
  });
  assert.equal(overload.checkBacklog(lane, "acc_1"), null);
  const measure = async () => {
    await engine.clock.untilWaiting(1);
    await engine.clock.advance(secondMs);
    await engine.clock.untilWaiting(1);
  };
  overload.start();
  return { overload, load, measure, [Symbol.asyncDispose]: () => overload.stop() };
}

function isOverloaded(error: unknown): boolean {
  assert.ok(error instanceof AppError, String(error));
  assert.equal(error.reason, "overloaded");
  assert.ok((error.retryAfterSeconds ?? 0) >= 1);
  return true;
}

onEachEngine((_name, open) => {
  test("new work is refused while the disk is nearly full or the event loop late, and then no more", async () => {
    await using engine = await open();
    await using parts = await setup(engine);
    const { overload, load, measure } = parts;
    await measure();
    overload.assertAccepting();
    const small = { free: 2 ** 20 - 1, total: 20 * 2 ** 20 };
    for (const bad of [{ room: { free: 2 ** 30 - 1 } }, { room: small }, { delayMs: 301 }]) {
      Object.assign(load, bad);
      await measure();
      assert.throws(() => overload.assertAccepting(), isOverloaded);
      Object.assign(load, { delayMs: 300, room: { free: 2 ** 30 } });
      await measure();
      overload.assertAccepting();
    }
  });

  test("an account whose tasks have waited for half the deadline is refused, another one is not", async () => {
    await using engine = await open();
    await using parts = await setup(engine, 10 * minuteMs);
    const { overload, measure } = parts;
    await engine.submit();
    const other = await engine.createCaller();
    await measure();
    assert.equal(overload.checkBacklog(lane, engine.caller.accountId), null);
    await engine.clock.advance(5 * minuteMs);
    assert.equal(overload.checkBacklog(lane, other.accountId), null);
    await measure();
    await assert.rejects(
      overload.checkBacklog(lane, engine.caller.accountId) ?? Promise.resolve(),
      isOverloaded,
    );
    await overload.checkBacklog(lane, other.accountId);
    assert.equal(overload.checkBacklog("live:another", engine.caller.accountId), null);
  });

  test("a submit is refused while the server is overloaded, a repeat of a known key is not", async () => {
    // The database is only asked for lanes that were submitted to; here none was.
    const clock = createTestClock();
    const load = { room: enough };
    await using engine = await open({
      overload: {
        assertAccepting: () => overload.assertAccepting(),
        checkBacklog: () => null,
      },
    });
    const overload = createOverload({
      ...engine.deps,
      clock,
      readLoopDelay: () => 0,
      readDiskRoom: () => Promise.resolve({ total: 2 ** 40, ...load.room }),
      deadlineMs: minuteMs,
    });
    const body = { model: testModel, prompt: "fox" };
    const keyed = (key: string) => ({ body, idempotency: { route: "POST /", key, digest: "d" } });
    const { taskId } = await engine.submitTask(keyed("k1"));
    load.room = { free: 0 };
    overload.start();
    await clock.untilWaiting(1);
    await assert.rejects(engine.submitTask({ body }), isOverloaded);
    await assert.rejects(engine.submitTask(keyed("k2")), { reason: "idempotency_unavailable" });
    assert.deepEqual(await engine.submitTask(keyed("k1")), {
      taskId,
      warnings: [],
      replayed: true,
    });
    assert.equal((await engine.read(taskId)).id, taskId);
    await overload.stop();
  });
});
