import assert from "node:assert/strict";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";

import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import {
  brokenPicture,
  createVendor,
  deaf,
  delivered,
  failing,
  handleOf,
  held,
  mistaken,
  picture,
  running,
  silent,
  watched,
} from "../../test/support/vendor.ts";
import type { Answer } from "../../test/support/vendor.ts";
import { createPictureProcesses } from "../images/processes.ts";
import { createLog } from "../lib/log.ts";
import { minuteMs, secondMs, systemClock } from "../lib/time.ts";

const funds = 100_000_000;

/** The task has ended with `code`, and nobody paid. */
async function assertFailed(engine: TestEngine, taskId: string, code: string): Promise<void> {
  const task = await engine.read(taskId);
  assert.equal(task.status, "failed");
  assert.equal(task.error?.code, code);
  assert.equal(task.cost, 0);
  assert.deepEqual(await engine.balance(), { available: funds, held: 0 });
  await engine.checkLedger();
}

async function assertCompleted(engine: TestEngine, taskId: string, pictures = 1): Promise<void> {
  const task = await engine.read(taskId);
  assert.equal(task.status, "completed", JSON.stringify(task.error));
  assert.equal(task.result?.images.length, pictures);
  const captured = pictures * testPrice;
  assert.deepEqual(await engine.balance(), { available: funds - captured, held: 0 });
  await engine.checkLedger();
}

onEachEngine((_name, open) => {
  test("a picture that comes at once ends the task, stored and charged once", async () => {
    await using engine = await open();
    await engine.start();
    const id = await engine.submit();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    assert.equal(engine.vendor.countOf("submit"), 1);
    const [attempt] = await engine.attempts(id);
    assert.equal(attempt?.state, "done");
    assert.equal(attempt?.upstreamModel, `up-${(await engine.find(id)).request.model}`);
  });

  test("an attempt is durable, and its task processing, before the vendor is called", async () => {
    await using engine = await open();
    const id = await engine.submit();
    let seen = 0;
    engine.vendor.onSubmit(
      watched(async (_job, { attemptId }) => {
        seen += 1;
        assert.equal(engine.unsynced(), 0);
        const [attempt] = await engine.attempts(id);
        assert.equal(attempt?.id, attemptId);
        assert.deepEqual([attempt?.state, attempt?.handle], ["sent", null]);
        assert.equal((await engine.find(id)).state, "processing");
      }, delivered()),
    );
    await engine.start();
    await engine.untilEnded(id);
    assert.equal(seen, 1);
    await assertCompleted(engine, id);
  });

  test("a handle is durable before the first poll, and so is one that changes", async () => {
    // Soon enough that no heartbeat, which nobody syncs, comes between.
    const vendor = createVendor({ submit: running(100) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const seen: unknown[] = [];
    const look = watched(
      async () => {
        assert.equal(engine.unsynced(), 0);
        const [attempt] = await engine.attempts(id);
        seen.push([attempt?.state, attempt?.handle]);
      },
      { give: () => ({ status: "running", handle: { moved: true }, pollAfterMs: 100 }) },
    );
    vendor.onPoll(look, look, delivered());
    await engine.start();
    await engine.untilEnded(id);
    const [attempt] = await engine.attempts(id);
    const first = handleOf({ attemptId: attempt!.id });
    assert.deepEqual(seen, [
      ["running", first],
      ["running", { moved: true }],
    ]);
    assert.deepEqual(
      vendor.calls.flatMap(({ verb, handle }) => (verb === "poll" ? [handle] : [])),
      [first, { moved: true }, { moved: true }],
    );
  });

  test("a vendor is polled when it asked to be, and not before", async () => {
    const vendor = createVendor({ submit: running(7_000) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    vendor.onPoll(running(2_000), delivered());
    await engine.start();
    await engine.untilEnded(id);
    const times = vendor.calls.map(({ at }) => at);
    const pauses = times.slice(1).map((at, index) => at - times[index]!);
    assert.deepEqual(pauses, [7_000, 2_000]);
  });

  test("after a crash a handle is polled on, and nothing is submitted again", async () => {
    const vendor = createVendor({ submit: running(), poll: running(5_000) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("poll") === 1);
    first.crash();
    vendor.always({ poll: delivered() });
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    assert.equal(vendor.countOf("submit"), 1);
    assert.equal((await engine.attempts(id)).length, 1);
  });

  test("after a crash during a submit it is sent again under the same attempt where that is safe", async () => {
    const vendor = createVendor({ resend: "safe" });
    vendor.onSubmit(deaf());
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    first.crash();
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    assert.equal(vendor.submitted.length, 2);
    assert.equal(new Set(vendor.submitted).size, 1);
    assert.equal((await engine.attempts(id)).length, 1);
  });

  test("after a crash during a submit that must not be repeated the outcome is unknown, and free", async () => {
    const other = createVendor({ name: "other", priority: -1 });
    const vendor = createVendor({ resend: "never" });
    vendor.onSubmit(deaf());
    await using engine = await open({ vendors: [vendor, other] });
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    first.crash();
    await engine.start();
    await engine.untilEnded(id);
    await assertFailed(engine, id, "outcome_unknown");
    assert.equal(vendor.submitted.length, 1);
    assert.equal(other.submitted.length, 0);
    assert.equal((await engine.attempts(id))[0]?.state, "unknown");
  });

  test("a resend after a long time down has the channel's whole time again", async () => {
    const timeoutMs = 60_000;
    // Takes twenty seconds from its submit, whatever it is asked meanwhile.
    const poll: Answer = {
      give: (job, call, handle) => {
        const isDone = call.now - vendor.calls[1]!.at >= 20_000;
        return (isDone ? delivered() : running()).give(job, call, handle);
      },
    };
    const vendor = createVendor({ resend: "safe", timeoutMs, poll });
    vendor.onSubmit(deaf(), running());
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    first.crash();
    await engine.pass(timeoutMs + secondMs);
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
  });

  test("work that was finished while the engine was down past its time is still fetched", async () => {
    const timeoutMs = 60_000;
    const vendor = createVendor({ submit: running(5_000), timeoutMs });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    first.crash();
    await engine.pass(timeoutMs * 2);
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    assert.equal(vendor.countOf("poll"), 1);
  });

  test("a stop waits for submits under way and keeps their handles, also when other slots only wait", async () => {
    const vendor = createVendor({ poll: delivered() });
    const answer = held();
    const whole: Answer = {
      hangs: true,
      give: async (job, call, handle) => {
        const step = await answer.give(job, call, handle);
        assert.equal(call.signal.aborted, false);
        return step;
      },
    };
    vendor.onSubmit(running(2_000), whole);
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 2 });
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 2);
    await engine.rest();
    let hasStopped = false;
    const stopped = first.stop().then(() => {
      hasStopped = true;
    });
    await engine.pass(secondMs);
    assert.equal(hasStopped, false);
    answer.release(running(1_000));
    await stopped;
    const attempts = await engine.attempts(id);
    assert.deepEqual(
      attempts.map(({ state }) => state),
      ["running", "running"],
    );
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id, 2);
    assert.equal(vendor.countOf("submit"), 2);
  });

  test("work that is not finished in its channel's time is unknown, and free", async () => {
    const vendor = createVendor({ timeoutMs: 30_000, submit: running(), poll: running() });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    const begun = engine.clock.now();
    await engine.untilEnded(id);
    await assertFailed(engine, id, "outcome_unknown");
    const took = engine.clock.now() - begun;
    assert.ok(took >= 30_000 && took <= 33_000, `${took} ms`);
    assert.equal((await engine.attempts(id))[0]?.state, "unknown");
  });

  test("a submit without an answer is called off at the end of its channel's time", async () => {
    const vendor = createVendor({ timeoutMs: 30_000, submit: silent() });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.pass(29_000);
    assert.equal((await engine.find(id)).state, "processing");
    await engine.pass(2_000);
    await assertFailed(engine, id, "outcome_unknown");
    assert.equal(vendor.countOf("submit"), 1);
  });

  test("a poll that fails in passing is repeated with growing pauses", async () => {
    const vendor = createVendor({ submit: running() });
    vendor.onPoll(failing("unavailable"), failing("lost"), failing("rate_limited"), delivered());
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    const times = vendor.calls.map(({ at }) => at);
    const pauses = times.slice(1).map((at, index) => at - times[index]!);
    assert.deepEqual(pauses, [1_000, 2_000, 4_000, 8_000]);
    assert.equal(vendor.countOf("submit"), 1);
  });

  test("a poll whose failure is final ends the attempt", async () => {
    for (const [kind, code] of [
      ["refused", "content_policy_violation"],
      ["bad_request", "provider_rejected"],
      ["vanished", "outcome_unknown"],
      ["garbled", "outcome_unknown"],
    ] as const) {
      const vendor = createVendor({ submit: running(), poll: failing(kind) });
      await using engine = await open({ vendors: [vendor] });
      const id = await engine.submit();
      await engine.start();
      await engine.untilEnded(id);
      await assertFailed(engine, id, code);
      assert.equal(vendor.countOf("poll"), 1);
    }
  });

  test("bytes that are no picture are no_image, and free", async () => {
    const vendor = createVendor({ submit: delivered([brokenPicture()]) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await assertFailed(engine, id, "no_image");
    assert.equal(vendor.countOf("submit"), 1);
  });

  test("a picture that storage cannot take is kept until it can, and the vendor asked once", async () => {
    await using engine = await open();
    await rm(engine.folder, { recursive: true });
    await writeFile(engine.folder, "a file where the folder should be");
    const id = await engine.submit();
    await engine.start();
    await engine.run(() => engine.vendor.countOf("submit") === 1);
    await engine.pass(20_000);
    assert.equal((await engine.find(id)).state, "processing");
    await rename(engine.folder, `${engine.folder}.away`);
    await mkdir(engine.folder);
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    assert.equal(engine.vendor.countOf("submit"), 1);
    await rm(`${engine.folder}.away`);
  });

  test("pictures wait their turn when more come at once than can be looked at", async () => {
    const pictures = createPictureProcesses({
      clock: systemClock,
      log: createLog("silent"),
      processesMax: 1,
      waitingMax: 0,
    });
    try {
      const vendor = createVendor();
      const answers = Array.from({ length: 12 }, () => held());
      vendor.onSubmit(...answers);
      await using engine = await open({ vendors: [vendor], pictures });
      const ids = [];
      for (const _ of [1, 2, 3]) ids.push(await engine.submit({ n: 4 }));
      await engine.start();
      await engine.run(() => vendor.countOf("submit") === 12);
      for (const answer of answers) answer.release(delivered());
      for (const id of ids) await engine.untilEnded(id);
      for (const id of ids) assert.equal((await engine.read(id)).result?.images.length, 4);
      assert.equal(vendor.countOf("submit"), 12);
      await engine.checkLedger();
    } finally {
      await pictures.close();
    }
  });

  test("fewer pictures than slots leave the others without an image; the rest is charged", async () => {
    const vendor = createVendor({ picturesMax: 4, submit: delivered([picture(0), picture(1)]) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 3 });
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id, 2);
    const { result } = await engine.read(id);
    assert.deepEqual(
      result?.errors?.map(({ index, code }) => [index, code]),
      [[2, "no_image"]],
    );
  });

  test("a run that fails for a reason of ours is begun again, and after five claims ended", async () => {
    const vendor = createVendor({ resend: "safe", submit: mistaken() });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id, minuteMs);
    await assertFailed(engine, id, "internal_error");
    // The first claim committed a step, the attempt itself, and so does not count.
    assert.equal(vendor.countOf("submit"), 5);
    assert.equal(new Set(vendor.submitted).size, 1);
  });
});
