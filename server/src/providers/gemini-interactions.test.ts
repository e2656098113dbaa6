import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture } from "../../test/contracts/adapter.ts";
import { callAt, finish, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { emulatedGeminiKey, startGeminiEmulator } from "../../test/emulators/gemini.ts";
import type { GeminiTrouble, GeminiVerb } from "../../test/emulators/gemini.ts";
import errors from "../../test/fixtures/gemini/errors.json" with { type: "json" };
import replies from "../../test/fixtures/gemini/interaction-replies.json" with { type: "json" };
import { catJob, createTestSend } from "../../test/support/adapters.ts";
import { colours, paintPlain } from "../../test/support/pictures.ts";
import { ProviderError } from "./adapter.ts";
import type { FailureKind, Job, JobHandle, Step } from "./adapter.ts";
import { createGeminiInteractions } from "./gemini-interactions.ts";

const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
const jpeg = await paintPlain({ colour: colours.blue, width: 160, height: 90, format: "jpeg" });

const wholeErrors = errors.map(({ name, status, body, kind, retryAfterMs }) => ({
  name,
  reply: { status, body },
  kind: kind as FailureKind,
  hasRetryAfter: retryAfterMs !== undefined,
}));

for (const background of [false, true]) {
  const mode = background ? "in the background" : "at once";
  adapterConformance(`gemini-interactions (${mode})`, () => createFixture(background));
}

async function createFixture(background: boolean): Promise<AdapterFixture> {
  const emulator = await startGeminiEmulator();
  const { send, close } = createTestSend();
  const settings = { baseUrl: emulator.origin, apiKey: emulatedGeminiKey, background };
  let asked = 0;
  const meeting = (verb: GeminiVerb, trouble: GeminiTrouble) => () => {
    asked = emulator.requests.length;
    emulator.set({ trouble: { [verb]: trouble } });
    return liteJob({});
  };
  const hang = (verb: "submit" | "poll", kind: "hang" | "hang_after_headers") => ({
    verb,
    arrange: meeting(verb, { kind }),
    // The submit comes before the poll.
    reached: () => emulator.untilAsked(asked + (verb === "poll" ? 2 : 1)),
    kind: verb === "poll" ? ("unavailable" as const) : ("lost" as const),
  });
  const lastVerb = background ? "poll" : "submit";
  return {
    create: () => createGeminiInteractions(settings, { send }),
    job: liteJob,
    reference: png,
    isDeterministic: true,
    secrets: [emulatedGeminiKey],
    worksBegun: () => emulator.billed.length,
    faults: [
      ...wholeErrors.map(({ reply, ...wanted }) => ({
        ...wanted,
        arrange: meeting("submit", { kind: "refusal", reply }),
      })),
      {
        name: "a blocked picture",
        arrange: meeting(lastVerb, {
          kind: "refusal",
          reply: { status: 200, body: replies.imageSafety },
        }),
        kind: "refused",
      },
    ],
    hangs: [
      hang("submit", "hang"),
      hang("submit", "hang_after_headers"),
      ...(background ? [hang("poll", "hang"), hang("poll", "hang_after_headers")] : []),
    ],
    close: async () => {
      await close();
      await emulator.stop();
    },
  };
}

test("a request at once leaves nothing with the vendor", async (t) => {
  const { adapter, emulator, lastBody } = await setUp(t);
  const parameters = { size: "16:9", resolution: "1K" };
  const step = await adapter.submit(liteJob({ parameters }), callAt(startMs, "att_1"));
  assert.equal(step.status, "done");
  const [request] = emulator.requests;
  assert.deepEqual([request!.method, request!.path], ["POST", "/v1beta/interactions"]);
  assert.equal(request!.headers["x-goog-api-key"], emulatedGeminiKey);
  assert.deepEqual(lastBody(), {
    model: "gemini-3.1-flash-lite-image",
    input: [{ type: "text", text: "a cat" }],
    response_format: { type: "image", aspect_ratio: "16:9", image_size: "1K" },
    store: false,
  });
});

test("work in the background is stored, and polled under its id", async (t) => {
  const { adapter, emulator, lastBody } = await setUp(t, true);
  const first = await adapter.submit(liteJob({}), callAt(startMs, "att_1"));
  assert.ok(first.status === "running");
  assert.deepEqual(first.handle, { id: "v1_work1" });
  const { store, background } = lastBody();
  assert.deepEqual({ store, background }, { store: true, background: true });
  const step = await adapter.poll!(liteJob({}), first.handle, callAt(startMs, "att_1"));
  assert.ok(step.status === "running");
  assert.deepEqual(step.handle, first.handle);
  const { method, path } = emulator.requests.at(-1)!;
  assert.deepEqual([method, path], ["GET", "/v1beta/interactions/v1_work1"]);
});

test("what was kept under an id is deleted there, and a failure of that is told", async (t) => {
  const { adapter, emulator } = await setUp(t, true);
  const call = callAt(startMs, "att_1");
  const first = await adapter.submit(liteJob({}), call);
  assert.ok(first.status === "running");
  await adapter.forget!(first.handle, call);
  const { method, path } = emulator.requests.at(-1)!;
  assert.deepEqual([method, path], ["DELETE", "/v1beta/interactions/v1_work1"]);
  const reply = { status: 500, body: { error: { code: "api_error", message: "no" } } };
  emulator.set({ trouble: { delete: { kind: "refusal", reply } } });
  await assert.rejects(adapter.forget!(first.handle, call), isFailure("unavailable"));
});

test("references follow the prompt as bytes, and size auto leaves the ratio to the first", async (t) => {
  const { adapter, lastBody } = await setUp(t);
  const references = [referenceOf(jpeg, { contentType: "image/jpeg" }), referenceOf(png)];
  const parameters = { size: "auto", resolution: "1K" };
  await adapter.submit(liteJob({ references, parameters }), callAt(startMs, "att_1"));
  const { input, response_format: format } = lastBody();
  assert.deepEqual(input, [
    { type: "text", text: "a cat" },
    { type: "image", mime_type: "image/jpeg", data: jpeg.toString("base64") },
    { type: "image", mime_type: "image/png", data: png.toString("base64") },
  ]);
  assert.deepEqual(format, { type: "image", image_size: "1K" });
});

test("search is asked for of models that have it, never of Lite", async (t) => {
  const { adapter, lastBody } = await setUp(t);
  const toolsOf = async (upstreamModel: string, pictures: boolean) => {
    const parameters = { google_search: true, google_image_search: pictures };
    await adapter.submit(liteJob({ upstreamModel, parameters }), callAt(startMs, "att_1"));
    return lastBody().tools;
  };
  const nano = "gemini-nano-banana-2.1";
  const tool = (...types: string[]) => [{ type: "google_search", search_types: types }];
  assert.deepEqual(await toolsOf(nano, false), tool("web_search"));
  assert.deepEqual(await toolsOf(nano, true), tool("web_search", "image_search"));
  assert.equal(await toolsOf("gemini-3.1-flash-lite-image", true), undefined);
});

test("a vendor that rejects the background is asked at once, within the same submit", async (t) => {
  const { adapter, emulator, lastBody } = await setUp(t, true);
  emulator.set({ takesBackground: false });
  const references = [referenceOf(png)];
  const step = await adapter.submit(liteJob({ references }), callAt(startMs, "att_1"));
  assert.equal(step.status, "done");
  assert.equal(emulator.requests.length, 2);
  assert.equal(emulator.billed.length, 1);
  assert.equal(lastBody().store, false);
  assert.equal("background" in lastBody(), false);
});

test("only a rejection leads to a second request", async (t) => {
  const { adapter, emulator } = await setUp(t, true);
  const again = ["a bad field", "flat: a bad field", "flat: an unknown field", "flat: not there"];
  for (const { name, reply } of wholeErrors) {
    const before = emulator.requests.length;
    emulator.set({ trouble: { submit: { kind: "refusal", reply } } });
    await assert.rejects(adapter.submit(liteJob({}), callAt(startMs, "att_1")));
    const requests = emulator.requests.length - before;
    assert.equal(requests, again.includes(name) ? 2 : 1, name);
  }
});

test("no error of a poll lets paid work be begun again elsewhere", async (t) => {
  const { polled } = await setUp(t, true);
  const seenByPoll: Partial<Record<FailureKind, FailureKind>> = {
    lost: "unavailable",
    unauthorized: "unavailable",
    exhausted: "rate_limited",
    bad_request: "garbled",
  };
  for (const { name, reply, kind } of wholeErrors) {
    const wanted = reply.status === 404 ? "vanished" : (seenByPoll[kind] ?? kind);
    await assert.rejects(polled({ kind: "refusal", reply }), isFailure(wanted), name);
  }
  const page = { status: 200, body: Buffer.from("<html>Sign in</html>") };
  const troubles: [GeminiTrouble, FailureKind][] = [
    [{ kind: "refusal", reply: page }, "unavailable"],
    [{ kind: "cut", share: 0.9 }, "unavailable"],
    [{ kind: "cut_quietly", share: 0.5 }, "unavailable"],
    [{ kind: "reset" }, "unavailable"],
    [{ kind: "huge", bytes: 2 ** 31 }, "garbled"],
  ];
  for (const [trouble, kind] of troubles) {
    await assert.rejects(polled(trouble), isFailure(kind), trouble.kind);
  }
});

test("work that the vendor has forgotten has vanished", async (t) => {
  const { adapter, emulator } = await setUp(t, true);
  const first = await adapter.submit(liteJob({}), callAt(startMs, "att_1"));
  assert.ok(first.status === "running");
  emulator.forget();
  const pending = adapter.poll!(liteJob({}), first.handle, callAt(startMs, "att_1"));
  await assert.rejects(pending, isFailure("vanished"));
});

test("an answer to a submit that is no answer is lost or garbled", async (t) => {
  const { answered } = await setUp(t);
  const output = (data: string) => ({
    status: "completed",
    steps: [{ type: "model_output", content: [{ type: "image", data }] }],
  });
  const bodies = [{}, Buffer.from("<html></html>"), { status: "thinking_hard" }, output("%%%%")];
  for (const body of bodies) await assert.rejects(answered(body), isFailure("garbled"));
  await assert.rejects(answered({ status: "queued" }), isFailure("lost"));
});

test("the picture comes from what the model put out, and usage is told by modality", async (t) => {
  const { answered } = await setUp(t);
  const step = await answered(replies.neonAlley);
  assert.ok(step.status === "done");
  const [picture] = step.pictures;
  assert.ok(picture?.kind === "bytes");
  assert.equal(Buffer.from(picture.bytes).toString("base64"), "/9j/4AAQ");
  assert.deepEqual(step.usage, {
    inputTokens: 1_132,
    inputTextTokens: 12,
    inputImageTokens: 1_120,
    outputTokens: 1_120,
    outputImageTokens: 1_120,
  });
});

test("what is odd beside the picture costs no picture", async (t) => {
  const { answered } = await setUp(t);
  const blocks = ["words", null, { type: "text", data: 7 }, { type: "image", data: "/9j/4AAQ" }];
  const steps = [
    { type: "google_search_call", content: "none", error: "none" },
    { type: "model_output", content: blocks, error: { code: {} } },
  ];
  const step = await answered({ status: "completed", steps, errors: {}, usage: "none" });
  assert.ok(step.status === "done");
  assert.equal(step.pictures[0]?.kind, "bytes");
  assert.deepEqual(step.usage, {});
});

test("thoughts are added to the output only where the total shows that they are not in it", async (t) => {
  const { answered } = await setUp(t);
  const outputOf = async (total: number) => {
    const usage = {
      total_input_tokens: 10,
      total_output_tokens: 1_301,
      total_thought_tokens: 11,
      total_tokens: total,
    };
    const step = await answered({ ...replies.neonAlley, usage });
    assert.ok(step.status === "done");
    return step.usage.outputTokens;
  };
  assert.equal(await outputOf(10 + 1_301 + 11), 1_312);
  assert.equal(await outputOf(10 + 1_301), 1_301);
});

test("every terminal status without a picture has its kind, at once and in the background", async (t) => {
  const { answered, polled } = await setUp(t, true);
  const failed = (code: string | number) => ({ status: "failed", errors: [{ code }] });
  const cases: [body: object, kind: FailureKind, taskError?: string][] = [
    [{ status: "completed" }, "refused", "no_image"],
    [
      { status: "completed", steps: [{ type: "model_output", content: [] }] },
      "refused",
      "no_image",
    ],
    [{ status: "incomplete" }, "refused", "no_image"],
    [{ status: "budget_exceeded" }, "refused", "no_image"],
    [{ status: "requires_action" }, "refused", "no_image"],
    [{ status: "requires_continuation" }, "refused", "no_image"],
    [{ status: "cancelled" }, "refused", "cancelled"],
    [{ status: "failed" }, "unavailable"],
    ...["safety", "recitation", "prohibited_content", "spii", "blocklist", "content_blocked"].map(
      (code): [object, FailureKind] => [failed(code), "refused"],
    ),
    [failed("image_other"), "refused", "no_image"],
    [failed("language"), "refused", "no_image"],
    [failed("no_image"), "refused", "no_image"],
    [failed("something_new"), "refused", "no_image"],
    [failed("service_unavailable"), "unavailable"],
    [failed(13), "unavailable"],
    [failed(503), "unavailable"],
    [failed(8), "rate_limited"],
    [
      { status: "completed", steps: [{ type: "model_output", error: { code: "image_safety" } }] },
      "refused",
    ],
  ];
  for (const [body, kind, taskError] of cases) {
    const reply = { status: 200, body };
    for (const ask of [() => answered(body), () => polled({ kind: "refusal", reply })]) {
      const failure = await failureOf(ask());
      assert.deepEqual([failure.kind, failure.taskError], [kind, taskError], JSON.stringify(body));
    }
  }
  // Thrown, it would be taken for a poll to repeat.
  const reply = { status: 200, body: { status: "failed" } };
  assert.equal((await polled({ kind: "refusal", reply })).status, "done");
});

test("cancelled work ends as cancelled, and work that has ended is left alone", async (t) => {
  const { adapter } = await setUp(t, true);
  const call = callAt(startMs, "att_1");
  const first = await adapter.submit(liteJob({}), call);
  assert.ok(first.status === "running");
  await adapter.cancel!(first.handle, call);
  await adapter.cancel!(first.handle, call);
  await adapter.cancel!({ id: "v1_unknown" }, call);
  const failure = await failureOf(adapter.poll!(liteJob({}), first.handle, call));
  assert.equal(failure.taskError, "cancelled");
});

test("a cancel that did not arrive is told", async (t) => {
  const { adapter, emulator } = await setUp(t, true);
  const call = callAt(startMs, "att_1");
  const reply = { status: 503, body: {} };
  emulator.set({ trouble: { cancel: { kind: "refusal", reply } } });
  await assert.rejects(adapter.cancel!({ id: "v1_x" }, call), isFailure("unavailable"));
});

test("an id cannot lead a poll to another address", async (t) => {
  const { adapter, emulator } = await setUp(t, true);
  const handle = { id: "../models?x=#" };
  const pending = adapter.poll!(liteJob({}), handle, callAt(startMs, "att_1"));
  await assert.rejects(pending, isFailure("vanished"));
  assert.equal(emulator.requests[0]!.path, "/v1beta/interactions/..%2Fmodels%3Fx%3D%23");
});

test("a signature of megabytes does not get into the handle", async (t) => {
  const { adapter, emulator } = await setUp(t, true);
  emulator.set({ signatureLength: 4_000_000 });
  const done = await finish(adapter, liteJob({}), "att_1", (handle: JobHandle) =>
    assert.deepEqual(Object.keys(handle), ["id"]),
  );
  assert.equal(done.pictures[0]?.kind, "bytes");
});

test("a health call is answered by the list of models", async (t) => {
  const { adapter } = await setUp(t);
  assert.match((await adapter.check!(callAt(startMs, "check"))).detail, /5 models/);
});

async function setUp(t: TestContext, background = false) {
  const emulator = await startGeminiEmulator();
  const { send, close } = createTestSend();
  t.after(async () => {
    await close();
    await emulator.stop();
  });
  const settings = { baseUrl: emulator.origin, apiKey: emulatedGeminiKey, background };
  const adapter = createGeminiInteractions(settings, { send });
  return {
    adapter,
    emulator,
    lastBody: () => JSON.parse(emulator.requests.at(-1)!.body.toString()),
    /** What the adapter makes of this body as the answer to a submit. */
    answered: (body: unknown): Promise<Step> => {
      const reply = { status: 200, body };
      emulator.set({ trouble: { submit: { kind: "refusal", reply } } });
      return adapter.submit(liteJob({}), callAt(startMs, "att_1"));
    },
    /** What a poll for work under way comes to when it meets this trouble. */
    polled: async (trouble: GeminiTrouble): Promise<Step> => {
      emulator.set({ trouble: {}, pollsUntilDone: 1 });
      const call = callAt(startMs, "att_1");
      const first = await adapter.submit(liteJob({}), call);
      assert.ok(first.status === "running");
      emulator.set({ trouble: { poll: trouble } });
      return adapter.poll!(liteJob({}), first.handle, call);
    },
  };
}

function liteJob(wishes: Partial<Job>): Job {
  const model = "gemini-3.1-flash-lite-image";
  return catJob({ model, upstreamModel: model, format: "jpeg", ...wishes });
}

/** The failure that was thrown, or that was told of the picture. */
async function failureOf(pending: Promise<Step>): Promise<ProviderError> {
  try {
    const step = await pending;
    assert.ok(step.status === "done");
    const [picture] = step.pictures;
    assert.ok(picture?.kind === "failed");
    return picture.failure;
  } catch (error) {
    if (error instanceof ProviderError) return error;
    throw error;
  }
}

function isFailure(kind: FailureKind): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}
