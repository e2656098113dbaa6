import assert from "node:assert/strict";
import { test } from "node:test";

import { systemRandom } from "../lib/random.ts";
import { extensionOf, findContentType, isObjectName, objectName } from "./names.ts";

test("a name is 32 characters that are safe in paths, URLs and case-blind file systems", () => {
  for (let i = 0; i < 1_000; i++) assert.match(objectName(systemRandom), /^[a-z2-7]{32}$/);
});

function nameFrom(bytes: Buffer): string {
  return objectName({ ...systemRandom, bytes: () => bytes });
}

test("a name carries all of its 160 random bits", () => {
  assert.equal(nameFrom(Buffer.alloc(20)), "a".repeat(32));
  assert.equal(nameFrom(Buffer.alloc(20, 0xff)), "7".repeat(32));
  const names = new Set<string>();
  for (let bit = 0; bit < 160; bit++) {
    const bytes = Buffer.alloc(20);
    bytes[bit >> 3] = 1 << (bit & 7);
    names.add(nameFrom(bytes));
  }
  assert.equal(names.size, 160);
});

test("only what could be a name is taken for one", () => {
  assert.ok(isObjectName(objectName(systemRandom)));
  const texts = ["", "a".repeat(31), "a".repeat(33), "A".repeat(32), `${"a".repeat(31)}1`];
  for (const text of [...texts, `${"a".repeat(32)}\n`, `../${"a".repeat(29)}`]) {
    assert.ok(!isObjectName(text), text);
  }
});

test("content types and extensions lead to each other", () => {
  const pairs = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
  };
  for (const [contentType, extension] of Object.entries(pairs)) {
    assert.equal(extensionOf(contentType), extension);
    assert.equal(findContentType(extension), contentType);
  }
});

test("types that a browser could run are never served", () => {
  for (const extension of ["svg", "html", "js", "PNG", "", "constructor"]) {
    assert.equal(findContentType(extension), null);
  }
  assert.throws(() => extensionOf("image/svg+xml"), /image\/svg\+xml/);
});
