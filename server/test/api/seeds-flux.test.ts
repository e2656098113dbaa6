/** What the documents say of the FLUX models, held against a running gateway. */
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

describe("flux-2-flex and flux-2-pro", { concurrency: 3 }, () => {
  const model = "flux-2-pro";
  const table: Record<string, [string, string]> = {
    "1:1": ["1440x1440", "1536x1536"],
    "4:3": ["1664x1248", "1824x1368"],
    "3:4": ["1248x1664", "1368x1824"],
    "16:9": ["1920x1080", "2048x1152"],
    "9:16": ["1080x1920", "1152x2048"],
    "3:2": ["1728x1152", "1872x1248"],
    "2:3": ["1152x1728", "1248x1872"],
  };

  test("every row of the document's table is met exactly, in either letter case of the tier", async () => {
    const column = (index: 0 | 1) =>
      Object.fromEntries(Object.entries(table).map(([size, sides]) => [size, sides[index]]));
    await assertPixels({ model, resolution: "1K" }, column(0));
    await assertPixels({ model, resolution: "2k" }, column(1));
    await assertPixels({ model: "flux-2-flex", resolution: "1k" }, { "1:1": "1440x1440" });
    await assertPixels({ model: "flux-2-flex", resolution: "2K" }, { "9:16": "1152x2048" });
  });

  test("without size and resolution it is 1:1 at 1K, and the price goes by the tier", async () => {
    const task = await client.run({ model, prompt: "fox" });
    const [picture] = await collectPictures(task);
    assert.equal(pixelsOf(picture!), "1440x1440");
    assert.equal(task.cost, 0.045);
    assert.equal((await client.run({ model, prompt: "fox", resolution: "2K" })).cost, 0.06);
    const flex = { model: "flux-2-flex", prompt: "fox", resolution: "2K" };
    assert.equal((await client.run(flex)).cost, 0.15);
  });

  test("an unsupported ratio is refused with the seven that exist", async () => {
    const message = await assertRefused({ model, size: "3:5" }, { param: "size" });
    assert.equal(
      message,
      'size "3:5" is not offered by flux-2-pro; use one of 1:1, 4:3, 3:4, 16:9, 9:16, 3:2, 2:3',
    );
    for (const size of ["auto", "21:9", "1024x1024"]) {
      await assertRefused({ model, size }, { param: "size" });
    }
    await assertRefused({ model, resolution: "4K" }, { param: "resolution" });
  });

  test("eight references by URL are taken; a ninth, and base64 in any form, are refused", async () => {
    const image_urls = Array.from({ length: 8 }, () => `${server.origin}/input2.jpg`);
    const [picture] = await deliver({ model, image_urls });
    assert.ok(countColour(picture!, colours.green, 12) > 10_000);
    await assertRefused(
      { model, image_urls: [...image_urls, `${server.origin}/input2.jpg`] },
      { param: "image_urls" },
    );
    const bytes = await paintPlain(plain("green", 64, 64, "png"));
    for (const url of [dataUri(bytes), bytes.toString("base64")]) {
      const message = await assertRefused({ model, image_urls: [url] }, { param: "image_urls" });
      assert.match(message, /\/v1\/uploads\/images/);
    }
  });

  test("n other than 1, masks and the official fallback are refused by name", async () => {
    await client.accept({ model, prompt: "fox", n: 1 });
    for (const n of [0, 2, "1"]) await assertRefused({ model, n }, { param: "n" });
    const image_urls = [`${server.origin}/input.png`];
    await assertRefused(
      { model, image_urls, mask_url: `${server.origin}/input.png` },
      { param: "mask_url" },
    );
    await assertRefused({ model, official_fallback: true }, { param: "official_fallback" });
  });
});

describe("flux-kontext-pro and flux-kontext-max", { concurrency: 3 }, () => {
  const model = "flux-kontext-pro";

  test("every ratio has its pixels, and without a reference both matching words mean 16:9", async () => {
    await assertPixels(
      { model },
      {
        "1:1": "1024x1024",
        "4:3": "1184x880",
        "3:4": "880x1184",
        "16:9": "1392x752",
        "9:16": "752x1392",
        "3:2": "1248x832",
        "2:3": "832x1248",
        "21:9": "1568x672",
        "9:21": "672x1568",
        match_input_image: "1392x752",
        auto: "1392x752",
      },
    );
    const [picture] = await deliver({ model });
    assert.equal(pixelsOf(picture!), "1392x752");
  });

  test("with a reference its ratio is matched by default, by auto and by match_input_image", async () => {
    const image_urls = [`${server.origin}/input-b.png`];
    for (const body of [{}, { size: "auto" }, { size: "match_input_image" }]) {
      const [picture] = await deliver({ model, image_urls, ...body });
      assert.equal(pixelsOf(picture!), "832x1248");
      assert.ok(countColour(picture!, colours.red) > 1_000);
    }
    const [square] = await deliver({ model, image_urls, size: "1:1" });
    assert.equal(pixelsOf(square!), "1024x1024");
  });

  test("one reference by URL is taken; a second one and base64 are refused", async () => {
    const image_urls = [`${server.origin}/input.png`, `${server.origin}/input-a.png`];
    await assertRefused({ model, image_urls }, { param: "image_urls" });
    const bytes = await paintPlain(plain("green", 64, 64, "png"));
    for (const url of [dataUri(bytes), bytes.toString("base64")]) {
      await assertRefused({ model, image_urls: [url] }, { param: "image_urls" });
    }
  });

  test("png and jpg, tolerance 0 to 6 and upsampling are taken, other values refused", async () => {
    const [jpeg] = await deliver({ model, response_format: "jpg" });
    assert.equal(jpeg?.format, "jpeg");
    for (const safety_tolerance of [0, 6]) {
      await client.accept({ model, prompt: "fox", safety_tolerance, prompt_upsampling: true });
    }
    for (const safety_tolerance of [-1, 7, "2", 2.5]) {
      await assertRefused({ model, safety_tolerance }, { param: "safety_tolerance" });
    }
    await assertRefused({ model, response_format: "jpeg" }, { param: "response_format" });
    await assertRefused({ model, prompt_upsampling: "true" }, { param: "prompt_upsampling" });
    await assertRefused({ model, size: "5:4" }, { param: "size" });
  });

  test("each version has its fixed price", async () => {
    assert.equal((await client.run({ model, prompt: "fox" })).cost, 0.04);
    assert.equal((await client.run({ model: "flux-kontext-max", prompt: "fox" })).cost, 0.08);
  });
});
