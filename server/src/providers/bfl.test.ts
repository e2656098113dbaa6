import assert from "node:assert/strict";
import { test } from "node:test";

import sharp from "sharp";

import { callAt, finish, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture, Fault as ConformanceFault } from "../../test/contracts/adapter.ts";
import { emulatedBflKey, startBflEmulator } from "../../test/emulators/bfl.ts";
import type { BflEmulator } from "../../test/emulators/bfl.ts";
import type { Fault } from "../../test/emulators/fault-plan.ts";
import refusals from "../../test/fixtures/bfl/refusals.json" with { type: "json" };
import { catJob, createTestSend, isFailure } from "../../test/support/adapters.ts";
import { download, fluxJob, refusalOf, setUpBfl } from "../../test/support/bfl.ts";
import { colours, paintPlain } from "../../test/support/pictures.ts";
import type { FailureKind, Job, Step } from "./adapter.ts";
import { createBfl } from "./bfl.ts";

const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
const jpeg = await paintPlain({ colour: colours.blue, width: 640, height: 320, format: "jpeg" });

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
  const { adapter, emulator } = await setUpBfl(context);
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
  const { adapter, emulator } = await setUpBfl(context);
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
  const { adapter, emulator } = await setUpBfl(context);
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
  const { adapter, emulator } = await setUpBfl(context);
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
  const { adapter, emulator } = await setUpBfl(context);
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
  const { adapter, emulator } = await setUpBfl(context);
  await adapter.submit(fluxJob({ upstreamModel: "flux-2-max" }), callAt(startMs, "att_1"));
  assert.equal(emulator.works[0]!.model, "flux-2-max");
});

test("the 25th active task is refused, and for kontext-max the seventh", async (context) => {
  const { adapter, emulator } = await setUpBfl(context);
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
  const { adapter, emulator } = await setUpBfl(context);
  emulator.set({ credits: 1 });
  await assert.rejects(adapter.submit(fluxJob(), callAt(startMs, "att_1")), isFailure("exhausted"));
  assert.equal(emulator.works.length, 0);
});

test("the health call tells the balance, an empty account, a wrong key and a silent host", async (context) => {
  const { adapter, emulator, send } = await setUpBfl(context);
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

function bodyOf(emulator: BflEmulator) {
  const submits = emulator.requests.filter(({ method }) => method === "POST");
  return JSON.parse(submits.at(-1)!.body.toString());
}
