/**
 * The five documents that define the public contract, held against a running gateway: every request
 * body they print, and every row of their tables.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import type { Task } from "../../../client/src/tasks.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";
import {
  collectPictures,
  colours,
  countColour,
  dataUri,
  leastAlpha,
  paintPlain,
  pixelsOf,
} from "../support/pictures.ts";
import type { Plain, Rgb, Seen } from "../support/pictures.ts";
import { startReferenceServer } from "../support/reference-server.ts";
import type { ReferenceServer } from "../support/reference-server.ts";

type Body = { model: string; prompt: string; image_urls?: string[]; [field: string]: unknown };

type Printed = {
  /** As the document prints it; the origin of its URLs is replaced when it is sent. */
  body: Body;
  promised: {
    pixels: string;
    format: string;
    pictures: number;
    transparent: boolean;
    /** USD. */
    cost: number;
  };
};

const folder = new URL("../fixtures/seeds/", import.meta.url);
const documents = readdirSync(folder).toSorted();

/** What the documents' URLs lead to: a picture a path, each in a colour of its own. */
const references: Record<string, Plain> = {
  "/images/cat_and_otter.png": plain("magenta", 400, 300, "png"),
  "/input.png": plain("green", 320, 320, "png"),
  "/input-a.png": plain("cyan", 300, 200, "png"),
  "/input-b.png": plain("red", 200, 300, "png"),
  "/input1.jpg": plain("magenta", 320, 240, "jpeg"),
  "/input2.jpg": plain("green", 240, 320, "jpeg"),
  "/photo.jpg": plain("cyan", 640, 480, "jpeg"),
};

let gateway: Gateway;
let server: ReferenceServer;
let client: Client;

before(async () => {
  gateway = await startGateway({ DARKROOM_PICTURE_PROCESSES: "2" });
  client = await gateway.connect();
  server = await startReferenceServer();
  for (const [path, picture] of Object.entries(references)) {
    server.serve(path, await paintPlain(picture));
  }
});

after(async () => {
  await gateway.stop();
  await server.stop();
});

describe("every request body that the documents print", { concurrency: 3 }, () => {
  assert.equal(documents.length, 5);
  for (const name of documents) {
    for (const { body, promised } of readPrinted(name)) {
      const shown = `${body.prompt.slice(0, 45)} (${Object.keys(body).length} fields)`;
      test(`${name}: ${shown} gives the promised pictures`, async () => {
        const accepted = await client.accept(atLoopback(body));
        assert.deepEqual(accepted.warnings, []);
        const task = await client.wait(accepted.id);
        const pictures = await collectPictures(task);
        for (const picture of pictures) {
          assert.equal(pixelsOf(picture), promised.pixels);
          assert.equal(picture.format, promised.format);
          assert.equal(leastAlpha(picture) === 0, promised.transparent);
          assertReferencesShown(picture, body.image_urls ?? []);
        }
        assert.equal(pictures.length, promised.pictures);
        assert.equal(
          new Set(pictures.map(({ pixels }) => pixels.toString("latin1"))).size,
          pictures.length,
        );
        assert.equal(task.cost, promised.cost);
        assert.equal(task.model, body.model);
        assertExpiresAfterADay(task);
      });
    }
  }
});

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

function plain(
  colour: keyof typeof colours,
  width: number,
  height: number,
  format: Plain["format"],
): Plain {
  return { colour: colours[colour], width, height, format };
}

function readPrinted(name: string): Printed[] {
  return JSON.parse(readFileSync(new URL(name, folder), "utf8")) as Printed[];
}

/** The body with the origin of each URL replaced by the reference server's. */
function atLoopback(body: Body): Body {
  if (body.image_urls === undefined) return body;
  const image_urls = body.image_urls.map((url) => `${server.origin}${new URL(url).pathname}`);
  return { ...body, image_urls };
}

/** Each reference shows in its colour, and no colour of another reference does. */
function assertReferencesShown(picture: Seen, urls: readonly string[]): void {
  const shown = urls.map((url) => references[new URL(url).pathname]!.colour);
  for (const colour of Object.values(references).map((reference): Rgb => reference.colour)) {
    const count = countColour(picture, colour, 12);
    if (shown.includes(colour))
      assert.ok(count > 1_000, `${colour.join()} shows in ${count} pixels`);
    else assert.ok(count < 100, `${colour.join()} shows in ${count} pixels`);
  }
}

function assertExpiresAfterADay({ completed = 0, result }: Task): void {
  for (const image of result?.images ?? []) assert.equal(image.expires_at, completed + 86_400);
}

async function deliver(body: Record<string, unknown>): Promise<Seen[]> {
  return collectPictures(await client.run({ prompt: "A red fox", ...body }));
}

/** Submits a task for every size at once and compares the pixels of what comes back. */
async function assertPixels(
  body: Record<string, unknown>,
  sizes: Readonly<Record<string, string>>,
): Promise<void> {
  const found = await Promise.all(
    Object.keys(sizes).map(async (size) => {
      const [picture] = await deliver({ ...body, size });
      return [size, pixelsOf(picture!)];
    }),
  );
  assert.deepEqual(Object.fromEntries(found), sizes);
}

type Expected = { param: string; status?: number; reason?: string };

/** Fails unless the submit is refused for this field; returns the message. */
async function assertRefused(
  body: Record<string, unknown>,
  { param, status = 400, reason }: Expected,
): Promise<string> {
  const refusal = await client.refuse({ prompt: "A red fox", ...body });
  const { message } = refusal;
  assert.deepEqual([refusal.status, refusal.param], [status, param], message);
  assert.ok(message.includes(param), message);
  if (reason !== undefined) assert.equal(refusal.reason, reason);
  return message;
}
