import assert from "node:assert/strict";
import { test } from "node:test";

import { adapterConformance } from "../../test/contracts/adapter.ts";
import { callAt, finish, referenceOf } from "../../test/contracts/adapter-driver.ts";
import type { AdapterFixture, Fault } from "../../test/contracts/adapter.ts";
import { AppError } from "../lib/errors.ts";
import { taskErrorCodes } from "../models/task-errors.ts";
import { ProviderError } from "./adapter.ts";
import type { FailureKind, Job, Step } from "./adapter.ts";
import { createSandbox } from "./sandbox.ts";
import type { SandboxDrawing } from "./sandbox.ts";

const startMs = 1_700_000_000_000;
const reference = Buffer.from("reference bytes");

adapterConformance("sandbox", async (): Promise<AdapterFixture> => {
  const waiting = Promise.withResolvers<void>();
  let draw = describe;
  const faults: Fault[] = [
    ...taskErrorCodes.map((code) => ({
      name: `a prompt that asks for ${code}`,
      arrange: () => jobOf({ prompt: `a cat [[fail:${code}]]`, test: true }),
      kind: expectedKind(code),
      taskError: code,
    })),
    {
      name: "too many drawings at once",
      arrange: () => {
        draw = () => Promise.reject(new AppError("overloaded", "full", { retryAfterSeconds: 2 }));
        return jobOf({});
      },
      kind: "unavailable",
      hasRetryAfter: true,
    },
    {
      name: "a drawing that fails",
      arrange: () => {
        draw = () => Promise.reject(new Error("broken"));
        return jobOf({});
      },
      kind: "garbled",
      taskError: "internal_error",
    },
  ];
  return {
    create: () => createSandbox({ draw: (drawing) => draw(drawing), usageOf: () => ({}) }),
    job: jobOf,
    reference,
    isDeterministic: true,
    secrets: [],
    faults,
    hangs: [
      {
        verb: "poll",
        arrange: () => {
          draw = () => {
            waiting.resolve();
            return new Promise(() => {});
          };
          return jobOf({});
        },
        reached: () => waiting.promise,
        kind: "unavailable",
      },
    ],
    close: async () => {},
  };
});

test("a picture is ready after its duration and not a millisecond before", async () => {
  const { sandbox } = setUp();
  const job = jobOf({ prompt: "a cat [[slow:1.5s]]", test: true });
  const first = running(await sandbox.submit(job, callAt(startMs, "att_1")));
  assert.equal(first.pollAfterMs, 1_500);
  const early = running(await sandbox.poll!(job, first.handle, callAt(startMs + 1_499, "att_1")));
  assert.equal(early.pollAfterMs, 1);
  assert.equal(early.progress, 99);
  assert.deepEqual(early.handle, first.handle);
  const last = await sandbox.poll!(job, first.handle, callAt(startMs + 1_500, "att_1"));
  assert.equal(last.status, "done");
});

test("without a wish a picture is quick, and still has to be polled for", async () => {
  const { sandbox } = setUp();
  const first = running(await sandbox.submit(jobOf({}), callAt(startMs, "att_1")));
  assert.equal(first.pollAfterMs, 300);
});

test("a very slow picture is asked about now and then, not in a single far-off poll", async () => {
  const { sandbox } = setUp();
  const job = jobOf({ prompt: "[[slow:600s]]", test: true });
  assert.equal(running(await sandbox.submit(job, callAt(startMs, "att_1"))).pollAfterMs, 30_000);
});

test("the drawing depends on model, parameters, prompt, references, mask and slot, and on nothing else", async () => {
  const { seedFor } = setUp();
  const plain = jobOf({ references: [referenceOf(reference)] });
  const seed = await seedFor(plain);
  assert.equal(await seedFor({ ...plain, upstreamModel: "other" }, "att_other"), seed);
  const others = [
    { ...plain, model: "flux-2-flex" },
    { ...plain, parameters: { size: "16:9" } },
    { ...plain, prompt: "a dog" },
    { ...plain, references: [referenceOf(Buffer.from("other bytes"))] },
    { ...plain, references: [] },
    { ...plain, mask: referenceOf(Buffer.from("mask")) },
    { ...plain, slots: [1] },
  ];
  const seeds = new Set([seed]);
  for (const job of others) seeds.add(await seedFor(job));
  assert.equal(seeds.size, others.length + 1);
});

test("outcome words are left out of the drawing under test keys and drawn under live ones", async () => {
  const { drawingFor } = setUp();
  const prompt = "a cat [[slow:0s]] on a mat";
  assert.equal((await drawingFor(jobOf({ prompt, test: true }))).title, "a cat on a mat");
  assert.equal((await drawingFor(jobOf({ prompt, test: false }))).title, prompt);
});

test("partial delivers the first slots and fails the others with no_image", async () => {
  const { sandbox } = setUp();
  const outcomes: string[] = [];
  for (const slot of [0, 1, 2, 3]) {
    const job = jobOf({ prompt: "cats [[partial:2]]", slots: [slot], test: true });
    const [picture] = (await finish(sandbox, job, `att_${slot}`)).pictures;
    outcomes.push(picture!.kind === "failed" ? picture!.failure.taskError! : picture!.kind);
  }
  assert.deepEqual(outcomes, ["bytes", "bytes", "no_image", "no_image"]);
});

test("size, format, compression and background are drawn as promised", async () => {
  const { drawingFor } = setUp();
  const job = jobOf({
    width: 1_536,
    height: 1_024,
    format: "jpeg",
    parameters: { output_compression: 40, background: "transparent" },
  });
  const { width, height, format, compression, transparent } = await drawingFor(job);
  assert.deepEqual(
    { width, height, format, compression, transparent },
    { width: 1_536, height: 1_024, format: "jpeg", compression: 40, transparent: false },
  );
  const png = await drawingFor({ ...job, format: "png" });
  assert.equal(png.compression, null);
  assert.equal(png.transparent, true);
});

test("references are insets; with a mask the first one is what is painted over", async () => {
  const { drawingFor } = setUp();
  const [first, second, mask] = ["first", "second", "mask"].map((text) => Buffer.from(text));
  const references = [referenceOf(first!), referenceOf(second!)];
  const plain = await drawingFor(jobOf({ references }));
  assert.deepEqual([plain.insets, plain.base], [[first, second], null]);
  const edit = await drawingFor(jobOf({ references, mask: referenceOf(mask!) }));
  assert.deepEqual([edit.insets, edit.base], [[second], { picture: first, mask }]);
});

test("usage is what the models' rules say for the job", async () => {
  const sandbox = createSandbox({
    draw: describe,
    usageOf: (job) => ({ inputTokens: job.prompt.length, outputImageTokens: 1_120 }),
  });
  const { usage } = await finish(sandbox, jobOf({ prompt: "a cat" }), "att_1");
  assert.deepEqual(usage, { inputTokens: 5, outputImageTokens: 1_120 });
});

test("a poll that is called off while it draws ends with the reason as its cause", async () => {
  const controller = new AbortController();
  const sandbox = createSandbox({
    draw: () => {
      controller.abort(new Error("the worker stops"));
      return new Promise(() => {});
    },
    usageOf: () => ({}),
  });
  const first = running(await sandbox.submit(jobOf({}), callAt(startMs, "att_1")));
  const call = { ...callAt(startMs + 300, "att_1"), signal: controller.signal };
  await assert.rejects(sandbox.poll!(jobOf({}), first.handle, call), (error) => {
    assert.ok(error instanceof ProviderError);
    assert.equal(error.kind, "unavailable");
    return error.cause === controller.signal.reason;
  });
});

/** A sandbox whose pictures are the description of what was to be drawn. */
function setUp() {
  const drawings: SandboxDrawing[] = [];
  const sandbox = createSandbox({
    draw: (drawing) => {
      drawings.push(drawing);
      return describe(drawing);
    },
    usageOf: () => ({}),
  });
  async function drawingFor(job: Job, attemptId = "att_1"): Promise<SandboxDrawing> {
    await finish(sandbox, job, attemptId);
    return drawings.pop()!;
  }
  async function seedFor(job: Job, attemptId?: string): Promise<string> {
    return (await drawingFor(job, attemptId)).seed;
  }
  return { sandbox, drawingFor, seedFor };
}

async function describe(drawing: SandboxDrawing): Promise<Uint8Array> {
  return Buffer.from(JSON.stringify(drawing));
}

function running(step: Step): Extract<Step, { status: "running" }> {
  assert.ok(step.status === "running");
  return step;
}

function expectedKind(code: string): FailureKind {
  if (code === "outcome_unknown") return "vanished";
  return /^(invalid_|provider_rejected)/.test(code) ? "bad_request" : "refused";
}

function jobOf(wishes: Partial<Job>): Job {
  return {
    model: "flux-2-pro",
    upstreamModel: "flux-2-pro",
    prompt: "a cat",
    parameters: { size: "1:1" },
    slots: [0],
    width: 1_024,
    height: 1_024,
    format: "png",
    references: [],
    mask: null,
    test: false,
    ...wishes,
  };
}
