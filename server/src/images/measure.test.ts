import assert from "node:assert/strict";
import { test } from "node:test";
import sharp from "sharp";
import { createHostilePictures } from "../../test/support/hostile-pictures.ts";
import { createOddPictures } from "../../test/support/odd-pictures.ts";
import { createPicture } from "../../test/support/picture-bytes.ts";
import { measurePicture } from "./measure.ts";
import { PictureError } from "./picture.ts";

const limits = {
  formats: ["jpeg", "png", "webp", "gif"],
  pixelsMax: 50e6,
  bytesMax: 20 * 2 ** 20,
} as const;

/** Files whose container is whole: only a decoder sees what is wrong with their pixels. */
const wholeOutside =
  /flipped|checksum|not compressed|few rows|no palette|colour type|3 bits|scan|canvas|noise|code size/;

test("without decoding, a picture measures what a decoder says it does", async () => {
  for (const { name, bytes } of await createOddPictures()) {
    const { format, autoOrient } = await sharp(bytes).metadata();
    const { width, height } = autoOrient;
    const measured = measurePicture(bytes, limits);
    const expected = { format, contentType: `image/${format}`, width, height };
    assert.deepEqual(measured, expected, name);
  }
});

test("a picture measures as it is shown, in every orientation and format", async () => {
  for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8]) {
    for (const format of ["jpeg", "webp", "png"] as const) {
      const bytes = await createPicture().withMetadata({ orientation }).toFormat(format).toBuffer();
      const { width, height } = (await sharp(bytes).metadata()).autoOrient;
      const measured = measurePicture(bytes, limits);
      assert.deepEqual(
        [measured.width, measured.height],
        [width, height],
        `${format} ${orientation}`,
      );
    }
  }
});

test("what is no picture, too large, or cut short anywhere is refused without decoding", async () => {
  let refused = 0;
  for (const { name, bytes, problem } of await createHostilePictures()) {
    if (problem === "broken" && wholeOutside.test(name)) continue;
    refused += 1;
    assert.throws(
      () => measurePicture(bytes, limits),
      (error) => error instanceof PictureError && error.problem === problem,
      name,
    );
  }
  assert.ok(refused >= 60, `${refused} files are refused`);
});

test("nothing that is thrown at it makes it throw anything but a picture error", async () => {
  for (const { name, bytes } of await createHostilePictures()) {
    try {
      measurePicture(bytes, limits);
    } catch (error) {
      assert.ok(error instanceof PictureError, name);
    }
  }
});
