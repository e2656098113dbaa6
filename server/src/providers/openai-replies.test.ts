import assert from "node:assert/strict";
import { test } from "node:test";

import sharp from "sharp";

import { callAt, referenceOf, startMs } from "../../test/contracts/adapter-driver.ts";
import type { Misbehaviour } from "../../test/emulators/vendor-server.ts";
import { catJob, isFailure } from "../../test/support/adapters.ts";
import { png, setUpOpenAi } from "../../test/support/openai.ts";
import type { FailureKind, Step } from "./adapter.ts";

test("usage and quality are told as the vendor told them", async (context) => {
  const { adapter } = await setUpOpenAi(context);
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
  const { submitChanged } = await setUpOpenAi(context);
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
  const { adapter } = await setUpOpenAi(context);
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
  const { submitChanged } = await setUpOpenAi(context);
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
  const { adapter, emulator } = await setUpOpenAi(context);
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
      isFailure(kind),
      reply.kind,
    );
    assert.equal(emulator.requests.length, before + 1);
  }
});

test("two gigabytes of reply are broken off at the limit", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  emulator.set({ reply: { kind: "huge", bytes: 2 * 2 ** 30 } });
  await assert.rejects(adapter.submit(catJob({}), callAt(startMs, "att_1")), isFailure("garbled"));
  assert.ok(emulator.bytesSent < 128 * 2 ** 20, `${emulator.bytesSent} bytes were sent`);
});

test("a redirect is not followed, wherever it points", async (context) => {
  const { adapter, emulator } = await setUpOpenAi(context);
  for (const location of ["http://169.254.169.254/latest", `${emulator.baseUrl}/models`]) {
    const reply = { status: 302, headers: { location }, body: {} };
    emulator.set({ reply: { kind: "instead", reply } });
    const before = emulator.requests.length;
    await assert.rejects(
      adapter.submit(catJob({}), callAt(startMs, "a")),
      isFailure("bad_request"),
    );
    assert.equal(emulator.requests.length, before + 1);
  }
});

function done(step: Step): Extract<Step, { status: "done" }> {
  assert.ok(step.status === "done");
  return step;
}
