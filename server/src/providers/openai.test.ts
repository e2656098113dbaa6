import assert from "node:assert/strict";
import { test } from "node:test";

import { callAt, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture } from "../../test/contracts/adapter.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../../test/emulators/openai.ts";
import { readForm } from "../../test/emulators/vendor-server.ts";
import type { Misbehaviour } from "../../test/emulators/vendor-server.ts";
import errors from "../../test/fixtures/openai/errors.json" with { type: "json" };
import { catJob, createTestSend, isFailure } from "../../test/support/adapters.ts";
import { jpeg, png, setUpOpenAi } from "../../test/support/openai.ts";
import { paintMask } from "../../test/support/pictures.ts";
import { ProviderError } from "./adapter.ts";
import type { FailureKind } from "./adapter.ts";
import { createOpenAi } from "./openai.ts";

adapterConformance("openai", async (): Promise<AdapterFixture> => {
  const emulator = await startOpenAiEmulator();
  const { send, close } = createTestSend();
  const after = (before: number): Promise<void> => emulator.untilAsked(before + 1);
  let asked = 0;
  const hang = (kind: Misbehaviour["kind"] & ("hang" | "hang_after_headers")) => ({
    verb: "submit" as const,
    arrange: () => {
      asked = emulator.requests.length;
      emulator.set({ refusal: null, reply: { kind } });
      return catJob({});
    },
    reached: () => after(asked),
    kind: "lost" as const,
  });
  return {
    create: () => createOpenAi({ baseUrl: emulator.baseUrl, apiKey: emulatedOpenAiKey }, { send }),
    job: catJob,
    reference: png,
    isDeterministic: true,
    secrets: [emulatedOpenAiKey],
    worksBegun: () => emulator.billed.length,
    faults: errors.map(({ name, status, body, kind, ...rest }) => ({
      name,
      arrange: () => {
        const headers = rest.headers === undefined ? {} : definedOf(rest.headers);
        emulator.set({ refusal: { status, headers, body } });
        return catJob({});
      },
      kind: kind as FailureKind,
      ...(rest.taskError === undefined ? {} : { taskError: rest.taskError }),
      hasRetryAfter: rest.retryAfterMs !== undefined,
    })),
    hangs: [hang("hang"), hang("hang_after_headers")],
    close: async () => {
      await close();
      await emulator.stop();
    },
  };
});

test("a generation is sent as JSON with every parameter under the vendor's name", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  await adapter.submit(
    catJob({
      upstreamModel: "gpt-image-2.5-sunburst",
      prompt: "a cat, “mild” — 猫",
      slots: [0, 1, 2],
      width: 1_536,
      height: 1_024,
      format: "webp",
      parameters: {
        size: "3:2",
        resolution: "1k",
        quality: "xhigh",
        background: "transparent",
        moderation: "low",
        output_format: "webp",
        output_compression: 40,
      },
    }),
    callAt(startMs, "att_1"),
  );
  const [request] = emulator.requests;
  assert.deepEqual([request!.method, request!.path], ["POST", "/v1/images/generations"]);
  assert.equal(request!.headers["content-type"], "application/json");
  assert.equal(request!.headers["authorization"], `Bearer ${emulatedOpenAiKey}`);
  assert.deepEqual(JSON.parse(request!.body.toString()), {
    model: "gpt-image-2.5-sunburst",
    prompt: "a cat, “mild” — 猫",
    n: 3,
    size: "1536x1024",
    quality: "xhigh",
    background: "transparent",
    moderation: "low",
    output_format: "webp",
    output_compression: 40,
  });
});

test("the vendor's log of billed calls can be matched with attempts, broken replies included", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  await adapter.submit(catJob({ slots: [0, 1] }), callAt(startMs, "att_1"));
  emulator.set({ reply: { kind: "reset" } });
  const references = [referenceOf(png)];
  await assert.rejects(
    adapter.submit(catJob({ references }), callAt(startMs, "att_2")),
    isFailure("lost"),
  );
  const billed = emulator.billed.map(({ attemptId, route, pictures }) => [
    attemptId,
    route,
    pictures,
  ]);
  assert.deepEqual(billed, [
    ["att_1", "generations", 2],
    ["att_2", "edits", 1],
  ]);
});

test("a compression is left out for png, which the vendor would refuse", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  const parameters = { output_format: "png", output_compression: 40 };
  await adapter.submit(catJob({ parameters }), callAt(startMs, "att_1"));
  const body = JSON.parse(emulator.requests[0]!.body.toString());
  assert.deepEqual([body.output_format, "output_compression" in body], ["png", false]);
});

test("organisation and project are named where they are set", async (context) => {
  const { emulator, send } = await setUpOpenAi(context);
  const adapter = createOpenAi(
    // A slash at the end of the base address changes nothing.
    {
      baseUrl: `${emulator.baseUrl}/`,
      apiKey: emulatedOpenAiKey,
      organization: "o1",
      project: "p1",
    },
    { send },
  );
  await adapter.submit(catJob({}), callAt(startMs, "att_1"));
  const { headers, path } = emulator.requests[0]!;
  assert.deepEqual(
    [headers["openai-organization"], headers["openai-project"], path],
    ["o1", "p1", "/v1/images/generations"],
  );
});

test("an edit is sent as a form with the references' bytes in their order, then the mask", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  const mask = await paintMask(64, 64, { left: 0, top: 0, width: 8, height: 8 });
  const prompt = 'line one\r\n--line "two"; name=x — 猫';
  const step = await adapter.submit(
    catJob({
      prompt,
      slots: [0, 1],
      format: "jpeg",
      parameters: {
        quality: "low",
        moderation: "auto",
        output_format: "jpeg",
        output_compression: 9,
      },
      references: [referenceOf(png), referenceOf(jpeg, { contentType: "image/jpeg" })],
      mask: referenceOf(mask),
    }),
    callAt(startMs, "att_1"),
  );
  assert.equal(step.status === "done" && step.pictures.length, 2);
  const [request] = emulator.requests;
  assert.equal(request!.path, "/v1/images/edits");
  const texts = { model: "gpt-image-2.5-flare", prompt, n: "2", size: "1024x1024", quality: "low" };
  assert.deepEqual(await readForm(request!), [
    ...Object.entries(texts).map(([name, value]) => ({ name, value })),
    { name: "output_format", value: "jpeg" },
    { name: "output_compression", value: "9" },
    { name: "image[]", filename: "ref-0.png", contentType: "image/png", bytes: png },
    { name: "image[]", filename: "ref-1.jpeg", contentType: "image/jpeg", bytes: jpeg },
    { name: "mask", filename: "mask.png", contentType: "image/png", bytes: mask },
  ]);
});

test("an edit names its moderation only where it is not the usual one", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  const references = [referenceOf(png)];
  await adapter.submit(
    catJob({ references, parameters: { moderation: "low" } }),
    callAt(startMs, "a"),
  );
  const form = await readForm(emulator.requests[0]!);
  assert.deepEqual(
    form.find(({ name }) => name === "moderation"),
    { name: "moderation", value: "low" },
  );
});

test("a refusal that comes as a success is still a refusal", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  const refused = errors.find(({ kind }) => kind === "refused");
  emulator.set({ reply: { kind: "instead", reply: { status: 200, body: refused!.body } } });
  await assert.rejects(adapter.submit(catJob({}), callAt(startMs, "a")), isFailure("refused"));
});

test("each wait that the vendor asks for is told in milliseconds", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  for (const { status, body, headers, retryAfterMs } of errors) {
    if (retryAfterMs === undefined) continue;
    emulator.set({ refusal: { status, body, headers: definedOf(headers ?? {}) } });
    await assert.rejects(adapter.submit(catJob({}), callAt(startMs, "a")), (error) => {
      assert.ok(error instanceof ProviderError);
      return error.retryAfterMs === retryAfterMs;
    });
  }
});

test("an error names the vendor's request, and repeats neither the key nor a picture", async (context) => {
  const { emulator, send } = await setUpOpenAi(context);
  const wrongKey = "sk-proj-wrong-key-000000";
  const adapter = createOpenAi({ baseUrl: emulator.baseUrl, apiKey: wrongKey }, { send });
  await assert.rejects(adapter.submit(catJob({}), callAt(startMs, "a")), (error) => {
    assert.ok(error instanceof ProviderError);
    assert.match(
      error.message,
      /HTTP 401 \(request req_\d+\).*Incorrect API key provided: \[redacted\]/,
    );
    return !error.message.includes(wrongKey);
  });
  const good = createOpenAi({ baseUrl: emulator.baseUrl, apiKey: emulatedOpenAiKey }, { send });
  emulator.set({
    reply: { kind: "changed", change: () => ({ picture: png.toString("base64"), data: 1 }) },
  });
  await assert.rejects(good.submit(catJob({}), callAt(startMs, "a")), (error) => {
    assert.ok(error instanceof ProviderError);
    return !error.message.includes(png.toString("base64").slice(0, 64));
  });
});

test("the health call makes nothing, lists the models and warns of those that will end", async (context) => {
  const { adapter, emulator, send } = await setUpOpenAi(context);
  const health = await adapter.check!(callAt(startMs, "check"));
  assert.equal(health.ok, true);
  assert.ok(health.upstreamModels?.includes("gpt-image-2.5-flare"));
  assert.match(health.detail, /5 models; gpt-image-1\.5 shuts down on 2026-12-01/);
  assert.equal(emulator.billed.length, 0);
  const wrong = createOpenAi({ baseUrl: emulator.baseUrl, apiKey: "sk-wrong-key-1234" }, { send });
  const refused = await wrong.check!(callAt(startMs, "check"));
  assert.equal(refused.ok, false);
  assert.match(refused.detail, /HTTP 401/);
});

/** The fixtures' headers are a union, in which every row has the others' names as absent. */
function definedOf(headers: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value]],
    ),
  );
}
