import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import sharp from "sharp";
import { createDeepPng, createPicture } from "../../test/support/picture-bytes.ts";
import { paintGrid, paintMask, paintPlain, readPicture } from "../../test/support/pictures.ts";
import { createLog } from "../lib/log.ts";
import { systemClock } from "../lib/time.ts";
import { PictureError } from "./picture.ts";
import type { Conversion } from "./picture.ts";
import { createPictureProcesses } from "./processes.ts";

const limits = { formats: ["jpeg", "png", "webp"], pixelsMax: 50e6, bytesMax: 2 ** 24 } as const;
const red = [255, 0, 0] as const;
const blue = [0, 0, 255] as const;

function setUp(context: TestContext) {
  const log = createLog("silent");
  const pictures = createPictureProcesses({ clock: systemClock, log, processesMax: 1 });
  context.after(() => pictures.close());
  return pictures;
}

function into(conversion: Partial<Conversion>): Conversion {
  return { width: 48, height: 32, format: "png", compression: null, ...conversion };
}

const isBroken = (error: unknown) => error instanceof PictureError && error.problem === "broken";

test("what overhangs by less than 16 pixels is cropped evenly, the rest stays as it was", async (context) => {
  const pictures = setUp(context);
  const bytes = await paintGrid(115, 75);
  const made = await pictures.convert(bytes, limits, into({ width: 100, height: 72 }));
  const middle = sharp(bytes).extract({ left: 7, top: 1, width: 100, height: 72 });
  const { width, height, pixels } = await readPicture(Buffer.from(made));
  assert.deepEqual([width, height], [100, 72]);
  assert.ok(pixels.equals(await middle.raw().toBuffer()));
});

test("of a large picture up to two percent is cropped, more is scaled away", async (context) => {
  const pictures = setUp(context);
  const want = into({ width: 1_000, height: 32 });
  const cropped = await pictures.convert(await paintGrid(1_020, 32), limits, want);
  const middle = sharp(await paintGrid(1_020, 32)).extract({
    left: 10,
    top: 0,
    width: 1_000,
    height: 32,
  });
  assert.ok((await readPicture(Buffer.from(cropped))).pixels.equals(await middle.raw().toBuffer()));
  const left = await paintPlain({ colour: red, width: 511, height: 32, format: "png" });
  const halves = await sharp(left)
    .extend({ right: 511, background: { r: 0, g: 0, b: 255 } })
    .png()
    .toBuffer();
  const scaled = await readPicture(Buffer.from(await pictures.convert(halves, limits, want)));
  assert.deepEqual([scaled.width, scaled.height], [1_000, 32]);
});

test("another shape is scaled to cover and cropped in the middle", async (context) => {
  const pictures = setUp(context);
  const left = await paintPlain({ colour: red, width: 100, height: 50, format: "png" });
  const halves = await sharp(left)
    .extend({ right: 100, background: { r: 0, g: 0, b: 255 } })
    .png()
    .toBuffer();
  const made = await pictures.convert(halves, limits, into({ width: 80, height: 80 }));
  const { width, height, pixels, channels } = await readPicture(Buffer.from(made));
  assert.deepEqual([width, height, channels], [80, 80, 3]);
  assert.deepEqual([...pixels.subarray(0, 3)], red);
  assert.deepEqual([...pixels.subarray(79 * 3, 80 * 3)], blue);
});

test("a turned picture is made upright before it is cropped", async (context) => {
  const pictures = setUp(context);
  const turned = await createPicture().withMetadata({ orientation: 6 }).png().toBuffer();
  const made = await pictures.convert(turned, limits, into({ width: 30, height: 40 }));
  const upright = await sharp(turned).autoOrient().png().toBuffer();
  const middle = sharp(upright).extract({ left: 1, top: 4, width: 30, height: 40 });
  const seen = await readPicture(Buffer.from(made));
  assert.deepEqual([seen.width, seen.height], [30, 40]);
  assert.ok(seen.pixels.equals(await middle.raw().toBuffer()));
  assert.equal((await sharp(made).metadata()).orientation ?? 1, 1);
});

test("every format becomes every other one; transparency stays where there is room for it", async (context) => {
  const pictures = setUp(context);
  const pixels = Buffer.alloc(48 * 32 * 4);
  const empty = () => sharp(pixels, { raw: { width: 48, height: 32, channels: 4 } });
  const sources = {
    png: await empty().png().toBuffer(),
    webp: await empty().webp().toBuffer(),
    jpeg: await createPicture().jpeg().toBuffer(),
  };
  for (const [name, bytes] of Object.entries(sources)) {
    for (const format of ["png", "jpeg", "webp"] as const) {
      const made = await pictures.convert(bytes, limits, into({ format }));
      const metadata = await sharp(made).metadata();
      assert.equal(metadata.format, format, name);
      const keepsAlpha = name !== "jpeg" && format !== "jpeg";
      assert.equal(metadata.hasAlpha, keepsAlpha, `${name} to ${format}`);
      if (name !== "jpeg" && format === "jpeg") {
        const { pixels: seen } = await readPicture(Buffer.from(made));
        assert.ok(
          seen.every((value) => value >= 250),
          "on white",
        );
      }
    }
  }
});

test("colour profile and depth are kept, everything else a file carries is not", async (context) => {
  const pictures = setUp(context);
  const wide = await createPicture()
    .withIccProfile("p3")
    .withExif({ IFD0: { Software: "secret words" } })
    .png()
    .toBuffer();
  const made = await pictures.convert(wide, limits, into({ width: 40, height: 30 }));
  const { icc, exif } = await sharp(made).metadata();
  assert.deepEqual(icc, (await sharp(wide).metadata()).icc);
  assert.equal(exif, undefined);
  const middle = sharp(wide, { ignoreIcc: true }).extract({
    left: 4,
    top: 1,
    width: 40,
    height: 30,
  });
  const seen = await sharp(made, { ignoreIcc: true }).raw().toBuffer();
  assert.ok(seen.equals(await middle.raw().toBuffer()));

  const deep = await pictures.convert(await createDeepPng(), limits, into({ width: 40 }));
  assert.equal((await sharp(deep).metadata()).depth, "ushort");
  const inks = await createPicture().toColourspace("cmyk").withIccProfile("cmyk").jpeg().toBuffer();
  const printed = await sharp(await pictures.convert(inks, limits, into({}))).metadata();
  assert.deepEqual([printed.space, printed.icc], ["srgb", undefined]);
});

test("the asked compression decides how large a jpeg or webp is, and 95 is the default", async (context) => {
  const pictures = setUp(context);
  const bytes = await createPicture().png().toBuffer();
  for (const format of ["jpeg", "webp"] as const) {
    const sizeAt = async (compression: number | null) =>
      (await pictures.convert(bytes, limits, into({ format, compression }))).byteLength;
    const [none, low, some, best] = [
      await sizeAt(null),
      await sizeAt(0),
      await sizeAt(95),
      await sizeAt(100),
    ];
    assert.ok(low < none && none < best, `${format}: ${low} ${none} ${best}`);
    assert.equal(none, some);
  }
});

test("damage that only decoding finds is the picture's fault and does not cost the process", async (context) => {
  const pictures = setUp(context);
  const bytes = await createPicture().png().toBuffer();
  const damaged = Buffer.from(bytes);
  damaged[bytes.length - 30] = (damaged[bytes.length - 30] ?? 0) ^ 0xff;
  const reference = await paintGrid(48, 32);
  const composition = { reference, mask: await paintMask(48, 32, wholeBox) };
  await assert.rejects(pictures.convert(damaged, limits, into({ width: 40 })), isBroken);
  const before = pictures.pids;
  await assert.rejects(pictures.composite(damaged, limits, composition), isBroken);
  await pictures.convert(bytes, limits, into({ width: 40 }));
  assert.deepEqual(pictures.pids, before);
});

const wholeBox = { left: 0, top: 0, width: 48, height: 32 };
const hole = { left: 10, top: 8, width: 20, height: 12 };

function isInHole(index: number): boolean {
  const [x, y] = [(index % 48) - hole.left, Math.floor(index / 48) - hole.top];
  return x >= 0 && x < hole.width && y >= 0 && y < hole.height;
}

/** The mask of `hole`, whose alpha is given. */
function maskOf(alpha: number): Promise<Buffer> {
  const pixels = Buffer.alloc(48 * 32 * 4, 255);
  for (let index = 0; index < 48 * 32; index++) if (isInHole(index)) pixels[index * 4 + 3] = alpha;
  return sharp(pixels, { raw: { width: 48, height: 32, channels: 4 } })
    .png()
    .toBuffer();
}

test("outside the mask every pixel is the reference's, inside it the vendor's, whatever its size", async (context) => {
  const pictures = setUp(context);
  const grid = await paintGrid(48, 32);
  const references: [string, Buffer][] = [
    ["png", grid],
    ["jpeg", await sharp(grid).jpeg().toBuffer()],
    ["webp with alpha", await createPicture(4).webp({ lossless: true, exact: true }).toBuffer()],
    ["in wide colours", await sharp(grid).withIccProfile("p3").png().toBuffer()],
    ["grey", await sharp(grid).greyscale().png().toBuffer()],
  ];
  for (const [name, reference] of references) {
    for (const format of ["png", "jpeg", "webp"] as const) {
      const painted = await paintPlain({ colour: red, width: 77, height: 40, format });
      const mask = await maskOf(0);
      const made = await pictures.composite(painted, limits, { reference, mask });
      assert.equal((await sharp(made).metadata()).format, "png");
      const [before, after] = [await rgbaOf(reference), await rgbaOf(made)];
      assert.equal(after.length, before.length, name);
      for (let index = 0; index < 48 * 32; index++) {
        const pixel = after.subarray(index * 4, index * 4 + 4);
        const isKept = pixel.equals(before.subarray(index * 4, index * 4 + 4));
        const [r = 0, g = 0, b = 0, alpha] = pixel;
        const isRed = r > 245 && g < 10 && b < 10 && alpha === 255;
        assert.ok(isInHole(index) ? isRed : isKept, `${name}, ${format}: pixel ${index}`);
      }
    }
  }
});

test("where the mask is only partly transparent, the reference stays as it is", async (context) => {
  const pictures = setUp(context);
  const reference = await paintPlain({ colour: blue, width: 48, height: 32, format: "png" });
  const painted = await paintPlain({ colour: red, width: 48, height: 32, format: "png" });
  const mask = await maskOf(51);
  const made = await readPicture(
    Buffer.from(await pictures.composite(painted, limits, { reference, mask })),
  );
  assert.equal(made.channels, 3);
  for (let index = 0; index < 48 * 32; index++) {
    const pixel = [...made.pixels.subarray(index * 3, index * 3 + 3)];
    assert.deepEqual(pixel, [0, 0, 255], `pixel ${index}`);
  }
});

function rgbaOf(picture: Uint8Array): Promise<Buffer> {
  return sharp(picture, { ignoreIcc: true }).toColourspace("srgb").ensureAlpha().raw().toBuffer();
}
