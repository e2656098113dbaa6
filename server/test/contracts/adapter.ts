/**
 * What every adapter must keep, whatever its wire protocol: the promises that the task engine builds
 * on. An adapter's own test file calls `adapterConformance` with a fixture around a real upstream: an
 * emulator that speaks its protocol, or for the sandbox the drawing code.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { ProviderError } from "../../src/providers/adapter.ts";
import type {
  Adapter,
  FailureKind,
  Job,
  JobHandle,
  Picture,
  ReferencePicture,
  Step,
} from "../../src/providers/adapter.ts";
import {
  callAt,
  finish,
  finishAcrossRestarts,
  poll,
  referenceOf,
  startMs,
  submit,
  waitFor,
} from "./adapter-driver.ts";

/** An upstream with nothing in it yet, and adapters that speak to it. Made anew for every test. */
export type AdapterFixture = {
  /** A fresh adapter with the same settings and the same upstream, as after a restart. */
  create: () => Adapter;
  /** A job that the upstream serves with a picture a slot. */
  job: (wishes: Partial<Job>) => Job;
  /** A reference that the upstream accepts. */
  reference: Uint8Array;
  /** True when equal jobs give equal bytes. */
  isDeterministic: boolean;
  /** Keys and other settings that must never leave the adapter but in a request to the upstream. */
  secrets: readonly string[];
  /** Works begun so far, counted by the upstream and not by the adapter; left out when it cannot count. */
  worksBegun?: () => number;
  /** Ways in which the upstream can refuse or break. */
  faults: readonly Fault[];
  /** Ways in which a call can be made to wait for ever. */
  hangs: readonly Hang[];
  close: () => Promise<void>;
};

export type Fault = {
  name: string;
  /** Prepares the upstream and gives the job that meets the fault. */
  arrange: () => Job;
  kind: FailureKind;
  taskError?: string;
  /** True when the upstream said when to come back, and the failure must say it too. */
  hasRetryAfter?: boolean;
};

export type Hang = {
  verb: "submit" | "poll";
  /** Prepares the upstream and gives the job whose call waits. */
  arrange: () => Job;
  /** Resolves once the call waits for the upstream. */
  reached: () => Promise<void>;
  /** What calling it off means: `lost` when the upstream may have begun, else `unavailable`. */
  kind: "lost" | "unavailable";
};

export function adapterConformance(name: string, setup: () => Promise<AdapterFixture>): void {
  async function withFixture(work: (fixture: AdapterFixture) => Promise<void>): Promise<void> {
    const fixture = await setup();
    try {
      await work(fixture);
    } finally {
      await fixture.close();
    }
  }

  describe(`the ${name} adapter keeps the adapter contract`, () => {
    test("it says who it is, how much it takes at once and how it may be repeated", () =>
      withFixture(async ({ create }) => {
        const adapter = create();
        assert.match(adapter.name, /^[a-z][a-z0-9-]*$/);
        assert.ok(Number.isInteger(adapter.picturesMax) && adapter.picturesMax >= 1);
        assert.ok(["safe", "never"].includes(adapter.resend));
        assert.ok(adapter.readsReferencesOn !== "poll" || adapter.poll !== undefined);
      }));

    test("work ends with one entry a slot, for one slot and for as many as it takes", () =>
      withFixture(async ({ create, job }) => {
        const adapter = create();
        for (const count of new Set([1, adapter.picturesMax])) {
          const slots = Array.from({ length: count }, (_, index) => index + 2);
          const done = await finish(adapter, job({ slots }), `att_${count}`);
          assert.equal(done.pictures.length, count);
          for (const picture of done.pictures) assertDelivered(picture);
        }
      }));

    test("a handle is plain JSON, and a fresh adapter goes on with it", () =>
      withFixture(async ({ create, job, isDeterministic }) => {
        const wanted = job({});
        const whole = await finish(create(), wanted, "att_whole");
        const resumed = await finishAcrossRestarts(create, wanted, "att_resumed");
        assert.equal(resumed.pictures.length, whole.pictures.length);
        for (const picture of resumed.pictures) assertDelivered(picture);
        if (isDeterministic) assert.deepEqual(resumed, whole);
      }));

    test("works under way at the same time in one adapter do not mix", () =>
      withFixture(async ({ create, job, isDeterministic }) => {
        const jobs = ["a red house", "a blue boat", "a green hat"].map((prompt) => job({ prompt }));
        const adapter = create();
        const together = await Promise.all(
          jobs.map((wanted, index) => finish(adapter, wanted, `att_together_${index}`)),
        );
        for (const [index, done] of together.entries()) {
          for (const picture of done.pictures) assertDelivered(picture);
          if (!isDeterministic) continue;
          assert.deepEqual(done, await finish(create(), jobs[index]!, `att_alone_${index}`));
        }
      }));

    test("finished work can be asked about again, because the first answer may not have been kept", (context) =>
      withFixture(async ({ create, job }) => {
        const adapter = create();
        const wanted = job({});
        const last: { handle: JobHandle | null; now: number } = { handle: null, now: startMs };
        const done = await finish(adapter, wanted, "att_again", (handle, now) => {
          last.handle = handle;
          last.now = now;
        });
        if (last.handle === null) return context.skip("the upstream answers at once");
        const again = await poll(
          adapter,
          wanted,
          last.handle,
          callAt(last.now + 1_000, "att_again"),
        );
        assert.deepEqual(again, done);
      }));

    test("an adapter that may be repeated makes one work of one attempt", (context) =>
      withFixture(async ({ create, job, worksBegun }) => {
        const adapter = create();
        if (adapter.resend !== "safe") return context.skip("it is never repeated");
        const wanted = job({});
        const first = await finish(adapter, wanted, "att_repeated");
        const begun = worksBegun?.();
        assert.deepEqual(await finish(create(), wanted, "att_repeated"), first);
        assert.equal(worksBegun?.(), begun, "the upstream began a second work");
      }));

    test("references are read only by the call that says it reads them", () =>
      withFixture(async ({ create, job, reference }) => {
        const adapter = create();
        const reads: string[] = [];
        let verb = "none";
        const counted = countReads(reference, () => reads.push(verb));
        const wanted = job({ references: [counted] });
        verb = "submit";
        const first = await submit(adapter, wanted, callAt(startMs, "att_reads"));
        verb = "poll";
        const done = await waitFor(adapter, wanted, { step: first, attemptId: "att_reads" });
        for (const picture of done.pictures) assertDelivered(picture);
        assert.deepEqual([...new Set(reads)], [adapter.readsReferencesOn]);
      }));

    test("the outcome words of the sandbox mean nothing in a live prompt", () =>
      withFixture(async ({ create, job }) => {
        const prompt = "a sign that reads [[fail:no_image]] [[partial:0]] [[slow:500s]]";
        const done = await finish(create(), job({ prompt, test: false }), "att_words");
        for (const picture of done.pictures) assertDelivered(picture);
      }));

    test("a call that was called off before it began reaches nobody", () =>
      withFixture(async ({ create, job, worksBegun }) => {
        const adapter = create();
        const begun = worksBegun?.();
        const off = { ...callAt(startMs, "att_off"), signal: AbortSignal.abort() };
        await assert.rejects(submit(adapter, job({}), off), isFailure("unavailable"));
        assert.equal(worksBegun?.(), begun, "the upstream began a work");
      }));

    test("a call that is called off under way ends at once and says what that means", () =>
      withFixture(async (fixture) => {
        for (const hang of fixture.hangs) await assertCalledOff(fixture, hang);
      }));

    test("a handle of something else is a failure of a known kind", (context) =>
      withFixture(async ({ create, job }) => {
        const adapter = create();
        if (adapter.poll === undefined) return context.skip("it has no handles");
        for (const handle of [{}, { id: null }, { id: "somebody-else", readyAt: "soon" }]) {
          await assert.rejects(
            poll(adapter, job({}), handle, callAt(startMs, "att_foreign")),
            (error) => isFailure("vanished")(error) || isFailure("garbled")(error),
          );
        }
      }));

    test("every fault of the upstream ends in its kind, whether thrown or told of a picture", () =>
      withFixture(async (fixture) => {
        for (const [index, fault] of fixture.faults.entries()) {
          for (const failure of await failuresOf(fixture, fault, `att_fault_${index}`)) {
            const { kind, taskError } = failure;
            assert.deepEqual(
              { kind, taskError },
              { kind: fault.kind, taskError: fault.taskError },
              fault.name,
            );
            if (fault.hasRetryAfter === true)
              assert.ok((failure.retryAfterMs ?? 0) > 0, fault.name);
            assertKeepsSecrets(fixture, String(failure.stack) + String(failure.cause));
          }
        }
      }));

    test("no secret stands in a handle or in what is handed on", () =>
      withFixture(async (fixture) => {
        const done = await finish(fixture.create(), fixture.job({}), "att_secret", (handle) =>
          assertKeepsSecrets(fixture, JSON.stringify(handle)),
        );
        for (const picture of done.pictures)
          if (picture.kind === "url") assertKeepsSecrets(fixture, picture.url);
        assertKeepsSecrets(fixture, JSON.stringify(done.usage));
      }));

    test("cancelling is harmless, also when repeated", (context) =>
      withFixture(async ({ create, job }) => {
        const adapter = create();
        if (adapter.cancel === undefined) return context.skip("it cannot cancel");
        const step = await submit(adapter, job({}), callAt(startMs, "att_cancel"));
        if (step.status !== "running") return context.skip("the upstream answers at once");
        await adapter.cancel(step.handle, callAt(startMs, "att_cancel"));
        await adapter.cancel(step.handle, callAt(startMs, "att_cancel"));
      }));

    test("work that was forgotten is gone, and forgetting it again is harmless", (context) =>
      withFixture(async ({ create, job }) => {
        const adapter = create();
        if (adapter.forget === undefined) return context.skip("it cannot forget");
        const wanted = job({});
        const seen: JobHandle[] = [];
        await finish(adapter, wanted, "att_forget", (handle) => void seen.push(handle));
        const handle = seen.at(-1);
        if (handle === undefined) return context.skip("the upstream answers at once");
        const call = callAt(startMs + 3_600_000, "att_forget");
        await adapter.forget(handle, call);
        await adapter.forget(handle, call);
        await assert.rejects(poll(adapter, wanted, handle, call), isFailure("vanished"));
      }));
  });
}

function assertDelivered(picture: Picture): void {
  if (picture.kind === "failed") assert.fail(`a picture failed: ${picture.failure.message}`);
  if (picture.kind === "bytes") assert.ok(picture.bytes.length > 0, "a picture has no bytes");
  else assert.match(new URL(picture.url).protocol, /^https?:$/);
}

async function failuresOf(
  fixture: AdapterFixture,
  fault: Fault,
  attemptId: string,
): Promise<ProviderError[]> {
  try {
    const { pictures } = await finish(fixture.create(), fault.arrange(), attemptId);
    return pictures.map((picture) => {
      if (picture.kind !== "failed") assert.fail(`${fault.name}: a picture was delivered`);
      return picture.failure;
    });
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    return [error];
  }
}

async function assertCalledOff(fixture: AdapterFixture, hang: Hang): Promise<void> {
  const adapter = fixture.create();
  const job = hang.arrange();
  const controller = new AbortController();
  const call = { ...callAt(startMs, `att_hang_${hang.verb}`), signal: controller.signal };
  let pending: Promise<Step>;
  if (hang.verb === "submit") {
    pending = submit(adapter, job, call);
  } else {
    const step = await submit(adapter, job, { ...call, signal: new AbortController().signal });
    assert.ok(step.status === "running", "nothing is left to poll");
    pending = poll(adapter, job, step.handle, { ...call, now: startMs + 3_600_000 });
  }
  const ended = assert.rejects(pending, isFailure(hang.kind));
  await hang.reached();
  controller.abort();
  await ended;
}

function isFailure(kind: FailureKind): (error: unknown) => boolean {
  return (error) => error instanceof ProviderError && error.kind === kind;
}

function countReads(bytes: Uint8Array, count: () => void): ReferencePicture {
  return {
    ...referenceOf(bytes),
    read: async () => {
      count();
      return bytes;
    },
  };
}

function assertKeepsSecrets(fixture: AdapterFixture, text: string): void {
  for (const secret of fixture.secrets) assert.ok(!text.includes(secret), "a secret is shown");
}
