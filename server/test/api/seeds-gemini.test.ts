/** What the documents say of the Gemini models, held against a running gateway. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  collectPictures,
  colours,
  countColour,
  dataUri,
  paintPlain,
  pixelsOf,
} from "../support/pictures.ts";
import { plain, startSeeds } from "../support/seeds.ts";

const { client, server, deliver, assertPixels, assertRefused } = await startSeeds();

describe("gemini-2.5-flash-image-preview", { concurrency: 3 }, () => {
  const model = "gemini-2.5-flash-image-preview";

  test("every ratio has its pixels, and auto without references is square", async () => {
    await assertPixels(
      { model },
      {
        "1:1": "1024x1024",
        "2:3": "832x1248",
        "3:2": "1248x832",
        "3:4": "864x1184",
        "4:3": "1184x864",
        "4:5": "896x1152",
        "5:4": "1152x896",
        "9:16": "768x1344",
        "16:9": "1344x768",
        "21:9": "1536x672",
        auto: "1024x1024",
      },
    );
  });

  test("auto with a reference takes the ratio of the table that is nearest to it", async () => {
    const image_urls = [`${server.origin}/input-a.png`];
    for (const body of [{ size: "auto" }, {}]) {
      const [picture] = await deliver({ model, image_urls, ...body });
      assert.equal(pixelsOf(picture!), "1248x832");
    }
  });

  test("the standard and the official version cost the same, and fallback is for the first only", async () => {
    const official = `${model}-official`;
    const fallback = await client.run({ model, prompt: "fox", official_fallback: true });
    assert.equal(fallback.status, "completed");
    assert.equal(fallback.cost, 0.0387);
    const task = await client.run({ model: official, prompt: "fox", official_fallback: false });
    assert.equal(task.cost, 0.0387);
    await assertRefused(
      { model: official, official_fallback: true },
      { param: "official_fallback", reason: "unsupported_parameter" },
    );
  });

  test("n is 1 to 4, a plain number, and each picture of n is another one", async () => {
    const pictures = await deliver({ model, n: 4, size: "1:1" });
    assert.equal(new Set(pictures.map(({ pixels }) => pixels.toString("latin1"))).size, 4);
    for (const n of [0, -1, 5, 1.5, "1", "4"]) await assertRefused({ model, n }, { param: "n" });
  });

  test("references may be data URIs and bare base64, fourteen of them and no fifteenth", async () => {
    const green = await paintPlain(plain("green", 64, 64, "png"));
    const [picture] = await deliver({
      model,
      image_urls: [dataUri(green), green.toString("base64"), `${server.origin}/input-b.png`],
    });
    assert.ok(countColour(picture!, colours.green) > 1_000);
    assert.ok(countColour(picture!, colours.red) > 1_000);
    const image_urls = Array.from({ length: 14 }, () => `${server.origin}/input.png`);
    await client.accept({ model, prompt: "fox", image_urls });
    const refusal = await assertRefused(
      { model, image_urls: [...image_urls, `${server.origin}/input.png`] },
      { param: "image_urls" },
    );
    assert.match(refusal, /15 references.* at most 14/);
  });

  test("the only resolution is 1K, and a prompt has at most a thousand characters", async () => {
    await client.accept({ model, prompt: "👍".repeat(1_000), resolution: "1K" });
    await assertRefused({ model, prompt: "👍".repeat(1_001) }, { param: "prompt" });
    for (const resolution of ["0.5K", "2K", "4K"]) {
      await assertRefused({ model, resolution }, { param: "resolution" });
    }
    await assertRefused({ model, size: "7:3" }, { param: "size" });
  });
});

describe("gemini-3.1-flash-lite-image", { concurrency: 3 }, () => {
  const model = "gemini-3.1-flash-lite-image";

  test("every ratio has its pixels, and auto without references is square", async () => {
    await assertPixels(
      { model },
      {
        "1:1": "1024x1024",
        "3:2": "1264x848",
        "2:3": "848x1264",
        "4:3": "1200x896",
        "3:4": "896x1200",
        "16:9": "1376x768",
        "9:16": "768x1376",
        "5:4": "1152x928",
        "4:5": "928x1152",
        "21:9": "1584x672",
        auto: "1024x1024",
      },
    );
  });

  test("other resolutions are silently lowered to 1K: a picture of 1K, and a warning", async () => {
    for (const resolution of ["0.5K", "2K", "4K", "4k"]) {
      const { id, warnings } = await client.accept({ model, prompt: "fox", resolution });
      assert.deepEqual(
        warnings.map(({ param, code }) => [param, code]),
        [["resolution", "lowered"]],
      );
      const task = await client.wait(id);
      assert.deepEqual(task.warnings, warnings);
      const [picture] = await collectPictures(task);
      assert.equal(pixelsOf(picture!), "1024x1024");
    }
    await assertRefused({ model, resolution: "8K" }, { param: "resolution" });
  });

  test("search flags have no effect but a warning", async () => {
    const { id, warnings } = await client.accept({
      model,
      prompt: "fox",
      google_search: true,
      google_image_search: true,
    });
    assert.deepEqual(
      warnings.map(({ param, code }) => [param, code]),
      [
        ["google_search", "ignored"],
        ["google_image_search", "ignored"],
      ],
    );
    assert.equal((await client.wait(id)).status, "completed");
  });

  test("it is billed by token and by the pictures that were made", async () => {
    const task = await client.run({ model, prompt: "four", n: 4 });
    assert.equal(task.cost, 0.1344);
    assert.equal(task.credits_cost, 1.344);
    assert.equal(task.usage?.output_tokens, 4_480);
    assert.equal(task.usage?.input_tokens, 4);
    assert.equal(task.usage?.total_tokens, 4_484);
    const partly = await client.run({ model, prompt: "two [[partial:2]]", n: 4 });
    assert.equal(partly.result?.images.length, 2);
    // Seventeen bytes are five tokens, which cost 1.25 micro-USD: one, half up.
    assert.equal(partly.cost, 0.067202);
    for (const n of [0, 5, "1"]) await assertRefused({ model, n }, { param: "n" });
  });

  test("masks, the official fallback, bare base64 and an -official name are refused", async () => {
    const image_urls = [`${server.origin}/input.png`];
    const mask_url = `${server.origin}/input-a.png`;
    await assertRefused({ model, image_urls, mask_url }, { param: "mask_url" });
    await assertRefused({ model, official_fallback: true }, { param: "official_fallback" });
    await client.accept({ model, prompt: "fox", official_fallback: false });
    const bare = (await paintPlain(plain("green", 64, 64, "png"))).toString("base64");
    const advice = await assertRefused({ model, image_urls: [bare] }, { param: "image_urls" });
    assert.match(advice, /data:image\//);
    const unknown = await assertRefused(
      { model: `${model}-official` },
      { status: 404, param: "model", reason: "model_not_found" },
    );
    assert.match(unknown, new RegExp(model));
  });

  test("jpeg, png and webp come as data URIs and as links, fourteen and not fifteen", async () => {
    const image_urls = await Promise.all(
      (["jpeg", "png", "webp"] as const).map(async (format) =>
        dataUri(await paintPlain(plain("magenta", 64, 64, format)), format),
      ),
    );
    const [picture] = await deliver({
      model,
      image_urls: [...image_urls, `${server.origin}/input1.jpg`, `${server.origin}/input.png`],
    });
    assert.ok(countColour(picture!, colours.magenta, 12) > 1_000);
    assert.ok(countColour(picture!, colours.green, 12) > 1_000);
    const many = Array.from({ length: 15 }, () => `${server.origin}/input.png`);
    await assertRefused({ model, image_urls: many }, { param: "image_urls" });
  });
});
