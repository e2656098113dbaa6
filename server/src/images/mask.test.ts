import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import sharp from "sharp";
import { colours, paintMask, paintPlain, readPicture } from "../../test/support/pictures.ts";
import { createLog } from "../lib/log.ts";
import { systemClock } from "../lib/time.ts";
import { createPictureProcesses } from "./processes.ts";

const limits = { formats: ["jpeg", "png", "webp"], pixelsMax: 50e6, bytesMax: 2 ** 25 } as const;
const hole = { left: 3, top: 5, width: 7, height: 2 };

function setUp(context: TestContext) {
  const log = createLog("silent");
  const pictures = createPictureProcesses({ clock: systemClock, log, processesMax: 1 });
  context.after(() => pictures.close());
  return pictures;
}

async function alphaOf(bytes: Uint8Array): Promise<Buffer> {
  const { pixels, channels } = await readPicture(Buffer.from(bytes));
  assert.equal(channels, 4);
  return Buffer.from(pixels.filter((_value, index) => index % 4 === 3));
}

test("a mask of any format becomes a PNG with its own alpha channel and nothing else", async (context) => {
  const pictures = setUp(context);
  const painted = await paintMask(32, 24, hole);
  const expected = await alphaOf(painted);
  const sent = {
    png: painted,
    webp: await sharp(painted).webp({ lossless: true, exact: true }).toBuffer(),
    grey: await sharp(painted).toColourspace("b-w").png().toBuffer(),
    deep: await sharp(painted).toColourspace("rgb16").png().toBuffer(),
    palette: await sharp(painted).png({ palette: true }).toBuffer(),
  };
  for (const [name, bytes] of Object.entries(sent)) {
    const { bytes: made, info } = await pictures.cleanMask(bytes, limits);
    assert.deepEqual([info.format, info.width, info.height, info.hasAlpha], ["png", 32, 24, true]);
    const { format, channels, depth } = await sharp(made).metadata();
    assert.deepEqual({ format, channels, depth }, { format: "png", channels: 4, depth: "uchar" });
    assert.ok((await alphaOf(made)).equals(expected), name);
  }
});

test("a mask that is turned is made upright like the reference that it belongs to", async (context) => {
  const pictures = setUp(context);
  const turned = await sharp(await paintMask(32, 24, hole))
    .withMetadata({ orientation: 6 })
    .png()
    .toBuffer();
  const { info } = await pictures.cleanMask(turned, limits);
  assert.deepEqual([info.width, info.height], [24, 32]);
});

test("a soft mask stays soft while it is small, and keeps its place below 4 MB when it is not", async (context) => {
  const pictures = setUp(context);
  const soft = await paintNoise(64, 64);
  const small = await pictures.cleanMask(soft, limits);
  assert.ok((await alphaOf(small.bytes)).equals(await alphaOf(soft)));
  const large = await paintNoise(2_400, 2_400);
  const { bytes } = await pictures.cleanMask(large, limits);
  assert.ok(large.length > 2 ** 22 && bytes.length < 2 ** 22, `${large.length} ${bytes.length}`);
  const before = await alphaOf(large);
  const after = await alphaOf(bytes);
  assert.ok(after.every((alpha, index) => alpha === (before[index] === 0 ? 0 : 255)));
});

test("a mask without an alpha channel stays a picture without one", async (context) => {
  const pictures = setUp(context);
  const plain = await paintPlain({ colour: colours.red, width: 8, height: 8, format: "jpeg" });
  const { bytes, info } = await pictures.cleanMask(plain, limits);
  assert.deepEqual([info.format, info.hasAlpha], ["jpeg", false]);
  assert.ok(Buffer.from(bytes).equals(plain));
});

/** Black with an alpha channel that no encoder can shorten. */
async function paintNoise(width: number, height: number): Promise<Buffer> {
  const pixels = Buffer.alloc(width * height * 4);
  let state = 1;
  for (let index = 3; index < pixels.length; index += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    pixels[index] = state >>> 24;
  }
  return sharp(pixels, { raw: { width, height, channels: 4 } })
    .png()
    .toBuffer();
}
