import assert from "node:assert/strict";
import test from "node:test";
import { createOddPictures } from "../../test/support/odd-pictures.ts";
import { pngHeader } from "../../test/support/picture-bytes.ts";
import { PictureError } from "./picture.ts";
import { checkHeader, findSize, sniffFormat } from "./sniff.ts";

const limits = { formats: ["jpeg", "png", "webp"], pixelsMax: 50e6, bytesMax: 2 ** 20 } as const;

test("the first 16 bytes decide the format, and fifteen are not enough", () => {
  const cases: [string, string | null][] = [
    ["ffd8ffe000104a46494600010100000100", "jpeg"],
    ["ffd8ffdb00104a46494600010100000100", "jpeg"],
    ["ffd800e000104a46494600010100000100", null],
    ["89504e470d0a1a0a0000000d4948445200", "png"],
    ["89504e470d0a1a0b0000000d4948445200", null],
    ["52494646000000005745425056503820", "webp"],
    ["5249464600000000574542505650384c", "webp"],
    ["52494646000000005745425056503858", "webp"],
    ["52494646000000005745425056503859", null],
    ["52494646000000005741564556503820", null],
    ["47494638396101000100000000000000", "gif"],
    ["47494638376101000100000000000000", "gif"],
    ["47494638386101000100000000000000", null],
    ["3c73766720786d6c6e733d22687474703a", null],
    ["", null],
  ];
  for (const [hex, format] of cases) {
    const bytes = Buffer.from(hex, "hex");
    assert.equal(sniffFormat(bytes), format, hex);
    assert.equal(sniffFormat(bytes.subarray(0, 15)), null, hex);
  }
});

test("the header of every accepted picture tells its size before orientation", async () => {
  for (const { name, bytes, info } of await createOddPictures()) {
    const format = sniffFormat(bytes);
    assert.ok(format !== null, name);
    const size = findSize(bytes, format);
    const isTurned = name.includes("turned");
    const { width, height } = info;
    const declared = isTurned ? { width: height, height: width } : { width, height };
    assert.deepEqual(size, declared, name);
  }
});

test("a header that declares no size or stops early has none", () => {
  assert.equal(findSize(pngHeader({ width: 0, height: 5 }), "png"), null);
  assert.equal(findSize(pngHeader({ width: 5, height: 5 }).subarray(0, 22), "png"), null);
  assert.equal(findSize(Buffer.from("ffd8ffe00010", "hex"), "jpeg"), null);
  assert.equal(findSize(Buffer.alloc(5_000_000, Buffer.from("fffe0002", "hex")), "jpeg"), null);
});

test("a view into a larger buffer is read from its own start", () => {
  const shifted = Buffer.concat([Buffer.alloc(7), pngHeader({ width: 30, height: 20 })]).subarray(
    7,
  );
  assert.deepEqual(findSize(shifted, "png"), { width: 30, height: 20 });
});

test("a refusal says what was found and what is allowed", () => {
  assert.equal(refusal(pngHeader({ width: 5_000, height: 10_000 })), null);
  assert.equal(
    refusal(pngHeader({ width: 5_001, height: 10_000 })),
    "too_large: has 5001x10000 pixels; at most 50 megapixels are allowed",
  );
  assert.equal(
    refusal(Buffer.alloc(2 ** 20 + 1)),
    "too_large: has 1.01 MB; at most 1 MB are allowed",
  );
  assert.equal(
    refusal(Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>")),
    "unsupported: is not a jpeg, png or webp picture",
  );
  assert.equal(
    refusal(Buffer.from("GIF89a\x01\0\x01\0\0\0\0;\0\0\0", "latin1")),
    "unsupported: is not a jpeg, png or webp picture",
  );
  assert.equal(refusal(pngHeader({ width: 0, height: 1 })), "broken: is a broken png picture");
});

function refusal(bytes: Buffer): string | null {
  try {
    checkHeader(bytes, limits);
    return null;
  } catch (error) {
    assert.ok(error instanceof PictureError);
    return `${error.problem}: ${error.message}`;
  }
}
