import assert from "node:assert/strict";
import { test } from "node:test";

import { AuthenticationError, BadRequestError, NotFoundError, OpenAI, toFile } from "openai";
import sharp from "sharp";

import { jpeg, png, setUpOpenAi } from "../support/openai.ts";
import { paintMask } from "../support/pictures.ts";
import { emulatedOpenAiKey } from "./openai.ts";

test("the vendor's own client understands the emulator: pictures, edits, models and errors", async (context) => {
  const { emulator } = await setUpOpenAi(context);
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
  const { emulator } = await setUpOpenAi(context);
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
