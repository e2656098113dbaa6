import assert from "node:assert/strict";
import { before, test } from "node:test";
import sharp from "sharp";
import type { Sharp } from "sharp";

import type { Mask } from "./canvas.ts";
import { draw } from "./draw.ts";
import { drawingEnvironment } from "./fonts.ts";
import { layOut } from "./layout.ts";
import { renderText } from "./lettering.ts";
import type { Drawing } from "./picture.ts";

before(() => {
  Object.assign(process.env, drawingEnvironment());
  // As in a picture process: nothing but photo formats can be loaded, so nothing here may need more.
  sharp.block({ operation: ["VipsForeignLoad"] });
  sharp.unblock({
    operation: [
      "VipsForeignLoadJpegBuffer",
      "VipsForeignLoadPngBuffer",
      "VipsForeignLoadWebpBuffer",
    ],
  });
});

test("a picture has exactly the asked pixels and format, from the smallest to the longest", async () => {
  const sizes: [number, number][] = [
    [1, 1],
    [40, 30],
    [512, 512],
    [384, 688],
    [792, 336],
    [192, 1_536],
    [1_376, 768],
    [12_288, 1_536],
  ];
  for (const [width, height] of sizes) {
    for (const format of ["png", "jpeg", "webp"] as const) {
      if (width > 2_000 && format !== "png") continue;
      const bytes = await draw(drawingOf({ width, height, format }));
      const found = await sharp(bytes).metadata();
      assert.deepEqual(
        { width: found.width, height: found.height, format: found.format, alpha: found.hasAlpha },
        { width, height, format, alpha: false },
      );
    }
  }
});

test("equal drawings give equal bytes", async () => {
  const drawing = drawingOf({ insets: [await solid("#e63946")], title: "赛博朋克 and more" });
  assert.deepEqual(await draw(drawing), await draw(structuredClone(drawing)));
});

test("every seed looks different", async () => {
  const pictures = await Promise.all(
    Array.from({ length: 8 }, (_, index) => pixelsOf(draw(drawingOf({ seed: `seed ${index}` })))),
  );
  for (const [index, one] of pictures.entries()) {
    for (const other of pictures.slice(index + 1)) {
      assert.ok(differingShare(one.pixels, other.pixels) > 0.2);
    }
  }
});

test("the word sandbox is on every picture", async () => {
  for (const [width, height] of [
    [512, 512],
    [1_376, 768],
    [192, 1_536],
  ] as const) {
    const { labelSize, cardWidthMax } = layOut(width, height);
    const label = await renderText({
      text: "sandbox",
      size: labelSize,
      width: cardWidthMax,
      bold: true,
      spacing: labelSize * 0.08,
    });
    const picture = await pixelsOf(draw(drawingOf({ width, height })));
    assert.ok(bestMatch(picture, label) > 0.95, `${width}x${height}`);
  }
});

test("prompt and caption are written on it", async () => {
  const blank = await pixelsOf(draw(drawingOf({ title: "", caption: "" })));
  const titled = await pixelsOf(draw(drawingOf({ title: "A prompt", caption: "" })));
  const captioned = await pixelsOf(draw(drawingOf({ title: "", caption: "a caption" })));
  assert.ok(differingShare(blank.pixels, titled.pixels) > 0.005);
  assert.ok(differingShare(blank.pixels, captioned.pixels) > 0.002);
  const other = await pixelsOf(draw(drawingOf({ title: "B prompt", caption: "" })));
  assert.ok(differingShare(titled.pixels, other.pixels) > 0.0005);
});

test("any text can be drawn: very long, right to left, markup, controls, without glyphs", async () => {
  for (const title of [
    "long ".repeat(6_400),
    "x".repeat(32_000),
    "한국어 텍스트 ".repeat(50),
    "مرحبا <b>&amp; \u0000\u202E\uD800 🎨🇩🇪",
    "ก็้้้้้".repeat(300),
  ]) {
    const found = await sharp(await draw(drawingOf({ title }))).metadata();
    assert.equal(found.width, 512);
  }
});

test("each of up to sixteen references shows in its own colour", async () => {
  for (const count of [1, 2, 5, 16]) {
    const colours = Array.from({ length: count }, (_, index) => 0xff0a00 + index * 0x0e00);
    const insets = await Promise.all(colours.map((colour) => solid(`#${colour.toString(16)}`)));
    const { pixels } = await pixelsOf(draw(drawingOf({ width: 1_024, height: 1_024, insets })));
    const counts = countColours(pixels);
    for (const colour of colours) assert.ok((counts.get(colour) ?? 0) > 400, `${count}`);
  }
});

test("references show on the narrowest and the widest pictures", async () => {
  const insets = [await solid("#ff00c8")];
  for (const [width, height] of [
    [192, 1_536],
    [1_536, 192],
    [384, 688],
  ] as const) {
    const { pixels } = await pixelsOf(draw(drawingOf({ width, height, insets, title: "" })));
    assert.ok((countColours(pixels).get(0xff00c8) ?? 0) > 400, `${width}x${height}`);
  }
});

test("a transparent picture has an alpha channel with an empty background and a solid middle", async () => {
  for (const format of ["png", "webp"] as const) {
    const drawing = drawingOf({ format, transparent: true });
    const { pixels, channels, width, height } = await pixelsOf(draw(drawing));
    assert.equal(channels, 4);
    const alphaAt = (x: number, y: number): number => pixels[(y * width + x) * 4 + 3]!;
    for (const [x, y] of [
      [0, 0],
      [width - 1, 0],
      [0, height - 1],
      [width - 1, height - 1],
    ] as const) {
      assert.equal(alphaAt(x, y), 0);
    }
    assert.equal(alphaAt(width / 2, height / 4), 255);
    const empty = pixels.filter((value, index) => index % 4 === 3 && value === 0).length;
    assert.ok(empty > width * height * 0.1);
  }
});

test("jpeg has no transparency to offer, and compression decides its size", async () => {
  const plain = await draw(drawingOf({ format: "jpeg", transparent: true }));
  assert.equal((await sharp(plain).metadata()).hasAlpha, false);
  const [low, high] = await Promise.all(
    [0, 100].map((compression) => draw(drawingOf({ format: "jpeg", compression }))),
  );
  assert.ok(low!.length < plain.length && plain.length < high!.length);
});

test("with a base only the mask's transparent area changes, whatever kind of picture the base is", async () => {
  const bases: [string, Buffer][] = [
    ["rgb", await noise(3).png().toBuffer()],
    ["rgba with half transparent pixels", await noise(4).png().toBuffer()],
    ["grey", await noise(1).toColourspace("b-w").png().toBuffer()],
    ["palette", await noise(3).png({ palette: true, colours: 16 }).toBuffer()],
    ["jpeg", await noise(3).jpeg().toBuffer()],
    ["webp", await noise(3).webp().toBuffer()],
    ["with an sRGB profile", await noise(3).withIccProfile("srgb").png().toBuffer()],
    ["with a P3 profile", await noise(3).withIccProfile("p3").jpeg().toBuffer()],
  ];
  const mask = await maskWithHole();
  for (const [name, picture] of bases) {
    const drawn = await draw(drawingOf({ ...masked, base: { picture, mask } }));
    for (const ignoreIcc of [false, true]) {
      const original = await rgbaOf(picture, ignoreIcc);
      const result = await rgbaOf(drawn, ignoreIcc);
      let changed = 0;
      for (let index = 0; index < masked.width * masked.height; index++) {
        const isSame = original.readUInt32LE(index * 4) === result.readUInt32LE(index * 4);
        if (!isInHole(index)) assert.ok(isSame, `${name}: pixel ${index} changed`);
        else if (!isSame) changed += 1;
      }
      assert.ok(changed > hole.width * hole.height * 0.95, `${name}: only ${changed} are painted`);
    }
  }
});

test("a half transparent part of a mask is not painted", async () => {
  const picture = await noise(3).png().toBuffer();
  const mask = await maskWithHole(1);
  const drawn = await draw(drawingOf({ ...masked, base: { picture, mask } }));
  assert.deepEqual(await rgbaOf(drawn, false), await rgbaOf(picture, false));
});

test("a base and a mask of another size are brought to the asked one", async () => {
  const picture = await noise(3).png().toBuffer();
  const drawing = drawingOf({ base: { picture, mask: await maskWithHole() } });
  const { width, height } = await sharp(await draw(drawing)).metadata();
  assert.deepEqual([width, height], [512, 512]);
});

test("a reference that is no picture fails the drawing", async () => {
  await assert.rejects(draw(drawingOf({ insets: [Buffer.from("no picture")] })));
});

const masked = { width: 160, height: 120 };
const hole = { left: 40, top: 30, width: 70, height: 50 };

function isInHole(index: number): boolean {
  const x = (index % masked.width) - hole.left;
  const y = Math.floor(index / masked.width) - hole.top;
  return x >= 0 && x < hole.width && y >= 0 && y < hole.height;
}

/** Opaque but for the hole, whose alpha is given. */
function maskWithHole(alpha = 0): Promise<Buffer> {
  const { width, height } = masked;
  const pixels = Buffer.alloc(width * height * 4, 255);
  for (let index = 0; index < width * height; index++)
    if (isInHole(index)) pixels[index * 4 + 3] = alpha;
  return sharp(pixels, { raw: { width, height, channels: 4 } })
    .png()
    .toBuffer();
}

/** Every pixel different from its neighbours, and bright green in none. */
function noise(channels: 1 | 3 | 4): Sharp {
  const { width, height } = masked;
  const pixels = Buffer.from(
    Array.from({ length: width * height * channels }, (_, index) => (index * 7_919) % 251),
  );
  return sharp(pixels, { raw: { width, height, channels } });
}

function solid(background: string): Promise<Buffer> {
  return sharp({ create: { width: 90, height: 60, channels: 3, background } })
    .png()
    .toBuffer();
}

function rgbaOf(picture: Uint8Array, ignoreIcc: boolean): Promise<Buffer> {
  return sharp(picture, { ignoreIcc }).toColourspace("srgb").ensureAlpha().raw().toBuffer();
}

type Pixels = { pixels: Buffer; width: number; height: number; channels: number };

async function pixelsOf(drawn: Promise<Uint8Array>): Promise<Pixels> {
  const { data, info } = await sharp(await drawn)
    .raw()
    .toBuffer({ resolveWithObject: true });
  return { pixels: data, width: info.width, height: info.height, channels: info.channels };
}

function differingShare(one: Buffer, other: Buffer): number {
  assert.equal(one.length, other.length);
  let differing = 0;
  for (const [index, value] of one.entries()) if (Math.abs(value - other[index]!) > 8) differing++;
  return differing / one.length;
}

/** How many pixels have each colour, by its number 0xrrggbb. */
function countColours(pixels: Buffer): Map<number, number> {
  const counts = new Map<number, number>();
  for (let offset = 0; offset < pixels.length; offset += 3) {
    const colour = pixels.readUIntBE(offset, 3);
    counts.set(colour, (counts.get(colour) ?? 0) + 1);
  }
  return counts;
}

/** Correlation of the mask with the picture's brightness at the place of the card where it fits best. */
function bestMatch({ pixels, width, height }: Pixels, mask: Mask): number {
  const { margin, padding } = layOut(width, height);
  let best = 0;
  for (let top = 0; top + mask.height <= height; top++) {
    const values = Array.from(
      mask.coverage,
      (_, index) =>
        pixels[
          ((top + Math.floor(index / mask.width)) * width +
            margin +
            padding +
            (index % mask.width)) *
            3
        ]!,
    );
    best = Math.max(best, correlation(Array.from(mask.coverage), values));
  }
  return best;
}

function correlation(one: number[], other: number[]): number {
  const [oneMean, otherMean] = [meanOf(one), meanOf(other)];
  let product = 0;
  let oneSquares = 0;
  let otherSquares = 0;
  for (const [index, value] of one.entries()) {
    const a = value - oneMean;
    const b = other[index]! - otherMean;
    product += a * b;
    oneSquares += a * a;
    otherSquares += b * b;
  }
  return product / Math.sqrt(oneSquares * otherSquares || 1);
}

function meanOf(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function drawingOf(wishes: Partial<Drawing>): Drawing {
  return {
    width: 512,
    height: 512,
    format: "png",
    compression: null,
    transparent: false,
    seed: "seed",
    title: "A lighthouse made of folded paper",
    caption: "flux-2-pro · picture 1",
    insets: [],
    base: null,
    ...wishes,
  };
}
