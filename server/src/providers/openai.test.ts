import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { AuthenticationError, BadRequestError, NotFoundError, OpenAI, toFile } from "openai";
import sharp from "sharp";

import { adapterConformance } from "../../test/contracts/adapter.ts";
import type { AdapterFixture } from "../../test/contracts/adapter.ts";
import { callAt, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import { emulatedOpenAiKey, startOpenAiEmulator } from "../../test/emulators/openai.ts";
import type { OpenAiEmulator } from "../../test/emulators/openai.ts";
import { readForm } from "../../test/emulators/vendor-server.ts";
import type { Misbehaviour } from "../../test/emulators/vendor-server.ts";
import errors from "../../test/fixtures/openai/errors.json" with { type: "json" };
import { catJob, createTestSend } from "../../test/support/adapters.ts";
import { colours, paintMask, paintPlain } from "../../test/support/pictures.ts";
import { ProviderError } from "./adapter.ts";
import type { Adapter, FailureKind, Job, Step } from "./adapter.ts";
import { createOpenAi } from "./openai.ts";

const png = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
const jpeg = await paintPlain({ colour: colours.blue, width: 64, height: 64, format: "jpeg" });

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
  const { adapter, emulator } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
  await adapter.submit(catJob({ slots: [0, 1] }), callAt(startMs, "att_1"));
  emulator.set({ reply: { kind: "reset" } });
  const references = [referenceOf(png)];
  await assert.rejects(
    adapter.submit(catJob({ references }), callAt(startMs, "att_2")),
    fails("lost"),
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
  const { adapter, emulator } = await setUp(context);
  const parameters = { output_format: "png", output_compression: 40 };
  await adapter.submit(catJob({ parameters }), callAt(startMs, "att_1"));
  const body = JSON.parse(emulator.requests[0]!.body.toString());
  assert.deepEqual([body.output_format, "output_compression" in body], ["png", false]);
});

test("organisation and project are named where they are set", async (context) => {
  const { emulator, send } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
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
  const { adapter, emulator } = await setUp(context);
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

test("usage and quality are told as the vendor told them", async (context) => {
  const { adapter } = await setUp(context);
  const references = [referenceOf(png)];
  const job = catJob({ slots: [0, 1], references, parameters: { quality: "auto" } });
  const { usage } = done(await adapter.submit(job, callAt(startMs, "att_1")));
  assert.deepEqual(usage, {
    inputTokens: 325,
    outputTokens: 2_112,
    inputTextTokens: 2,
    inputImageTokens: 323,
    outputImageTokens: 2_112,
    quality: "medium",
  });
});

test("output that the vendor does not divide is all image, and figures it leaves out stay out", async (context) => {
  const { submitChanged } = await setUp(context);
  const { usage } = done(
    await submitChanged((body) => ({
      ...body,
      quality: "auto",
      usage: { output_tokens: 700, input_tokens: -1 },
    })),
  );
  assert.deepEqual(usage, { outputTokens: 700, outputImageTokens: 700 });
  const none = done(await submitChanged(({ data }) => ({ data })));
  assert.deepEqual(none.usage, {});
});

test("the pictures are the vendor's bytes", async (context) => {
  const { adapter } = await setUp(context);
  const job = catJob({
    width: 1_024,
    height: 1_536,
    format: "jpeg",
    parameters: { output_format: "jpeg" },
  });
  const [picture] = done(await adapter.submit(job, callAt(startMs, "att_1"))).pictures;
  assert.ok(picture?.kind === "bytes");
  const { format, width, height } = await sharp(picture.bytes).metadata();
  assert.deepEqual({ format, width, height }, { format: "jpeg", width: 1_024, height: 1_536 });
});

test("a picture that is missing or is no base64 fails alone, with the usage of all kept", async (context) => {
  const { submitChanged } = await setUp(context);
  const broken = ["====", "abc", "YWJj*YWJ", "YWJjZA", "YW_j", "YWJj\nYWJj"];
  for (const wrong of [
    ...broken.map((base64) => ({ b64_json: base64 })),
    {},
    { url: "https://x" },
  ]) {
    const step = await submitChanged((body) => ({ ...body, data: [body.data[0], wrong] }), [0, 1]);
    const { pictures, usage } = done(step);
    const [good, bad] = pictures;
    assert.equal(good?.kind, "bytes");
    assert.ok(bad?.kind === "failed", JSON.stringify(wrong));
    assert.deepEqual([bad.failure.kind, bad.failure.taskError], ["garbled", "no_image"]);
    assert.equal(usage.outputTokens, 2_112);
  }
});

test("every hostile reply to work that was done leaves an unknown outcome, never a second try", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const html = { "content-type": "text/html" };
  const page = Buffer.from("<html>Sign in</html>");
  const cases: [Misbehaviour, FailureKind][] = [
    [{ kind: "cut", share: 0.9 }, "lost"],
    [{ kind: "cut_quietly", share: 0.9 }, "garbled"],
    [{ kind: "reset" }, "lost"],
    [{ kind: "instead", reply: { status: 200, headers: html, body: page } }, "garbled"],
    [{ kind: "instead", reply: { status: 200, body: {} } }, "garbled"],
    [{ kind: "instead", reply: { status: 200, body: [] } }, "garbled"],
    [{ kind: "instead", reply: { status: 200, body: { data: "no" } } }, "garbled"],
    [{ kind: "instead", reply: { status: 502, headers: html, body: page } }, "lost"],
  ];
  for (const [reply, kind] of cases) {
    emulator.set({ reply });
    const before = emulator.requests.length;
    await assert.rejects(
      adapter.submit(catJob({}), callAt(startMs, "att_1")),
      fails(kind),
      reply.kind,
    );
    assert.equal(emulator.requests.length, before + 1);
  }
});

test("two gigabytes of reply are broken off at the limit", async (context) => {
  const { adapter, emulator } = await setUp(context);
  emulator.set({ reply: { kind: "huge", bytes: 2 * 2 ** 30 } });
  await assert.rejects(adapter.submit(catJob({}), callAt(startMs, "att_1")), fails("garbled"));
  assert.ok(emulator.bytesSent < 128 * 2 ** 20, `${emulator.bytesSent} bytes were sent`);
});

test("a redirect is not followed, wherever it points", async (context) => {
  const { adapter, emulator } = await setUp(context);
  for (const location of ["http://169.254.169.254/latest", `${emulator.baseUrl}/models`]) {
    const reply = { status: 302, headers: { location }, body: {} };
    emulator.set({ reply: { kind: "instead", reply } });
    const before = emulator.requests.length;
    await assert.rejects(adapter.submit(catJob({}), callAt(startMs, "a")), fails("bad_request"));
    assert.equal(emulator.requests.length, before + 1);
  }
});

test("a refusal that comes as a success is still a refusal", async (context) => {
  const { adapter, emulator } = await setUp(context);
  const refused = errors.find(({ kind }) => kind === "refused");
  emulator.set({ reply: { kind: "instead", reply: { status: 200, body: refused!.body } } });
  await assert.rejects(adapter.submit(catJob({}), callAt(startMs, "a")), fails("refused"));
});

test("each wait that the vendor asks for is told in milliseconds", async (context) => {
  const { adapter, emulator } = await setUp(context);
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
  const { emulator, send } = await setUp(context);
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
  const { adapter, emulator, send } = await setUp(context);
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

test("the vendor's own client understands the emulator: pictures, edits, models and errors", async (context) => {
  const { emulator } = await setUp(context);
  const client = new OpenAI({
    apiKey: emulatedOpenAiKey,
    baseURL: emulator.baseUrl,
    maxRetries: 0,
  });
  const model = "gpt-image-2.5-flare";
  const made = await client.images.generate({ model, prompt: "a cat", n: 2, quality: "low" });
  assert.equal(made.data?.length, 2);
  assert.deepEqual([made.quality, made.size, made.usage?.output_tokens], ["low", "1024x1024", 544]);
  const mask = await paintMask(64, 64, { left: 0, top: 0, width: 8, height: 8 });
  const edited = await client.images.edit({
    model,
    prompt: "a hat",
    image: [
      await toFile(png, "a.png", { type: "image/png" }),
      await toFile(jpeg, "b.jpg", { type: "image/jpeg" }),
    ],
    mask: await toFile(mask, "mask.png", { type: "image/png" }),
    size: "1536x1024",
  });
  const { width, height } = await sharp(
    Buffer.from(edited.data![0]!.b64_json!, "base64"),
  ).metadata();
  assert.deepEqual([width, height], [1_536, 1_024]);
  assert.equal(edited.usage?.input_tokens_details.image_tokens, 646);
  const models = await client.models.list();
  assert.ok(models.data.some(({ id }) => id === model));
  await assert.rejects(
    client.images.generate({ model: "gpt-image-1", prompt: "a cat" }),
    (error) => error instanceof NotFoundError && error.code === "model_not_found",
  );
  await assert.rejects(
    client.images.generate({ model, prompt: "a cat", response_format: "b64_json" }),
    (error) => error instanceof BadRequestError && error.param === "response_format",
  );
  const stranger = new OpenAI({ apiKey: "sk-other", baseURL: emulator.baseUrl, maxRetries: 0 });
  await assert.rejects(stranger.models.list(), AuthenticationError);
});

test("the emulator refuses what the vendor refuses", async (context) => {
  const { emulator } = await setUp(context);
  const model = "gpt-image-2.5-flare";
  const cases: [Record<string, unknown>, param: string][] = [
    [{ n: 0 }, "n"],
    [{ n: 11 }, "n"],
    [{ size: "1000x1000" }, "size"],
    [{ size: "3840x1024" }, "size"],
    [{ quality: "hd" }, "quality"],
    [{ background: "transparent", output_format: "jpeg" }, "background"],
    [{ output_compression: 50 }, "output_compression"],
    [{ style: "vivid" }, "style"],
    [{ prompt: undefined }, "prompt"],
    [{ model: "gpt-image-1.5", quality: "max" }, "quality"],
  ];
  for (const [wrong, param] of cases) {
    const reply = await fetch(`${emulator.baseUrl}/images/generations`, {
      method: "POST",
      headers: { authorization: `Bearer ${emulatedOpenAiKey}`, "content-type": "application/json" },
      body: JSON.stringify({ model, prompt: "a cat", ...wrong }),
    });
    const { error } = (await reply.json()) as { error: { param: string } };
    assert.deepEqual([reply.status, error.param], [400, param], JSON.stringify(wrong));
  }
  assert.equal(emulator.billed.length, 0);
});

type Body = { data: Record<string, unknown>[] };

async function setUp(context: TestContext) {
  const emulator: OpenAiEmulator = await startOpenAiEmulator();
  const { send, close } = createTestSend();
  context.after(async () => {
    await close();
    await emulator.stop();
  });
  const settings = { baseUrl: emulator.baseUrl, apiKey: emulatedOpenAiKey };
  const adapter: Adapter = createOpenAi(settings, { send });
  /** Submits a job whose reply is changed on its way. */
  const submitChanged = (
    change: (body: Body) => unknown,
    slots: Job["slots"] = [0],
  ): Promise<Step> => {
    emulator.set({ reply: { kind: "changed", change: (body) => change(body as Body) } });
    return adapter.submit(catJob({ slots }), callAt(startMs, "att_1"));
  };
  return { emulator, adapter, send, submitChanged };
}

function done(step: Step): Extract<Step, { status: "done" }> {
  assert.ok(step.status === "done");
  return step;
}

function fails(kind: FailureKind): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}

/** The fixtures' headers are a union, in which every row has the others' names as absent. */
function definedOf(headers: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value]],
    ),
  );
}
