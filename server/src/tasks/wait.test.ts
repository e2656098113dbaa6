import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { createVendor, running } from "../../test/support/vendor.ts";
import { dayMs, minuteMs, secondMs } from "../lib/time.ts";
import { createLinks } from "../storage/links.ts";
import { createReader } from "./read.ts";
import type { ReadInput, ReadTask, TaskText } from "./read.ts";
import { createWaiters } from "./wait.ts";
import { createWatch } from "./watch.ts";
import type { Watch } from "./watch.ts";

type Setup = {
  waiters: ReturnType<typeof createWaiters>;
  /** Ids of the tasks that were read, in order. */
  reads: string[];
};

/** Waiters over a reader of their own; with another watch they are never woken, as in another process. */
function createSetup(engine: TestEngine, watch: Watch = engine.deps.watch): Setup {
  const reads: string[] = [];
  const reader = createReader({
    ...engine.deps,
    watch,
    links: createLinks({ secret: Buffer.alloc(32, 9), clock: engine.clock }),
    retentionMs: dayMs,
    publicUrl: () => "http://darkroom.test",
  });
  const readTask: ReadTask = (input) => {
    reads.push(input.taskId);
    return reader(input);
  };
  return { waiters: createWaiters({ ...engine.deps, watch, readTask }), reads };
}

function inputOf(engine: TestEngine, taskId: string): ReadInput {
  return { ...engine.caller, taskId, language: "en" };
}

function statusOf(task: TaskText | null): string {
  return task === null ? "none" : (JSON.parse(task.json) as { status: string }).status;
}

onEachEngine((_name, open) => {
  test("a wait is over as soon as the task has ended, and leaves nothing behind", async () => {
    const vendor = createVendor({ submit: running(2_000) });
    await using engine = await open({ vendors: [vendor] });
    const { waiters } = createSetup(engine);
    const id = await engine.submit();
    let told = "";
    void waiters.waitForTask(inputOf(engine, id), { waitMs: minuteMs }).then((task) => {
      told = statusOf(task);
    });
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    assert.equal(told, "");
    await engine.untilEnded(id);
    await engine.rest();
    assert.equal(told, "completed");
    assert.equal(waiters.waiting, 0);
  });

  test("when time is up a wait gives the task as it stands", async () => {
    await using engine = await open();
    const { waiters } = createSetup(engine);
    const id = await engine.submit();
    const waited = waiters.waitForTask(inputOf(engine, id), { waitMs: 3 * secondMs });
    await engine.pass(3 * secondMs);
    assert.equal(statusOf(await waited), "pending");
    assert.equal(waiters.waiting, 0);
  });

  test("a wait for a newer revision is over at the first change", async () => {
    const vendor = createVendor({ submit: running(minuteMs) });
    await using engine = await open({ vendors: [vendor] });
    const { waiters } = createSetup(engine);
    const id = await engine.submit();
    const options = { waitMs: minuteMs, revision: 1 };
    const waited = waiters.waitForTask(inputOf(engine, id), options);
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    assert.equal(statusOf(await waited), "processing");
  });

  test("whoever leaves is forgotten at once, and a task that has ended is not waited for", async () => {
    await using engine = await open();
    const { waiters } = createSetup(engine);
    const id = await engine.submit();
    const leaving = new AbortController();
    const options = { waitMs: minuteMs, signal: leaving.signal };
    const waited = waiters.waitForTask(inputOf(engine, id), options);
    assert.equal(waiters.waiting, 1);
    leaving.abort();
    assert.equal(waiters.waiting, 0);
    assert.equal(statusOf(await waited), "pending");
    assert.equal(statusOf(await waiters.waitForTask(inputOf(engine, id), options)), "pending");
    await engine.cancel(id);
    const late = await waiters.waitForTask(inputOf(engine, id), { waitMs: minuteMs });
    assert.equal(statusOf(late), "cancelled");
    const none = await waiters.waitForTask(inputOf(engine, "task_none"), { waitMs: minuteMs });
    assert.equal(none, null);
    assert.equal(waiters.waiting, 0);
  });

  test("followers of one view share its reads, and see every state to the end", async () => {
    const vendor = createVendor({ submit: running(2_000) });
    await using engine = await open({ vendors: [vendor] });
    const { waiters, reads } = createSetup(engine);
    const id = await engine.submit();
    const seen = Array.from({ length: 50 }, (): string[] => []);
    for (const list of seen) {
      waiters.followTask(inputOf(engine, id), (task) => list.push(statusOf(task)));
    }
    await engine.rest();
    assert.equal(waiters.waiting, 1);
    const before = reads.length;
    await engine.start();
    await engine.untilEnded(id);
    await engine.rest();
    for (const list of seen) {
      assert.equal(list[0], "pending");
      assert.equal(list.at(-1), "completed");
      assert.ok(list.includes("processing"));
    }
    assert.ok(reads.length - before < 25, `${reads.length - before} reads for 50 followers`);
    assert.equal(waiters.waiting, 0);
  });

  test("a change that nobody told of is noticed within some seconds", async () => {
    await using engine = await open();
    const { waiters, reads } = createSetup(engine, createWatch());
    const ids = [await engine.submit(), await engine.submit()];
    const seen = new Map<string, string>();
    for (const id of ids) {
      waiters.followTask(inputOf(engine, id), (task) => seen.set(id, statusOf(task)));
    }
    await engine.rest();
    const before = reads.length;
    await engine.pass(4 * secondMs);
    assert.equal(reads.length, before, "what has not changed is not read again");
    await engine.cancel(ids[0]!);
    await engine.pass(4 * secondMs);
    assert.deepEqual(
      ids.map((id) => seen.get(id)),
      ["cancelled", "pending"],
    );
    assert.equal(waiters.waiting, 1);
  });

  test("when the waiting is stopped everybody is answered with the task as it stands", async () => {
    await using engine = await open();
    const { waiters } = createSetup(engine);
    const id = await engine.submit();
    const waited = waiters.waitForTask(inputOf(engine, id), { waitMs: minuteMs });
    let last = "";
    waiters.followTask(inputOf(engine, id), (task) => (last = statusOf(task)));
    await engine.rest();
    waiters.stop();
    assert.equal(statusOf(await waited), "pending");
    assert.equal(last, "none");
    const late = await waiters.waitForTask(inputOf(engine, id), { waitMs: minuteMs });
    assert.equal(statusOf(late), "pending");
    assert.equal(waiters.waiting, 0);
    assert.equal(engine.clock.waiting, 0);
  });
});
