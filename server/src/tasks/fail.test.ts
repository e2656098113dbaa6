import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";

import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import type { OpenEngine, TestEngine } from "../../test/support/engine.ts";
import {
  createVendor,
  deaf,
  delivered,
  failing,
  held,
  running,
  silent,
} from "../../test/support/vendor.ts";
import type { Vendor } from "../../test/support/vendor.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { failTask } from "./fail.ts";
import { createRescue } from "./rescue.ts";
import { endSlotRow } from "./slot-store.ts";

const funds = 100_000_000;
const deadlineMs = 30 * secondMs;

function openSoon(open: OpenEngine, ...vendors: Vendor[]): Promise<TestEngine> {
  return open(vendors.length === 0 ? { deadlineMs } : { deadlineMs, vendors });
}

/** Ended by its deadline, soon after it, with `pictures` delivered and charged. */
async function assertTimedOut(engine: TestEngine, taskId: string, pictures = 0): Promise<void> {
  const { createdAt, deadlineAt } = await engine.find(taskId);
  assert.equal(deadlineAt, createdAt + deadlineMs);
  const late = engine.clock.now() - deadlineAt;
  assert.ok(late >= 0 && late <= 2_000, `${late} ms after its deadline`);
  const task = await engine.read(taskId);
  const captured = pictures * testPrice;
  assert.deepEqual(await engine.balance(), { available: funds - captured, held: 0 });
  await engine.checkLedger();
  if (pictures > 0) {
    assert.equal(task.status, "completed");
    assert.equal(task.result?.images.length, pictures);
    assert.ok(task.result?.errors?.every(({ code }) => code === "generation_timeout"));
    return;
  }
  assert.deepEqual([task.status, task.error?.code], ["failed", "generation_timeout"]);
}

onEachEngine((_name, open) => {
  test("a task that nobody has begun ends at its deadline, also where no worker is", async () => {
    await using engine = await openSoon(open);
    const id = await engine.submit();
    const rescue = createRescue(engine.deps);
    await rescue.start();
    await engine.pass(deadlineMs - 100);
    assert.equal((await engine.read(id)).status, "pending");
    await engine.untilEnded(id);
    await assertTimedOut(engine, id);
    await rescue.stop();
  });

  test("slots that an earlier version has written with their task end as others do, once", async () => {
    await using engine = await open();
    const id = await engine.submit({ n: 3 });
    await engine.db.transaction(async (tx) => {
      for (let slot = 0; slot < 3; slot += 1) {
        const key = { account_id: engine.caller.accountId, task_id: id, slot };
        const row = { ...key, state: "open", captured: 0, error_json: null } as const;
        await tx.insertInto("slots").values(row).execute();
      }
    });
    await failTask(
      engine.deps,
      { accountId: engine.caller.accountId, id },
      { code: "internal_error" },
    );
    assert.deepEqual(
      (await engine.slots(id)).map(({ slot, state }) => [slot, state]),
      [0, 1, 2].map((slot) => [slot, "failed"]),
    );
    const task = await engine.find(id);
    const end = { slot: 0, state: "done", captured: 0 } as const;
    assert.equal(await engine.db.transaction((tx) => endSlotRow(tx, task, end)), false);
    assert.equal((await engine.slots(id))[0]?.state, "failed");
    await engine.checkLedger();
  });

  test("a task ends at its deadline whatever its vendor does or leaves undone", async () => {
    const vendors = {
      deaf: createVendor({ submit: deaf() }),
      silent: createVendor({ submit: silent() }),
      running: createVendor({ submit: running(), poll: running() }),
      deafToPolls: createVendor({ submit: running(), poll: deaf() }),
      silentToPolls: createVendor({ submit: running(), poll: silent() }),
      unavailable: createVendor({ submit: failing("unavailable", { retryAfterMs: 12_000 }) }),
      away: createVendor({ submit: failing("rate_limited", { retryAfterMs: 20 * minuteMs }) }),
    };
    for (const [name, vendor] of Object.entries(vendors)) {
      await using engine = await openSoon(open, vendor);
      const id = await engine.submit({ n: 2 });
      await engine.start();
      await engine.untilEnded(id, 2 * minuteMs);
      await assertTimedOut(engine, id);
      const attempts = await engine.attempts(id);
      assert.ok(attempts.length > 0, name);
      assert.ok(
        attempts.every(({ state }) => state === "unknown" || state === "failed"),
        name,
      );
    }
  });

  test("a task whose worker died before its deadline ends at it", async () => {
    const vendor = createVendor({ submit: running(), poll: running() });
    await using engine = await openSoon(open, vendor);
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("poll") === 3);
    first.crash();
    const rescue = createRescue(engine.deps);
    await rescue.start();
    await engine.untilEnded(id);
    await assertTimedOut(engine, id);
    await rescue.stop();
  });

  test("pictures at hand at the deadline are delivered and charged, the others fail", async () => {
    const vendor = createVendor();
    vendor.onSubmit(delivered(), silent(), delivered(), deaf());
    await using engine = await openSoon(open, vendor);
    const id = await engine.submit({ n: 4 });
    await engine.start();
    await engine.untilEnded(id);
    await assertTimedOut(engine, id, 2);
  });

  test("a picture that comes after the end is dropped, and the task does not change", async () => {
    const vendor = createVendor();
    const late = held();
    vendor.onSubmit(late);
    await using engine = await openSoon(open, vendor);
    const id = await engine.submit();
    const life = await engine.start();
    await engine.untilEnded(id);
    const before = await engine.read(id);
    late.release(delivered());
    await engine.pass(5 * secondMs);
    assert.deepEqual(await engine.read(id), before);
    assert.equal((await engine.attempts(id))[0]?.state, "unknown");
    assert.equal(life.worker.tasksInHand, 0);
    const files = await readdir(engine.folder, { recursive: true, withFileTypes: true });
    assert.deepEqual(
      files.filter((entry) => entry.isFile()),
      [],
    );
    await assertTimedOutLedger(engine);
  });

  test("a cancellation that was asked for decides the end of a task without a picture", async () => {
    const vendor = createVendor({ submit: deaf() });
    await using engine = await openSoon(open, vendor);
    const id = await engine.submit();
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.cancel(id);
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).status, "cancelled");
    await engine.checkLedger();
  });

  test("readers and the worker hear of the end once, when it is durable", async () => {
    await using engine = await openSoon(open);
    const id = await engine.submit();
    const heard: string[] = [];
    engine.deps.watch.onChanged(id, () => heard.push("changed"));
    engine.deps.watch.onEnded(id, () => {
      heard.push("ended");
      assert.equal(engine.unsynced(), 0);
    });
    const ref = { accountId: engine.caller.accountId, id };
    await failTask(engine.deps, ref, { code: "internal_error" });
    await failTask(engine.deps, ref, { code: "generation_timeout" });
    assert.deepEqual(heard, ["changed", "ended"]);
    assert.equal((await engine.read(id)).error?.code, "internal_error");
    await engine.checkLedger();
  });

  test("workers, cancellations and deadlines that race end a task once", async () => {
    const vendor = createVendor();
    await using engine = await open({ vendors: [vendor] });
    for (let round = 0; round < 5; round += 1) {
      const answers = [held(), held(), held()];
      const before = vendor.countOf("submit");
      vendor.onSubmit(...answers);
      const id = await engine.submit({ n: 3 });
      if (round === 0) await engine.start();
      await engine.run(() => vendor.countOf("submit") === before + 3);
      const ref = { accountId: engine.caller.accountId, id };
      for (const answer of answers) answer.release(delivered());
      await Promise.all([
        engine.cancel(id).catch(() => undefined),
        failTask(engine.deps, ref, { code: "generation_timeout" }),
        failTask(engine.deps, ref, { code: "generation_timeout" }),
      ]);
      await engine.untilEnded(id);
      await engine.rest();
      await engine.checkLedger();
      assert.equal((await engine.balance()).held, 0);
    }
  });
});

async function assertTimedOutLedger(engine: TestEngine): Promise<void> {
  assert.deepEqual(await engine.balance(), { available: funds, held: 0 });
  await engine.checkLedger();
}
