import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { GoogleGenAI } from "@google/genai";
import sharp from "sharp";

import { emulatedGeminiKey, startGeminiEmulator } from "./gemini.ts";

const lite = "gemini-3.1-flash-lite-image";

test("the vendor's own SDK makes a picture with generateContent", async (t) => {
  const { emulator, sdk } = await setUp(t);
  const reference = await sharp({
    create: { width: 64, height: 36, channels: 3, background: "#123456" },
  })
    .png()
    .toBuffer();
  const reply = await sdk.models.generateContent({
    model: "gemini-2.5-flash-image",
    contents: [
      {
        role: "user",
        parts: [
          { text: "a cat on a mat" },
          { inlineData: { mimeType: "image/png", data: reference.toString("base64") } },
        ],
      },
    ],
    config: { responseModalities: ["TEXT", "IMAGE"], imageConfig: { aspectRatio: "3:2" } },
  });
  const [words, picture] = reply.candidates?.[0]?.content?.parts ?? [];
  assert.equal(words?.text, "Here is the picture.");
  const bytes = Buffer.from(picture?.inlineData?.data ?? "", "base64");
  const { width, height, format } = await sharp(bytes).metadata();
  assert.deepEqual({ width, height, format }, { width: 1_248, height: 832, format: "png" });
  assert.equal(reply.usageMetadata?.promptTokenCount, 4 + 258);
  assert.equal(reply.candidates?.[0]?.finishReason, "STOP");
  assert.deepEqual(
    emulator.billed.map(({ route, outputTokens }) => [route, outputTokens]),
    [["generateContent", 1_290]],
  );
});

test("the vendor's own SDK makes, reads back and deletes an interaction", async (t) => {
  const { sdk } = await setUp(t);
  const made = await sdk.interactions.create({
    model: lite,
    input: "a boat",
    response_format: { type: "image", aspect_ratio: "16:9", image_size: "1K" },
  });
  assert.equal(made.status, "completed");
  assert.equal(made.usage?.total_output_tokens, 1_120);
  const id = made.id ?? "";
  const read = await sdk.interactions.get(id);
  assert.deepEqual(read.steps, made.steps);
  await sdk.interactions.delete(id);
  await assert.rejects(Promise.resolve(sdk.interactions.get(id)), { status: 404 });
});

test("the vendor's own SDK follows background work to its end, and cancels it", async (t) => {
  const { emulator, sdk } = await setUp(t);
  const request = { model: lite, input: "a hat", background: true } as const;
  const begun = await sdk.interactions.create(request);
  const seen: (string | undefined)[] = [begun.status];
  for (let polls = 0; polls < 3; polls++) {
    seen.push((await sdk.interactions.get(begun.id ?? "")).status);
  }
  assert.deepEqual(seen, ["in_progress", "queued", "in_progress", "completed"]);
  const other = await sdk.interactions.create(request);
  const cancelled = await sdk.interactions.cancel(other.id ?? "");
  assert.equal(cancelled.status, "cancelled");
  assert.equal(emulator.billed.length, 2);
});

test("the vendor's own SDK reads the stream of an interaction in the vendor's order", async (t) => {
  const { sdk } = await setUp(t);
  const stream = await sdk.interactions.create({ model: lite, input: "a fox", stream: true });
  const names: string[] = [];
  for await (const event of stream) names.push(event.event_type);
  assert.deepEqual(names, [
    "interaction.created",
    "step.start",
    "step.delta",
    "step.stop",
    "interaction.completed",
  ]);
});

test("the vendor's own SDK reports the errors of both shapes", async (t) => {
  const { emulator, sdk } = await setUp(t);
  const contents = "a cat";
  const cases = [
    { model: "gemini-2.5-flash-image", config: { candidateCount: 2 }, status: 400 },
    { model: lite, config: { imageConfig: { imageSize: "1k" } }, status: 400 },
    { model: lite, config: { imageConfig: { aspectRatio: "7:5" } }, status: 400 },
    { model: lite, config: { tools: [{ googleSearch: {} }] }, status: 400 },
    { model: "gemini-2.5-flash-image", config: { imageConfig: { imageSize: "1K" } }, status: 400 },
    { model: "gemini-2.5-flash-image-preview", config: {}, status: 404 },
  ];
  for (const { model, config, status } of cases) {
    await assert.rejects(sdk.models.generateContent({ model, contents, config }), { status });
  }
  const bad = { model: lite, input: "a cat", store: false, background: true } as const;
  await assert.rejects(Promise.resolve(sdk.interactions.create(bad)), { status: 400 });
  const foreign = createSdk(emulator.origin, "AIzaSomebodyElse");
  await assert.rejects(foreign.models.generateContent({ model: lite, contents }), {
    status: 400,
    message: /API_KEY_INVALID/,
  });
  await assert.rejects(
    Promise.resolve(foreign.interactions.create({ model: lite, input: contents })),
    { status: 401 },
  );
  assert.deepEqual(emulator.billed, []);
});

async function setUp(t: TestContext) {
  const emulator = await startGeminiEmulator();
  t.after(() => emulator.stop());
  return { emulator, sdk: createSdk(emulator.origin, emulatedGeminiKey) };
}

function createSdk(baseUrl: string, apiKey: string): GoogleGenAI {
  return new GoogleGenAI({ apiKey, httpOptions: { baseUrl, apiVersion: "v1beta" } });
}
