import assert from "node:assert/strict";
import { test } from "node:test";

import sharp from "sharp";

import { callAt, finish, startMs } from "../../test/contracts/adapter-driver.ts";
import { emulatedBflKey, startBflEmulator } from "../../test/emulators/bfl.ts";
import type { Fault } from "../../test/emulators/fault-plan.ts";
import tasks from "../../test/fixtures/bfl/tasks.json" with { type: "json" };
import { isFailure } from "../../test/support/adapters.ts";
import { download, fluxJob, refusalOf, setUpBfl, urlOf } from "../../test/support/bfl.ts";
import { ProviderError } from "./adapter.ts";
import type { Step } from "./adapter.ts";
import { mayPoll } from "./bfl.ts";

test("the handle has all that another process needs, and the key is not in it", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  const { handle, pollAfterMs } = running(
    await adapter.submit(fluxJob(), callAt(startMs, "att_1")),
  );
  const { id, credits } = emulator.works[0]!;
  assert.deepEqual(handle, {
    id,
    pollingUrl: `${emulator.origin}/eu2/v1/get_result?id=${id}`,
    cost: credits,
    submittedAt: startMs,
  });
  assert.equal(pollAfterMs, 500);
});

test("work is asked for at the place that took it, word for word, with the key", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  const done = await finish(adapter, fluxJob(), "att_1");
  const [, poll] = emulator.requests;
  assert.deepEqual([poll!.method, poll!.path], ["GET", pathOf(emulator.works[0]!.id)]);
  assert.equal(poll!.headers["x-key"], emulatedBflKey);
  assert.deepEqual(emulator.billed, emulator.works);
  const { width, height, format } = await sharp(await download(done)).metadata();
  assert.deepEqual([width, height, format], [1_440, 1_440, "png"]);
});

test("a submit that names no polling URL is asked for under its id", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  emulator.set({ submit: { kind: "refuse", reply: { status: 200, body: { id: "a/b" } } } });
  const { handle } = running(await adapter.submit(fluxJob(), callAt(startMs, "att_1")));
  assert.equal(handle["pollingUrl"], `${emulator.origin}/v1/get_result?id=a%2Fb`);
});

test("the key goes to the vendor's hosts over https and to the configured origin, and nowhere else", () => {
  const base = "http://127.0.0.1:4000";
  const allowed = [
    "https://api.eu2.bfl.ai/v1/get_result?id=1",
    "https://API.BFL.AI:443/v1/get_result?id=1",
    "http://127.0.0.1:4000/elsewhere",
    "http://2130706433:4000/",
  ];
  const foreign = [
    "http://api.eu2.bfl.ai/v1/get_result?id=1",
    "https://api.bfl.ai:8443/",
    "https://api.bfl.ai.example.com/",
    "https://notbfl.ai/",
    "https://bfl.ai.evil/",
    "https://example.com/?x=.bfl.ai",
    "https://example.com#.bfl.ai",
    "https://api.bfl.ai@example.com/",
    "https://user:word@api.bfl.ai/",
    "https://example.com\\.bfl.ai/",
    "http://127.0.0.1:4001/",
    "https://127.0.0.1:4000/",
    "http://169.254.169.254/",
    "ftp://api.bfl.ai/",
    "//api.bfl.ai/",
    "",
  ];
  for (const url of allowed) assert.equal(mayPoll(url, base), true, url);
  for (const url of foreign) assert.equal(mayPoll(url, base), false, url);
});

test("a polling URL on a foreign host is never asked, neither fresh nor from the database", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  const thief = await startBflEmulator();
  context.after(thief.stop);
  emulator.set({ pollingOrigin: thief.origin });
  await assert.rejects(adapter.submit(fluxJob(), callAt(startMs, "att_1")), isFailure("garbled"));
  const pollingUrl = `${thief.origin}/eu2/v1/get_result?id=1`;
  const handle = { id: "1", pollingUrl, cost: null, submittedAt: startMs };
  await assert.rejects(
    adapter.poll!(fluxJob(), handle, callAt(startMs, "att_1")),
    isFailure("garbled"),
  );
  assert.equal(thief.requests.length, 0);
});

for (const { name, status, body, headers, ...expected } of tasks) {
  test(`poll: ${name}`, async (context) => {
    const { adapter, emulator } = await setUpBfl(context);
    const { handle } = running(await adapter.submit(fluxJob(), callAt(startMs, "att_1")));
    emulator.set({ poll: refusalOf({ status, body, headers }) });
    const asked = adapter.poll!(fluxJob(), handle, callAt(startMs + 60_000, "att_1"));
    if (expected.kind === undefined) {
      const { progress } = running(await asked);
      assert.equal(progress, expected.ends.progress);
      return;
    }
    const failure = await failureOf(asked);
    assert.equal(failure.error.kind, expected.kind);
    assert.equal(failure.error.taskError, expected.taskError);
    assert.equal(failure.error.retryAfterMs, expected.retryAfterMs);
    // A passing failure is thrown; the engine would ask a work again for ever that has ended in one.
    if (expected.final === true) assert.equal(failure.isThrown, false);
    else if (expected.kind === "unavailable") assert.equal(failure.isThrown, true);
  });
}

test("a task is not missed for the first 15 seconds, whatever the status of the answer", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  const { handle } = running(await adapter.submit(fluxJob(), callAt(startMs, "att_1")));
  for (const status of [200, 404]) {
    const body = { id: "1", status: "Task not found" };
    emulator.set({ poll: { kind: "refuse", reply: { status, body } } });
    running(await adapter.poll!(fluxJob(), handle, callAt(startMs + 14_999, "att_1")));
    await assert.rejects(
      adapter.poll!(fluxJob(), handle, callAt(startMs + 15_000, "att_1")),
      isFailure("vanished"),
    );
  }
});

test("work that its region forgets for a moment is delivered", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  emulator.set({ pollsUnknown: 2 });
  const done = await finish(adapter, fluxJob(), "att_1");
  assert.equal(done.pictures[0]!.kind, "url");
});

test("questions become rarer as the work grows older, and are never more than 5 s apart", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  emulator.set({ outcome: "stuck" });
  const { handle } = running(await adapter.submit(fluxJob(), callAt(startMs, "att_1")));
  const pauses: number[] = [];
  for (const ageMs of [1_000, 10_000, 30_000, 600_000]) {
    const step = await adapter.poll!(fluxJob(), handle, callAt(startMs + ageMs, "att_1"));
    pauses.push(running(step).pollAfterMs);
    assert.deepEqual(running(step).handle, handle);
  }
  assert.deepEqual(pauses, [500, 1_000, 3_000, 5_000]);
});

test("the cost is that of the finished task, else that of the submit, else not told", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
  const sample = `${emulator.origin}/results/1`;
  const costs: unknown[] = [];
  for (const [submitted, ready] of [
    [10, 7.25],
    [10, null],
    [10, undefined],
    [undefined, 0.0001],
    [null, null],
    ["ten", -1],
  ]) {
    const pollingUrl = `${emulator.origin}/v1/get_result?id=1`;
    emulator.set({
      submit: answerOf({ id: "1", polling_url: pollingUrl, cost: submitted }),
      poll: answerOf({ id: "1", status: "Ready", cost: ready, result: { sample } }),
    });
    costs.push((await finish(adapter, fluxJob(), "att_1")).usage.cost);
  }
  assert.deepEqual(costs, [72_500, 100_000, 100_000, 1, undefined, undefined]);
});

test("a link that expired is replaced when the work is asked for again", async (context) => {
  let now = startMs;
  const { adapter } = await setUpBfl(context, { now: () => now });
  const job = fluxJob();
  const { handle } = running(await adapter.submit(job, callAt(startMs, "att_1")));
  const done = await finish(adapter, job, "att_2");
  assert.equal((await fetch(urlOf(done))).status, 200);
  now += 600_000;
  assert.equal((await fetch(urlOf(done))).status, 403);
  let step: Step = { status: "running", handle, pollAfterMs: 0 };
  for (let polls = 0; step.status === "running" && polls < 9; polls++) {
    step = await adapter.poll!(job, handle, callAt(now, "att_1"));
  }
  assert.equal((await fetch(urlOf(step))).status, 200);
});

test("pictures may come from the vendor's hosts and from the configured one", async (context) => {
  const { adapter } = await setUpBfl(context);
  assert.deepEqual(adapter.resultHosts, ["*.bfl.ai", "127.0.0.1"]);
});

function pathOf(id: string): string {
  return `/eu2/v1/get_result?id=${id}`;
}

function answerOf(body: object): Fault {
  return { kind: "refuse", reply: { status: 200, body } };
}

function running(step: Step): Extract<Step, { status: "running" }> {
  assert.ok(step.status === "running");
  return step;
}

async function failureOf(
  asked: Promise<Step>,
): Promise<{ error: ProviderError; isThrown: boolean }> {
  try {
    const step = await asked;
    assert.ok(step.status === "done");
    const [picture] = step.pictures;
    assert.ok(picture?.kind === "failed");
    return { error: picture.failure, isThrown: false };
  } catch (error) {
    assert.ok(error instanceof ProviderError, String(error));
    return { error, isThrown: true };
  }
}
