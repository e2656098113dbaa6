import assert from "node:assert/strict";
import { test } from "node:test";
import { orientationExif } from "../../test/support/picture-bytes.ts";
import { isTransposed, readOrientation } from "./orientation.ts";

/** The same data in the other byte order. */
function bigEndianExif(orientation: number, type = 3): Buffer {
  const exif = Buffer.from("4d4d002a000000080001011200030000000100000000000000000000", "hex");
  exif.writeUInt16BE(type, 12);
  if (type === 4) exif.writeUInt32BE(orientation, 18);
  else exif.writeUInt16BE(orientation, 18);
  return exif;
}

test("each of the eight orientations is read in either byte order, with and without the JPEG words", () => {
  const words = Buffer.from("Exif\0\0", "latin1");
  for (const orientation of [1, 2, 3, 4, 5, 6, 7, 8]) {
    const forms = [
      orientationExif(orientation),
      bigEndianExif(orientation),
      bigEndianExif(orientation, 4),
      Buffer.concat([words, orientationExif(orientation)]),
    ];
    for (const exif of forms) assert.equal(readOrientation(exif), orientation);
    assert.equal(isTransposed(orientation), orientation > 4);
  }
});

test("EXIF data that make no sense leave a picture upright", () => {
  const whole = orientationExif(6);
  const senseless = [
    Buffer.alloc(0),
    Buffer.from("no EXIF data at all"),
    orientationExif(0),
    orientationExif(9),
    bigEndianExif(6, 2),
    whole.subarray(0, 15),
    Buffer.concat([whole.subarray(0, 4), Buffer.from("ffffffff", "hex"), whole.subarray(8)]),
    Buffer.concat([whole.subarray(0, 8), Buffer.from("ffff", "hex")]),
  ];
  for (const exif of senseless) assert.equal(readOrientation(exif), 1, exif.toString("hex"));
});
