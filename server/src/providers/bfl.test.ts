import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import sharp from "sharp";

import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture, Fault as ConformanceFault } from "../../test/contracts/adapter.ts";
import { callAt, finish, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { emulatedBflKey, startBflEmulator } from "../../test/emulators/bfl.ts";
import type { BflEmulator, BflOptions } from "../../test/emulators/bfl.ts";
import type { Fault } from "../../test/emulators/fault-plan.ts";
import refusals from "../../test/fixtures/bfl/refusals.json" with { type: "json" };
import tasks from "../../test/fixtures/bfl/tasks.json" with { type: "json" };
import { catJob, createTestSend } from "../../test/support/adapters.ts";
import { colours, paintPlain } from "../../test/support/pictures.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, FailureKind, Job, Step } from "./adapter.ts";
import { createBfl, mayPoll } from "./bfl.ts";

const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
const jpeg = await paintPlain({ colour: colours.blue, width: 640, height: 320, format: "jpeg" });

const fluxJob = (wishes: Partial<Job> = {}): Job =>
  catJob({
    model: "flux-2-pro",
    upstreamModel: "flux-2-pro",
    parameters: { size: "1:1", resolution: "1K" },
    width: 1_440,
    height: 1_440,
    ...wishes,
  });

const kontextJob = (wishes: Partial<Job> = {}): Job =>
  catJob({
    model: "flux-kontext-pro",
    upstreamModel: "flux-kontext-pro",
    parameters: {
      size: "16:9",
      response_format: "png",
      safety_tolerance: 2,
      prompt_upsampling: false,
    },
    width: 1_392,
    height: 752,
    ...wishes,
  });

adapterConformance("bfl", async (): Promise<AdapterFixture> => {
  const emulator = await startBflEmulator();
  const { send, close } = createTestSend();
  const meets = (name: string, fault: Fault, kind: FailureKind): ConformanceFault => ({
    name,
    arrange: () => {
      emulator.set({ submit: fault, poll: null });
      return fluxJob();
    },
    kind,
  });
  const ends = (outcome: string, kind: FailureKind, taskError?: string): ConformanceFault => ({
    name: outcome,
    arrange: () => {
      emulator.set({ submit: null, poll: null });
      return fluxJob({ prompt: `a cat {{${outcome}}}` });
    },
    kind,
    ...(taskError === undefined ? {} : { taskError }),
  });
  const echo = { status: 401, body: { detail: `${emulatedBflKey} is not a key` } };
  return {
    create: () => createBfl({ baseUrl: emulator.origin, apiKey: emulatedBflKey }, { send }),
    job: fluxJob,
    reference: png,
    isDeterministic: false,
    secrets: [emulatedBflKey],
    worksBegun: () => emulator.works.length,
    faults: [
      ...refusals.map(({ name, status, body, kind, headers, retryAfterMs }) => ({
        ...meets(name, refusalOf({ status, body, headers }), kind as FailureKind),
        hasRetryAfter: retryAfterMs !== undefined,
      })),
      meets("a reply that echoes the key", { kind: "refuse", reply: echo }, "unauthorized"),
      meets("a connection that ends before the answer", { kind: "reset" }, "lost"),
      meets("an answer cut at 90 %", { kind: "cut", share: 0.9 }, "lost"),
      meets("an answer cut without a word", { kind: "cut_quietly", share: 0.9 }, "garbled"),
      meets("an answer of 2 GB", { kind: "huge", bytes: 2 ** 31 }, "garbled"),
      ends("request_moderated", "refused"),
      ends("content_moderated", "refused"),
      ends("error", "bad_request"),
      ends("error_422", "bad_request"),
      ends("error_unexplained", "unavailable"),
      ends("failed", "unavailable"),
      ends("ready_without_sample", "garbled", "no_image"),
    ],
    hangs: (["submit", "poll"] as const).map((verb) => ({
      verb,
      arrange: () => {
        emulator.set({ submit: null, poll: null, [verb]: { kind: "hang" } });
        return fluxJob();
      },
      reached: () => emulator.untilHanging(),
      kind: verb === "submit" ? "lost" : "unavailable",
    })),
    close: async () => {
      await close();
      await emulator.stop();
    },
  };
});

test("FLUX.2 is asked for pixels rounded up to multiples of 16, and for the promised format", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const parameters = { size: "16:9", resolution: "1K" };
  const job = fluxJob({ prompt: "a “猫”", parameters, width: 1_920, height: 1_080 });
  await adapter.submit(job, callAt(startMs, "att_1"));
  const [request] = emulator.requests;
  assert.deepEqual([request!.method, request!.path], ["POST", "/v1/flux-2-pro"]);
  assert.equal(request!.headers["x-key"], emulatedBflKey);
  assert.equal(request!.headers["content-type"], "application/json");
  assert.deepEqual(bodyOf(emulator), {
    prompt: "a “猫”",
    width: 1_920,
    height: 1_088,
    output_format: "png",
  });
});

test("every size of the catalogue comes back with at least the promised pixels", async (context) => {
  const { adapter, emulator } = await setUp(context);
  for (const [width, height] of [
    [1_440, 1_440],
    [1_824, 1_368],
    [1_368, 1_824],
    [1_872, 1_248],
  ] as const) {
    await adapter.submit(fluxJob({ width, height }), callAt(startMs, "att_1"));
    const body = bodyOf(emulator);
    assert.ok(body.width % 16 === 0 && body.width >= width && body.width < width + 16);
    assert.ok(body.height % 16 === 0 && body.height >= height && body.height < height + 16);
  }
});

test("references are sent as numbered fields of base64, byte for byte and in their order", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const padded = Buffer.concat([Buffer.alloc(3), jpeg]);
  // A view into a larger buffer: only its own bytes may leave.
  const view = new Uint8Array(padded.buffer, padded.byteOffset + 3, jpeg.length);
  const references = [referenceOf(png), referenceOf(Buffer.from(view)), referenceOf(view)];
  await adapter.submit(fluxJob({ references }), callAt(startMs, "att_1"));
  const body = bodyOf(emulator);
  assert.equal(body.input_image, png.toString("base64"));
  assert.equal(body.input_image_2, jpeg.toString("base64"));
  assert.equal(body.input_image_3, jpeg.toString("base64"));
  assert.ok(!("input_image_1" in body) && !("input_image_4" in body));
});

test("Kontext is asked for a ratio, and its own parameters are handed on as they are", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const parameters = {
    size: "9:21",
    response_format: "jpg",
    safety_tolerance: 6,
    prompt_upsampling: true,
  };
  await adapter.submit(kontextJob({ parameters, format: "jpeg" }), callAt(startMs, "att_1"));
  assert.equal(emulator.requests[0]!.path, "/v1/flux-kontext-pro");
  assert.deepEqual(bodyOf(emulator), {
    prompt: "a cat",
    aspect_ratio: "9:21",
    output_format: "jpeg",
    safety_tolerance: 6,
    prompt_upsampling: true,
  });
});

test("without a ratio of its own Kontext keeps that of the reference", async (context) => {
  const { adapter, emulator } = await setUp(context);
  for (const size of ["match_input_image", "auto"]) {
    const references = [referenceOf(jpeg)];
    const parameters = { size, safety_tolerance: 0, prompt_upsampling: false };
    const job = kontextJob({ parameters, references });
    const done = await finish(adapter, job, `att_${size}`);
    const body = bodyOf(emulator);
    assert.ok(!("aspect_ratio" in body) && !("width" in body));
    assert.equal(body.safety_tolerance, 0);
    const { width, height } = await sharp(await download(done)).metadata();
    assert.ok(Math.abs(width / height - 2) < 0.05, `${width}x${height}`);
  }
});

test("the model's name at the vendor is that of the channel", async (context) => {
  const { adapter, emulator } = await setUp(context);
  await adapter.submit(fluxJob({ upstreamModel: "flux-2-max" }), callAt(startMs, "att_1"));
  assert.equal(emulator.works[0]!.model, "flux-2-max");
});

test("the handle has all that another process needs, and the key is not in it", async (context) => {
  const { adapter, emulator } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
  const done = await finish(adapter, fluxJob(), "att_1");
  const [, poll] = emulator.requests;
  assert.deepEqual([poll!.method, poll!.path], ["GET", pathOf(emulator.works[0]!.id)]);
  assert.equal(poll!.headers["x-key"], emulatedBflKey);
  assert.deepEqual(emulator.billed, emulator.works);
  const { width, height, format } = await sharp(await download(done)).metadata();
  assert.deepEqual([width, height, format], [1_440, 1_440, "png"]);
});

test("a submit that names no polling URL is asked for under its id", async (context) => {
  const { adapter, emulator } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
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
    const { adapter, emulator } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
  emulator.set({ pollsUnknown: 2 });
  const done = await finish(adapter, fluxJob(), "att_1");
  assert.equal(done.pictures[0]!.kind, "url");
});

test("questions become rarer as the work grows older, and are never more than 5 s apart", async (context) => {
  const { adapter, emulator } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
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
  const { adapter } = await setUp(context, { now: () => now });
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
  const { adapter } = await setUp(context);
  assert.deepEqual(adapter.resultHosts, ["*.bfl.ai", "127.0.0.1"]);
});

test("the 25th active task is refused, and for kontext-max the seventh", async (context) => {
  const { adapter, emulator } = await setUp(context);
  emulator.set({ outcome: "stuck" });
  const begin = (upstreamModel: string): Promise<Step> =>
    adapter.submit(fluxJob({ upstreamModel }), callAt(startMs, "att_1"));
  for (let count = 0; count < 6; count++) await begin("flux-kontext-max");
  await assert.rejects(begin("flux-kontext-max"), isFailure("rate_limited"));
  for (let count = 6; count < 24; count++) await begin("flux-2-pro");
  await assert.rejects(begin("flux-2-pro"), isFailure("rate_limited"));
  assert.equal(emulator.works.length, 24);
});

test("an empty account is told as such, and nothing is begun", async (context) => {
  const { adapter, emulator } = await setUp(context);
  emulator.set({ credits: 1 });
  await assert.rejects(adapter.submit(fluxJob(), callAt(startMs, "att_1")), isFailure("exhausted"));
  assert.equal(emulator.works.length, 0);
});

test("the health call tells the balance, an empty account, a wrong key and a silent host", async (context) => {
  const { adapter, emulator, send } = await setUp(context);
  const call = callAt(startMs, "att_1");
  emulator.set({ credits: 812.5 });
  assert.deepEqual(await adapter.check!(call), {
    ok: true,
    detail: "The account has 812.5 credits (8.13 USD).",
  });
  emulator.set({ credits: 0 });
  assert.equal((await adapter.check!(call)).ok, false);
  const stranger = createBfl({ baseUrl: emulator.origin, apiKey: "bfl-other-key" }, { send });
  const refused = await stranger.check!(call);
  assert.equal(refused.ok, false);
  assert.match(refused.detail, /key is not accepted: HTTP 401/);
  assert.ok(!refused.detail.includes("bfl-other-key"));
  await emulator.stop();
  assert.equal((await adapter.check!(call)).ok, false);
  assert.equal(emulator.works.length, 0);
});

async function setUp(context: TestContext, options: BflOptions = {}) {
  const emulator = await startBflEmulator(options);
  const { send, close } = createTestSend();
  context.after(async () => {
    await close();
    await emulator.stop();
  });
  const settings = { baseUrl: emulator.origin, apiKey: emulatedBflKey };
  const adapter: Adapter = createBfl(settings, { send });
  return { adapter, emulator, send };
}

function bodyOf(emulator: BflEmulator) {
  const submits = emulator.requests.filter(({ method }) => method === "POST");
  return JSON.parse(submits.at(-1)!.body.toString());
}

function pathOf(id: string): string {
  return `/eu2/v1/get_result?id=${id}`;
}

type FixtureReply = {
  status: number;
  body: unknown;
  headers?: Record<string, string | undefined> | undefined;
};

function refusalOf({ status, body, headers = {} }: FixtureReply): Fault {
  const given = Object.entries(headers).filter(([, value]) => value !== undefined);
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  const reply = {
    status,
    body: bytes,
    headers: Object.fromEntries(given) as Record<string, string>,
  };
  return { kind: "refuse", reply };
}

function answerOf(body: object): Fault {
  return { kind: "refuse", reply: { status: 200, body } };
}

function running(step: Step): Extract<Step, { status: "running" }> {
  assert.ok(step.status === "running");
  return step;
}

function urlOf(step: Step): string {
  assert.ok(step.status === "done");
  const [picture] = step.pictures;
  assert.ok(picture?.kind === "url");
  assert.equal(picture.headers, undefined);
  return picture.url;
}

async function download(step: Step): Promise<Buffer> {
  const reply = await fetch(urlOf(step));
  assert.equal(reply.status, 200);
  return Buffer.from(await reply.arrayBuffer());
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

function isFailure(kind: FailureKind): (error: unknown) => boolean {
  return (error) => error instanceof ProviderError && error.kind === kind;
}
