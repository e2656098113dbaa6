/** Drives an adapter as the task engine does, and checks the shape of every answer on the way. */
import assert from "node:assert/strict";

import type {
  Adapter,
  Call,
  Job,
  JobHandle,
  ReferencePicture,
  Step,
} from "../../src/providers/adapter.ts";

/** When every job of the suite begins, in unix milliseconds. */
export const startMs = 1_750_000_000_000;
const pollsMax = 500;
const handleBytesMax = 8_192;
const pollAfterMsMax = 60_000;

/** A call as the engine makes it: its time stands still while it lasts. */
export function callAt(now: number, attemptId: string): Call {
  return { attemptId, now, signal: new AbortController().signal };
}

/** A stored reference of these bytes. */
export function referenceOf(
  bytes: Uint8Array,
  facts: Partial<Omit<ReferencePicture, "read" | "byteLength">> = {},
): ReferencePicture {
  return {
    contentType: "image/png",
    width: 64,
    height: 64,
    ...facts,
    byteLength: bytes.length,
    read: async () => bytes,
  };
}

type Done = Extract<Step, { status: "done" }>;
type Seen = (handle: JobHandle, now: number) => void;

/** Drives a job to its end as the engine does, with the clock moved instead of waited for. */
export async function finish(
  adapter: Adapter,
  job: Job,
  attemptId: string,
  seen: Seen = () => {},
): Promise<Done> {
  const step = await submit(adapter, job, callAt(startMs, attemptId));
  return waitFor(adapter, job, { step, attemptId, seen });
}

/** Polls until the work is done. */
export async function waitFor(
  adapter: Adapter,
  job: Job,
  from: { step: Step; attemptId: string; seen?: Seen },
): Promise<Done> {
  let { step } = from;
  let now = startMs;
  for (let polls = 0; step.status === "running"; polls++) {
    assert.ok(polls < pollsMax, `the work is not done after ${pollsMax} polls`);
    now += Math.max(1, step.pollAfterMs);
    from.seen?.(step.handle, now);
    step = await poll(adapter, job, step.handle, callAt(now, from.attemptId));
  }
  return step;
}

/** As `finish`, but every call is made by another adapter, with the handle as the database keeps it. */
export async function finishAcrossRestarts(
  create: () => Adapter,
  job: Job,
  attemptId: string,
): Promise<Done> {
  let step = await submit(create(), job, callAt(startMs, attemptId));
  let now = startMs;
  for (let polls = 0; step.status === "running"; polls++) {
    assert.ok(polls < pollsMax, `the work is not done after ${pollsMax} polls`);
    now += Math.max(1, step.pollAfterMs);
    const stored = JSON.parse(JSON.stringify(step.handle)) as JobHandle;
    assert.deepEqual(stored, step.handle, "the handle does not survive JSON");
    step = await poll(create(), job, stored, callAt(now, attemptId));
  }
  return step;
}

/** One submit, with its answer checked. */
export async function submit(adapter: Adapter, job: Job, call: Call): Promise<Step> {
  const step = await adapter.submit(freeze(job), call);
  assertStep(adapter, job, step);
  return step;
}

/** One poll, with its answer checked. */
export async function poll(
  adapter: Adapter,
  job: Job,
  handle: JobHandle,
  call: Call,
): Promise<Step> {
  assert.ok(adapter.poll !== undefined, "submit left work running, and there is no poll");
  const step = await adapter.poll(freeze(job), handle, call);
  assertStep(adapter, job, step);
  return step;
}

/** An adapter that writes to its job would fail: the engine builds it once and uses it again. */
function freeze(job: Job): Job {
  Object.freeze(job.parameters);
  Object.freeze(job.slots);
  Object.freeze(job.references);
  return Object.freeze(job);
}

function assertStep(adapter: Adapter, job: Job, step: Step): void {
  if (step.status === "running") {
    assert.ok(adapter.poll !== undefined, "submit left work running, and there is no poll");
    assert.ok(Buffer.byteLength(JSON.stringify(step.handle)) <= handleBytesMax);
    const { pollAfterMs, progress } = step;
    assert.ok(pollAfterMs >= 0 && pollAfterMs <= pollAfterMsMax, `pollAfterMs is ${pollAfterMs}`);
    if (progress !== undefined) {
      assert.ok(
        Number.isInteger(progress) && progress >= 0 && progress < 100,
        `progress ${progress}`,
      );
    }
    return;
  }
  assert.equal(step.pictures.length, job.slots.length, "not one entry a slot");
  for (const [figure, value] of Object.entries(step.usage)) {
    if (figure === "quality") assert.equal(typeof value, "string");
    else
      assert.ok(Number.isSafeInteger(value) && Number(value) >= 0, `usage ${figure} is ${value}`);
  }
}
