import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import test from "node:test";
import { AppError } from "../lib/errors.ts";
import { findBase64Bytes, parseDataReference } from "./data-uri.ts";

const megabyte = 2 ** 20;

function parse(base64: string, bytesMax = megabyte): Buffer {
  const place = { param: "image_urls", index: 2 };
  return parseDataReference({ kind: "data", mediaType: "image/png", base64 }, place, bytesMax);
}

function refusal(base64: string, bytesMax = megabyte) {
  try {
    parse(base64, bytesMax);
    return null;
  } catch (error) {
    assert.ok(error instanceof AppError);
    const { reason, param, message } = error;
    return { reason, param, message };
  }
}

test("every length of bytes comes back from its canonical base64", () => {
  for (let length = 1; length <= 70; length++) {
    const bytes = randomBytes(length);
    assert.deepEqual(parse(bytes.toString("base64")), bytes);
  }
});

test("anything but canonical base64 is refused", () => {
  const bad = [
    "QQ", // no padding
    "QQ=", // half of it
    "Q===", // too much of it
    "QUJD====",
    "====",
    "Q=JD", // in the middle
    "QQ==QUJD", // two texts
    "QR==", // stray bits behind the last byte
    "QUI=\n",
    "QU JD===",
    "QUJ\nQUJD",
    " QUJDQUI",
    "QUJ-", // the alphabet of URLs
    "QUJ_",
    "QUJD%3D=",
    "ŁŁŁŁ", // characters whose low byte is a letter
    "QUJ\u0000",
    "data:image/png;base64,QUJD",
  ];
  for (const base64 of bad) {
    assert.equal(findBase64Bytes(base64), null, JSON.stringify(base64));
    assert.equal(refusal(base64)?.reason, "invalid_image", JSON.stringify(base64));
  }
});

test("a refusal names the field, the place in the list and what is allowed", () => {
  const invalid = refusal("QUJ-");
  assert.equal(invalid?.param, "image_urls");
  assert.match(invalid.message, /^image_urls\[2\] is not valid base64; use the standard alphabet/);
  assert.match(refusal("")?.message ?? "", /^image_urls\[2\] holds no data/);
  const mask = { param: "mask_url", index: null };
  assert.throws(
    () => parseDataReference({ kind: "data", mediaType: null, base64: "Q" }, mask, megabyte),
    /^AppError: mask_url is not valid base64/,
  );
});

test("the size is decided by the length of the text, to the byte and before decoding", () => {
  for (const length of [megabyte - 1, megabyte]) {
    assert.equal(parse(Buffer.alloc(length).toString("base64")).length, length);
  }
  assert.deepEqual(refusal(Buffer.alloc(megabyte + 1).toString("base64")), {
    reason: "image_too_large",
    param: "image_urls",
    message: "image_urls[2] has 1.01 MB; at most 1 MB are allowed",
  });
  // Text that could not be decoded shows that nobody tried.
  assert.equal(refusal("!".repeat(2 * megabyte))?.reason, "image_too_large");
});

test("20 MB are decoded in less than 50 ms", () => {
  const base64 = randomBytes(20 * megabyte).toString("base64");
  const durations = Array.from({ length: 15 }, () => {
    const started = performance.now();
    assert.equal(parse(base64, 20 * megabyte).length, 20 * megabyte);
    return performance.now() - started;
  });
  assert.ok(Math.min(...durations) < 50, `took ${durations.map(Math.round).join(", ")} ms`);
});
