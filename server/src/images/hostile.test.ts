import assert from "node:assert/strict";
import test from "node:test";
import type { TestContext } from "node:test";
import sharp from "sharp";
import type { Sharp } from "sharp";
import { createLog } from "../lib/log.ts";
import { systemClock } from "../lib/time.ts";
import { createHostilePictures } from "../../test/support/hostile-pictures.ts";
import { createOddPictures, secretWords } from "../../test/support/odd-pictures.ts";
import {
  createDeepPng,
  createPalettePng,
  createPicture,
  orientationExif,
  pngChunk,
} from "../../test/support/picture-bytes.ts";
import { PictureError } from "./picture.ts";
import { createPictureProcesses } from "./processes.ts";

const megabyte = 2 ** 20;
const limits = {
  formats: ["jpeg", "png", "webp", "gif"],
  pixelsMax: 50e6,
  bytesMax: 20 * megabyte,
} as const;

function setup(context: TestContext) {
  const pictures = createPictureProcesses({
    clock: systemClock,
    log: createLog("silent"),
    processesMax: 1,
  });
  context.after(() => pictures.close());
  return pictures;
}

test("every hostile file is refused for its reason, and none of them costs a process", async (context) => {
  const pictures = setup(context);
  const hostile = await createHostilePictures();
  assert.ok(hostile.length >= 40);
  await pictures.clean(await createPicture().png().toBuffer(), limits);
  const before = pictures.pids;
  for (const { name, bytes, problem } of hostile) {
    for (const operation of ["clean", "inspectMask"] as const) {
      await assert.rejects(
        pictures[operation](bytes, limits),
        (error) => error instanceof PictureError && error.problem === problem,
        `${operation} of ${name}`,
      );
    }
  }
  assert.deepEqual(pictures.pids, before);
});

test("odd pictures are recognised, and cleaning leaves nothing but the picture", async (context) => {
  const pictures = setup(context);
  for (const { name, bytes, info, isClean } of await createOddPictures()) {
    const cleaned = await pictures.clean(bytes, limits);
    const { format, width, height, hasAlpha } = cleaned.info;
    assert.deepEqual({ format, width, height, hasAlpha }, info, name);
    assert.equal(cleaned.info.contentType, `image/${info.format}`, name);
    assert.equal(cleaned.bytes === bytes, isClean, name);
    assert.equal(Buffer.from(cleaned.bytes).includes(secretWords), false, name);
    const metadata = await sharp(cleaned.bytes, { animated: true }).metadata();
    assert.equal(metadata.exif, undefined, name);
    assert.equal(metadata.xmp, undefined, name);
    assert.equal(metadata.orientation ?? 1, 1, name);
    assert.equal(metadata.pages ?? 1, 1, name);
    const again = await pictures.clean(cleaned.bytes, limits);
    assert.equal(again.bytes, cleaned.bytes, name);
    assert.deepEqual(again.info, cleaned.info, name);
  }
});

test("dropping metadata and tails does not change a pixel", async (context) => {
  const pictures = setup(context);
  for (const { name, bytes, info, isClean } of await createOddPictures()) {
    const stays = /upright|behind it|comment|text|chunk|segment|animated PNG/.test(name);
    if (isClean || !stays || info.width > 100 || sniffsAsGif(bytes)) continue;
    const cleaned = await pictures.clean(bytes, limits);
    assert.deepEqual(
      await sharp(cleaned.bytes).raw().toBuffer(),
      await sharp(bytes).raw().toBuffer(),
      name,
    );
  }
});

test("a turned picture keeps its depth, its colour profile and, without loss, its pixels", async (context) => {
  const pictures = setup(context);
  const deep = await createDeepPng();
  const turn = pngChunk("eXIf", orientationExif(6));
  const turnedDeep = Buffer.concat([deep.subarray(0, 33), turn, deep.subarray(33)]);
  const cleanedDeep = await pictures.clean(turnedDeep, limits);
  assert.equal((await sharp(cleanedDeep.bytes).metadata()).depth, "ushort");
  assert.deepEqual(
    await deepPixels(sharp(cleanedDeep.bytes)),
    await deepPixels(sharp(deep).rotate(90)),
  );

  const wide = createPicture().withIccProfile("p3").withMetadata({ orientation: 3 });
  const jpeg = await wide.jpeg({ quality: 100 }).toBuffer();
  const cleanedWide = await pictures.clean(jpeg, limits);
  const metadata = await sharp(cleanedWide.bytes).metadata();
  assert.deepEqual(metadata.icc, (await sharp(jpeg).metadata()).icc);
  assert.equal(metadata.chromaSubsampling, "4:4:4");

  const lossless = createPicture(4)
    .webp({ lossless: true, exact: true })
    .withMetadata({ orientation: 3 });
  const webp = await lossless.toBuffer();
  const cleanedWebp = await pictures.clean(webp, limits);
  assert.deepEqual(
    await sharp(cleanedWebp.bytes).raw().toBuffer(),
    await sharp(webp).autoOrient().raw().toBuffer(),
  );
});

test("a turned picture that outgrows the limit is encoded smaller, or refused", async (context) => {
  const pictures = setup(context);
  const noise = sharp({
    create: {
      width: 400,
      height: 300,
      channels: 3,
      background: "#000",
      noise: { type: "gaussian", mean: 128, sigma: 60 },
    },
  });
  const jpeg = await noise
    .clone()
    .jpeg({ quality: 80 })
    .withMetadata({ orientation: 6 })
    .toBuffer();
  const roomy = await pictures.clean(jpeg, limits);
  assert.ok(roomy.bytes.length > jpeg.length);
  const bytesMax = roomy.bytes.length - 1;
  const fitted = await pictures.clean(jpeg, { ...limits, bytesMax });
  assert.ok(fitted.bytes.length <= bytesMax);
  const coarse = await noise.jpeg({ quality: 20 }).withMetadata({ orientation: 6 }).toBuffer();
  await assert.rejects(
    pictures.clean(coarse, { ...limits, bytesMax: coarse.length }),
    (error) => error instanceof PictureError && error.problem === "too_large",
  );
});

test("only fully transparent pixels of a mask count", async (context) => {
  const pictures = setup(context);
  const count = async (bytes: Buffer) =>
    (await pictures.inspectMask(bytes, limits)).transparentPixels;
  // Two clear pixels, one half clear, one opaque.
  assert.equal(await count(createPalettePng()), 2);
  const alphas = Buffer.from([0, 1, 0, 254, 255, 0]);
  const rgba = Buffer.concat(Array.from(alphas, (alpha) => Buffer.from([9, 9, 9, alpha])));
  const mask = sharp(rgba, { raw: { width: 3, height: 2, channels: 4 } });
  assert.equal(await count(await mask.clone().png().toBuffer()), 3);
  assert.equal(await count(await mask.clone().toColourspace("rgb16").png().toBuffer()), 3);
  assert.equal(await count(await mask.webp({ lossless: true }).toBuffer()), 3);
  const opaque = await pictures.inspectMask(await createPicture().jpeg().toBuffer(), limits);
  assert.deepEqual([opaque.info.hasAlpha, opaque.transparentPixels], [false, 0]);
});

test("the caller's formats, pixels and bytes are limits", async (context) => {
  const pictures = setup(context);
  const png = await createPicture().png().toBuffer();
  const refusal = async (change: object) => {
    try {
      await pictures.clean(png, { ...limits, ...change });
      return null;
    } catch (error) {
      assert.ok(error instanceof PictureError);
      return error.problem;
    }
  };
  assert.equal(await refusal({ formats: ["png"], pixelsMax: 48 * 32, bytesMax: png.length }), null);
  assert.equal(await refusal({ formats: ["jpeg", "webp", "gif"] }), "unsupported");
  assert.equal(await refusal({ pixelsMax: 48 * 32 - 1 }), "too_large");
  assert.equal(await refusal({ bytesMax: png.length - 1 }), "too_large");
});

test("pictures with random damage are accepted or refused, and the process survives", async (context) => {
  const pictures = setup(context);
  const sources = (await createOddPictures()).filter(({ bytes }) => bytes.length < 10_000);
  const seen = { accepted: 0, refused: 0 };
  let state = 1;
  const next = (below: number) => {
    state = (state * 48_271) % 0x7fffffff;
    return state % below;
  };
  await pictures.clean(sources[0]!.bytes, limits);
  const before = pictures.pids;
  for (let round = 0; round < 480; round++) {
    const bytes = Buffer.from(sources[round % sources.length]!.bytes);
    for (let hits = 1 + next(4); hits > 0; hits--) bytes[next(bytes.length)] = next(256);
    try {
      await pictures.clean(bytes, limits);
      seen.accepted += 1;
    } catch (error) {
      assert.ok(error instanceof PictureError, String(error));
      seen.refused += 1;
    }
  }
  assert.ok(seen.accepted > 20 && seen.refused > 100, JSON.stringify(seen));
  assert.deepEqual(pictures.pids, before);
});

test("the memory of the main process stays flat under hostile files", async (context) => {
  const pictures = setup(context);
  const files = [...(await createHostilePictures()), ...(await createOddPictures())];
  const feedAll = async () => {
    for (const { bytes } of files) await pictures.clean(bytes, limits).catch(() => {});
  };
  await feedAll();
  const before = process.memoryUsage.rss();
  for (let round = 0; round < 5; round++) await feedAll();
  const grownMegabytes = (process.memoryUsage.rss() - before) / megabyte;
  assert.ok(grownMegabytes < 60, `grew by ${Math.round(grownMegabytes)} MB`);
});

function deepPixels(picture: Sharp): Promise<Buffer> {
  return picture.toColourspace("rgb16").raw({ depth: "ushort" }).toBuffer();
}

function sniffsAsGif(bytes: Buffer): boolean {
  return bytes.toString("latin1", 0, 3) === "GIF";
}
