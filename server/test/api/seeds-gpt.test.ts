/** What the document says of the GPT models, held against a running gateway. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { colours, countColour, leastAlpha, pixelsOf } from "../support/pictures.ts";
import { startSeeds } from "../support/seeds.ts";

const { client, server, deliver, assertPixels, assertRefused } = await startSeeds();

describe("gpt-image-1-official and gpt-image-1.5-official", { concurrency: 3 }, () => {
  const model = "gpt-image-1-official";

  test("every ratio has its size, square by default and also with references", async () => {
    const sizes = { "1:1": "1024x1024", "2:3": "1024x1536", "3:2": "1536x1024" };
    await assertPixels({ model }, sizes);
    await assertPixels({ model: "gpt-image-1.5-official" }, sizes);
    const [picture] = await deliver({ model, image_urls: [`${server.origin}/photo.jpg`] });
    assert.equal(pixelsOf(picture!), "1024x1024");
    assert.ok(countColour(picture!, colours.cyan, 12) > 1_000);
    await assertRefused({ model, size: "16:9" }, { param: "size" });
    await assertRefused({ model, size: "auto" }, { param: "size" });
  });

  test("n at or below 0 counts as 1 and above 4 as 4, with a warning; quotes are an error", async () => {
    for (const [n, count] of [
      [0, 1],
      [-1, 1],
      [5, 4],
      [4, 4],
    ] as const) {
      const { id, warnings } = await client.accept({ model, prompt: "fox", n, quality: "low" });
      const codes = warnings.map(({ param, code }) => [param, code]);
      assert.deepEqual(codes, n === count ? [] : [["n", "clamped"]]);
      const task = await client.wait(id);
      assert.equal(task.result?.images.length, count);
      assert.equal(task.cost, (11_000 * count) / 1e6);
    }
    for (const n of ["1", "4", 1.5, true]) await assertRefused({ model, n }, { param: "n" });
  });

  test("the price follows size and quality, and auto is charged as medium", async () => {
    const prices: [string, string, string, number][] = [
      [model, "1:1", "low", 0.011],
      [model, "1:1", "medium", 0.042],
      [model, "1:1", "high", 0.167],
      [model, "3:2", "high", 0.25],
      [model, "2:3", "auto", 0.063],
      ["gpt-image-1.5-official", "2:3", "medium", 0.051],
      ["gpt-image-1.5-official", "3:2", "medium", 0.05],
      ["gpt-image-1.5-official", "1:1", "auto", 0.034],
    ];
    const found = await Promise.all(
      prices.map(async ([id, size, quality]) => {
        const { cost } = await client.run({ model: id, prompt: "fox", size, quality });
        return [id, size, quality, cost];
      }),
    );
    assert.deepEqual(found, prices);
    await assertRefused({ model, quality: "ultra" }, { param: "quality" });
  });

  test("png and jpeg are made as asked; transparent is not to be had as jpeg", async () => {
    for (const format of ["png", "jpeg"]) {
      const [picture] = await deliver({ model, output_format: format, background: "opaque" });
      assert.equal(picture?.format, format);
      assert.equal(picture?.channels, 3);
    }
    const [clear] = await deliver({ model, background: "transparent" });
    assert.equal(leastAlpha(clear!), 0);
    await assertRefused(
      { model, background: "transparent", output_format: "jpeg" },
      { param: "background" },
    );
    await assertRefused({ model, output_format: "webp" }, { param: "output_format" });
    await assertRefused({ model, background: "clear" }, { param: "background" });
    await assertRefused({ model, moderation: "high" }, { param: "moderation" });
  });

  test("compression makes a jpeg smaller, and is checked, then ignored with a warning, for png", async () => {
    const jpeg = { model, output_format: "jpeg", prompt: "fox" };
    const low = await client.run({ ...jpeg, output_compression: 10 });
    const high = await client.run({ ...jpeg, output_compression: 100 });
    assert.ok(low.result!.images[0]!.bytes < high.result!.images[0]!.bytes / 2);
    const { warnings } = await client.accept({ model, prompt: "fox", output_compression: 0 });
    assert.deepEqual(
      warnings.map(({ param, code }) => [param, code]),
      [["output_compression", "ignored"]],
    );
    for (const output_compression of [-1, 101, "50", 50.5]) {
      await assertRefused({ model, output_compression }, { param: "output_compression" });
    }
  });

  test("fifteen references are taken and a sixteenth is refused; a mask needs references", async () => {
    const image_urls = Array.from({ length: 15 }, () => `${server.origin}/input.png`);
    const [picture] = await deliver({ model, image_urls });
    assert.ok(countColour(picture!, colours.green) > 10_000);
    const refusal = await assertRefused(
      { model, image_urls: [...image_urls, `${server.origin}/input.png`] },
      { param: "image_urls" },
    );
    assert.match(refusal, /16 references.* at most 15/);
    await assertRefused({ model, mask_url: `${server.origin}/input.png` }, { param: "mask_url" });
  });
});
