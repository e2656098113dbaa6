import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import sharp from "sharp";

import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture } from "../../test/contracts/adapter.ts";
import { callAt, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { emulatedGeminiKey, startGeminiEmulator } from "../../test/emulators/gemini.ts";
import type { GeminiEmulator, GeminiTrouble } from "../../test/emulators/gemini.ts";
import errors from "../../test/fixtures/gemini/errors.json" with { type: "json" };
import replies from "../../test/fixtures/gemini/generate-replies.json" with { type: "json" };
import { catJob, createTestSend } from "../../test/support/adapters.ts";
import { colours, paintPlain } from "../../test/support/pictures.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, FailureKind, Job, Picture, Step } from "./adapter.ts";
import { createGemini } from "./gemini.ts";
import type { GeminiSettings } from "./gemini.ts";

const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
const jpeg = await paintPlain({ colour: colours.blue, width: 160, height: 90, format: "jpeg" });
const contentCases: { name: string; body: object; kind: FailureKind; taskError?: "no_image" }[] = [
  { name: "a blocked prompt", body: replies.blockedPrompt, kind: "refused" },
  { name: "a filtered picture", body: replies.imageSafety, kind: "refused" },
  {
    name: "words in place of a picture",
    body: replies.noImage,
    kind: "refused",
    taskError: "no_image",
  },
];

adapterConformance("gemini", async (): Promise<AdapterFixture> => {
  const emulator = await startGeminiEmulator();
  const { send, close } = createTestSend();
  let asked = 0;
  const hang = (kind: "hang" | "hang_after_headers") => ({
    verb: "submit" as const,
    arrange: () => {
      asked = emulator.requests.length;
      emulator.set({ trouble: { submit: { kind } } });
      return geminiJob({});
    },
    reached: () => emulator.untilAsked(asked + 1),
    kind: "lost" as const,
  });
  const meeting = (trouble: GeminiTrouble) => () => {
    emulator.set({ trouble: { submit: trouble } });
    return geminiJob({});
  };
  return {
    create: () => createGemini({ baseUrl: emulator.origin, apiKey: emulatedGeminiKey }, { send }),
    job: geminiJob,
    reference: png,
    isDeterministic: true,
    secrets: [emulatedGeminiKey],
    worksBegun: () => emulator.billed.length,
    faults: [
      ...errors.map(({ name, status, body, kind, retryAfterMs }) => ({
        name,
        arrange: meeting({ kind: "refusal", reply: { status, body } }),
        kind: kind as FailureKind,
        hasRetryAfter: retryAfterMs !== undefined,
      })),
      ...contentCases.map(({ body, ...wanted }) => ({
        ...wanted,
        arrange: meeting({ kind: "refusal", reply: { status: 200, body } }),
      })),
      {
        name: "a key that is echoed",
        arrange: meeting({
          kind: "refusal",
          reply: { status: 400, body: { error: { message: `${emulatedGeminiKey} is wrong` } } },
        }),
        kind: "bad_request",
      },
    ],
    hangs: [hang("hang"), hang("hang_after_headers")],
    close: async () => {
      await close();
      await emulator.stop();
    },
  };
});

test("a request names the model in its address, the key in a header and one picture in its body", async (t) => {
  const { adapter, emulator } = await setUp(t);
  const job = geminiJob({
    prompt: "a cat, “mild” — 猫",
    parameters: { size: "16:9", resolution: "2K" },
  });
  await adapter.submit(job, callAt(startMs, "att_1"));
  const [request] = emulator.requests;
  assert.equal(request!.method, "POST");
  assert.equal(request!.path, "/v1beta/models/gemini-3-pro-image:generateContent");
  assert.equal(request!.headers["x-goog-api-key"], emulatedGeminiKey);
  assert.equal(request!.headers["content-type"], "application/json");
  assert.deepEqual(JSON.parse(request!.body.toString()), {
    contents: [{ role: "user", parts: [{ text: "a cat, “mild” — 猫" }] }],
    generationConfig: {
      responseModalities: ["IMAGE"],
      imageConfig: { aspectRatio: "16:9", imageSize: "2K" },
    },
  });
});

test("size auto asks for a square without references, and for no ratio with them", async (t) => {
  const { configOf } = await setUp(t);
  const references = [referenceOf(png)];
  for (const parameters of [{ size: "auto" }, {}]) {
    assert.deepEqual(await configOf({ parameters }), { aspectRatio: "1:1" });
    assert.deepEqual(await configOf({ parameters, references }), undefined);
  }
  const parameters = { size: "4:5", resolution: "1K" };
  assert.deepEqual(await configOf({ parameters, references }), {
    aspectRatio: "4:5",
    imageSize: "1K",
  });
});

test("every resolution is sent in the words of the model that serves it", async (t) => {
  const { configOf } = await setUp(t);
  const cases = [
    ["gemini-3.1-flash-image", "0.5K", "512"],
    ["gemini-3.1-flash-image", "1K", "1K"],
    ["gemini-3-pro-image", "4K", "4K"],
    // Its least resolution is 1K.
    ["gemini-nano-banana-2.1", "0.5K", "1K"],
    ["gemini-nano-banana-2.1", "2K", "2K"],
    ["gemini-3.1-flash-lite-image", "1K", "1K"],
    // It has only one and refuses the word.
    ["gemini-2.5-flash-image", "1K", undefined],
  ] as const;
  for (const [upstreamModel, resolution, imageSize] of cases) {
    const config = await configOf({ upstreamModel, parameters: { size: "1:1", resolution } });
    assert.equal(config?.imageSize, imageSize, `${upstreamModel} at ${resolution}`);
  }
});

test("which models lack a resolution or the search is a setting", async (t) => {
  const { configOf, bodyOf } = await setUp(t, {
    apiVersion: "v1",
    modelsWithoutImageSize: ["gemini-3-pro-"],
    modelsWithoutHalfK: [],
    modelsWithoutSearch: ["gemini-3-pro-"],
  });
  const pro = { parameters: { resolution: "1K", google_search: true } };
  assert.deepEqual(await configOf(pro), { aspectRatio: "1:1" });
  assert.equal((await bodyOf(pro)).tools, undefined);
  const half = { upstreamModel: "gemini-3.1-flash-image", parameters: { resolution: "0.5K" } };
  assert.equal((await configOf(half))?.imageSize, "512");
});

test("search is asked for as the caller wished, and never of a model that has none", async (t) => {
  const { bodyOf } = await setUp(t);
  const upstreamModel = "gemini-nano-banana-2.1";
  const both = { google_search: true, google_image_search: true };
  const cases = [
    [{ google_search: false, google_image_search: false }, undefined],
    [{ google_search: true, google_image_search: false }, [{ googleSearch: {} }]],
    [both, [{ googleSearch: { searchTypes: { webSearch: {}, imageSearch: {} } } }]],
  ] as const;
  for (const [parameters, tools] of cases) {
    assert.deepEqual((await bodyOf({ upstreamModel, parameters })).tools, tools);
  }
  const lite = { upstreamModel: "gemini-3.1-flash-lite-image", parameters: both };
  assert.equal((await bodyOf(lite)).tools, undefined);
});

test("references follow the prompt as bytes, in their order, and a mask stays at home", async (t) => {
  const { bodyOf } = await setUp(t);
  const body = await bodyOf({
    prompt: 'quotes, "data":"" and \\"data\\":\\"\\"',
    references: [referenceOf(png), referenceOf(jpeg, { contentType: "image/jpeg" })],
    mask: { ...referenceOf(png), read: () => Promise.reject(new Error("the mask was read")) },
  });
  assert.deepEqual(body.contents[0].parts, [
    { text: 'quotes, "data":"" and \\"data\\":\\"\\"' },
    { inlineData: { mimeType: "image/png", data: png.toString("base64") } },
    { inlineData: { mimeType: "image/jpeg", data: jpeg.toString("base64") } },
  ]);
});

test("the picture is the vendor's own bytes, whatever its format and pixels", async (t) => {
  const { adapter, emulator } = await setUp(t);
  emulator.set({ dimensions: { width: 37, height: 11 }, thinks: true });
  const cases = [
    ["gemini-2.5-flash-image", "png"],
    ["gemini-3-pro-image", "jpeg"],
  ] as const;
  for (const [upstreamModel, wanted] of cases) {
    const step = await adapter.submit(geminiJob({ upstreamModel }), callAt(startMs, "att_1"));
    const { format, width, height } = await sharp(bytesOf(step)).metadata();
    assert.deepEqual([format, width, height], [wanted, 37, 11]);
  }
});

test("drafts among the thoughts are passed over, and usage is told by modality", async (t) => {
  const { answered } = await setUp(t);
  const step = await answered(replies.watercolor);
  assert.equal(Buffer.from(bytesOf(step)).toString("base64"), "iVBORw0KGgo=");
  assert.ok(step.status === "done");
  assert.deepEqual(step.usage, {
    inputTokens: 268,
    inputTextTokens: 10,
    inputImageTokens: 258,
    outputTokens: 1_301,
    outputImageTokens: 1_290,
  });
});

test("thoughts are paid for as output", async (t) => {
  const { adapter, emulator } = await setUp(t);
  emulator.set({ thinks: true });
  const step = await adapter.submit(geminiJob({}), callAt(startMs, "att_1"));
  assert.ok(step.status === "done");
  assert.equal(step.usage.outputTokens, 1_120 + 8 + 37);
  assert.equal(step.usage.outputImageTokens, 1_120);
  assert.equal("inputImageTokens" in step.usage, false);
});

test("odd figures are left out and cost no picture", async (t) => {
  const { answered } = await setUp(t);
  const usageMetadata = {
    promptTokenCount: -3,
    candidatesTokenCount: 1.5,
    promptTokensDetails: [{ modality: "TEXT", tokenCount: "many" }],
    candidatesTokensDetails: [{ modality: "IMAGE", tokenCount: 7 }, { modality: "AUDIO" }],
  };
  const step = await answered({ ...replies.watercolor, usageMetadata });
  assert.ok(step.status === "done");
  assert.deepEqual(step.usage, { outputImageTokens: 7 });
  const none = await answered({ ...replies.watercolor, usageMetadata: "none" });
  assert.ok(none.status === "done");
  assert.deepEqual(none.usage, {});
});

test("every finish reason ends in a refusal or in no picture, with its usage kept", async (t) => {
  const { answered } = await setUp(t);
  const refusals =
    "SAFETY IMAGE_SAFETY PROHIBITED_CONTENT IMAGE_PROHIBITED_CONTENT BLOCKLIST SPII RECITATION IMAGE_RECITATION";
  const others =
    "NO_IMAGE IMAGE_OTHER OTHER LANGUAGE MALFORMED_RESPONSE MAX_TOKENS STOP UNEXPECTED_TOOL_CALL FINISH_REASON_UNSPECIFIED SOMETHING_NEW";
  const usageMetadata = { promptTokenCount: 9 };
  const taskErrorOf = async (finishReason: string) => {
    const step = await answered({ candidates: [{ finishReason }], usageMetadata });
    assert.ok(step.status === "done");
    assert.deepEqual(step.usage, { inputTokens: 9 });
    const failure = failureOf(step.pictures[0]);
    assert.equal(failure.kind, "refused", finishReason);
    return failure.taskError;
  };
  for (const reason of refusals.split(" ")) assert.equal(await taskErrorOf(reason), undefined);
  for (const reason of others.split(" ")) assert.equal(await taskErrorOf(reason), "no_image");
});

test("a picture that came before the words ran out is delivered, a refused one is not", async (t) => {
  const { answered } = await setUp(t);
  const content = { parts: [{ inlineData: { data: png.toString("base64") } }] };
  const cut = await answered({ candidates: [{ finishReason: "MAX_TOKENS", content }] });
  assert.deepEqual(Buffer.from(bytesOf(cut)), png);
  const refused = await answered({ candidates: [{ finishReason: "IMAGE_SAFETY", content }] });
  assert.ok(refused.status === "done");
  assert.equal(failureOf(refused.pictures[0]).kind, "refused");
});

test("an answer that is no answer is garbled, because the work may have been billed", async (t) => {
  const { answered } = await setUp(t);
  const picture = (data: string) => ({
    candidates: [{ finishReason: "STOP", content: { parts: [{ inlineData: { data } }] } }],
  });
  const bodies = [
    {},
    [],
    Buffer.from("<html>Sign in</html>"),
    Buffer.from(""),
    { candidates: "none" },
    picture(""),
    picture("%%%%"),
    picture("iVBORw0KGgo"),
    picture(`${png.toString("base64").slice(0, 40)}\n${png.toString("base64").slice(40)}`),
  ];
  for (const body of bodies) await assert.rejects(answered(body), isFailure("garbled"));
});

test("hostile transports end in what is known of the work", async (t) => {
  const { adapter, emulator } = await setUp(t);
  const troubles: [GeminiTrouble, FailureKind][] = [
    [{ kind: "cut", share: 0.9 }, "lost"],
    [{ kind: "cut_quietly", share: 0.9 }, "garbled"],
    [{ kind: "reset" }, "lost"],
    [{ kind: "huge", bytes: 2 ** 31 }, "garbled"],
  ];
  for (const [trouble, kind] of troubles) {
    emulator.set({ trouble: { submit: trouble } });
    const pending = adapter.submit(geminiJob({}), callAt(startMs, "att_1"));
    await assert.rejects(pending, isFailure(kind), trouble.kind);
  }
  assert.ok(emulator.bytesSent < 2 ** 28, "the endless reply was read on");
  await emulator.stop();
  const pending = adapter.submit(geminiJob({}), callAt(startMs, "att_1"));
  await assert.rejects(pending, isFailure("unavailable"));
});

test("a signature of megabytes does no harm", async (t) => {
  const { adapter, emulator } = await setUp(t);
  emulator.set({ signatureLength: 4_000_000 });
  const step = await adapter.submit(geminiJob({}), callAt(startMs, "att_1"));
  assert.ok(bytesOf(step).length > 0);
});

test("a health call lists the vendor's models and says what is wrong with a key", async (t) => {
  const { adapter, emulator, send } = await setUp(t);
  const health = await adapter.check!(callAt(startMs, "check"));
  assert.equal(health.ok, true);
  assert.ok(health.upstreamModels?.includes("gemini-3.1-flash-lite-image"));
  const settings = { baseUrl: emulator.origin, apiKey: "AIzaSomebodyElse" };
  const foreign = await createGemini(settings, { send }).check!(callAt(startMs, "check"));
  assert.equal(foreign.ok, false);
  assert.match(foreign.detail, /API key not valid/);
  assert.deepEqual(emulator.billed, []);
});

async function setUp(t: TestContext, quirks: Partial<GeminiSettings> = {}) {
  const emulator = await startGeminiEmulator();
  const { send, close } = createTestSend();
  t.after(async () => {
    await close();
    await emulator.stop();
  });
  const settings = { baseUrl: `${emulator.origin}/`, apiKey: emulatedGeminiKey, ...quirks };
  const adapter = createGemini(settings, { send });
  const bodyOf = (wishes: Partial<Job>) => sentBody(adapter, emulator, wishes);
  return {
    emulator,
    send,
    adapter,
    bodyOf,
    configOf: async (wishes: Partial<Job>) => (await bodyOf(wishes)).generationConfig.imageConfig,
    /** The step that the adapter makes of this body of a 200. */
    answered: (body: unknown): Promise<Step> => {
      const reply = { status: 200, body };
      emulator.set({ trouble: { submit: { kind: "refusal", reply } } });
      return adapter.submit(geminiJob({}), callAt(startMs, "att_1"));
    },
  };
}

async function sentBody(adapter: Adapter, emulator: GeminiEmulator, wishes: Partial<Job>) {
  await adapter.submit(geminiJob(wishes), callAt(startMs, "att_1"));
  return JSON.parse(emulator.requests.at(-1)!.body.toString());
}

function geminiJob(wishes: Partial<Job>): Job {
  const upstreamModel = "gemini-3-pro-image";
  return catJob({ model: "gemini-3-pro-image-preview", upstreamModel, format: "jpeg", ...wishes });
}

function bytesOf(step: Step): Uint8Array {
  assert.ok(step.status === "done");
  const [picture] = step.pictures;
  assert.ok(picture?.kind === "bytes");
  return picture.bytes;
}

function failureOf(picture: Picture | undefined): ProviderError {
  assert.ok(picture?.kind === "failed");
  return picture.failure;
}

function isFailure(kind: FailureKind): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}
