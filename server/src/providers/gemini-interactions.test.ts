import assert from "node:assert/strict";
import { test } from "node:test";

import { callAt, finish, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture } from "../../test/contracts/adapter.ts";
import { emulatedGeminiKey, startGeminiEmulator } from "../../test/emulators/gemini.ts";
import type { GeminiTrouble, GeminiVerb } from "../../test/emulators/gemini.ts";
import errors from "../../test/fixtures/gemini/errors.json" with { type: "json" };
import replies from "../../test/fixtures/gemini/interaction-replies.json" with { type: "json" };
import { createTestSend, isFailure } from "../../test/support/adapters.ts";
import { failureOf, liteJob, setUpInteractions } from "../../test/support/gemini-interactions.ts";
import { colours, paintPlain } from "../../test/support/pictures.ts";
import type { FailureKind, JobHandle } from "./adapter.ts";
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
  const { adapter, emulator, lastBody } = await setUpInteractions(t);
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
  const { adapter, emulator, lastBody } = await setUpInteractions(t, true);
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
  const { adapter, emulator } = await setUpInteractions(t, true);
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
  const { adapter, lastBody } = await setUpInteractions(t);
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
  const { adapter, lastBody } = await setUpInteractions(t);
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
  const { adapter, emulator, lastBody } = await setUpInteractions(t, true);
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
  const { adapter, emulator } = await setUpInteractions(t, true);
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
  const { polled } = await setUpInteractions(t, true);
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
  const { adapter, emulator } = await setUpInteractions(t, true);
  const first = await adapter.submit(liteJob({}), callAt(startMs, "att_1"));
  assert.ok(first.status === "running");
  emulator.forget();
  const pending = adapter.poll!(liteJob({}), first.handle, callAt(startMs, "att_1"));
  await assert.rejects(pending, isFailure("vanished"));
});

test("cancelled work ends as cancelled, and work that has ended is left alone", async (t) => {
  const { adapter } = await setUpInteractions(t, true);
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
  const { adapter, emulator } = await setUpInteractions(t, true);
  const call = callAt(startMs, "att_1");
  const reply = { status: 503, body: {} };
  emulator.set({ trouble: { cancel: { kind: "refusal", reply } } });
  await assert.rejects(adapter.cancel!({ id: "v1_x" }, call), isFailure("unavailable"));
});

test("an id cannot lead a poll to another address", async (t) => {
  const { adapter, emulator } = await setUpInteractions(t, true);
  const handle = { id: "../models?x=#" };
  const pending = adapter.poll!(liteJob({}), handle, callAt(startMs, "att_1"));
  await assert.rejects(pending, isFailure("vanished"));
  assert.equal(emulator.requests[0]!.path, "/v1beta/interactions/..%2Fmodels%3Fx%3D%23");
});

test("a signature of megabytes does not get into the handle", async (t) => {
  const { adapter, emulator } = await setUpInteractions(t, true);
  emulator.set({ signatureLength: 4_000_000 });
  const done = await finish(adapter, liteJob({}), "att_1", (handle: JobHandle) =>
    assert.deepEqual(Object.keys(handle), ["id"]),
  );
  assert.equal(done.pictures[0]?.kind, "bytes");
});

test("a health call is answered by the list of models", async (t) => {
  const { adapter } = await setUpInteractions(t);
  assert.match((await adapter.check!(callAt(startMs, "check"))).detail, /5 models/);
});
