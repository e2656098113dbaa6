import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { base64Schema, parseBase64 } from "./base64.ts";
import { createReplyReader, readContent } from "./reply-reader.ts";
import type { ReplyContent } from "./reply-reader.ts";

const picture = Buffer.alloc(9_000, "every byte of a picture counts");
const base64 = picture.toString("base64");

/** Reads a body that arrives in pieces of these lengths, over and over. */
function readInPieces(body: string | Buffer, lengths: readonly number[]): ReplyContent {
  const bytes = Buffer.from(body);
  const reader = createReplyReader(lengths.length % 2 === 0 ? null : bytes.length);
  for (let at = 0, piece = 0; at < bytes.length; piece += 1) {
    const length = lengths[piece % lengths.length] ?? 1;
    reader.add(bytes.subarray(at, at + length));
    at += length;
  }
  return reader.end();
}

/** The value with bytes in place of what was decoded. */
function revealed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(revealed);
  if (typeof value !== "object" || value === null) return value;
  if ("characters" in value) return Buffer.from(parseBase64(base64Schema.parse(value)));
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, revealed(inner)]));
}

test("whatever the pieces, the JSON is the same and its pictures are bytes", () => {
  const body = {
    text: 'a "quoted\\" word, a猫 and \\',
    data: [{ b64_json: base64, revised_prompt: "no\\" }, { b64_json: base64, n: 1.5 }, null],
    short: base64.slice(0, 400),
    end: base64,
  };
  const expected = {
    ...body,
    data: [{ b64_json: picture, revised_prompt: "no\\" }, { b64_json: picture, n: 1.5 }, null],
    end: picture,
  };
  const lengths = fc.array(fc.integer({ min: 1, max: 9_000 }), { minLength: 1, maxLength: 8 });
  for (const text of [JSON.stringify(body), JSON.stringify(body, null, 2)]) {
    fc.assert(
      fc.property(lengths, (some) => {
        assert.deepEqual(revealed(readInPieces(text, some).json), expected);
      }),
    );
    assert.deepEqual(revealed(readInPieces(text, [1]).json), expected);
  }
});

test("any JSON without long strings is read as JSON is", () => {
  fc.assert(
    fc.property(fc.json(), fc.integer({ min: 1, max: 20 }), (text, length) => {
      assert.deepEqual(readInPieces(text, [length]).json, JSON.parse(text));
    }),
  );
});

test("base64 with escapes, or behind the prefix of a data URI, is the same picture", () => {
  const slashes = base64.replaceAll("/", "\\/").replaceAll("Q", "\\u0051");
  for (const text of [
    slashes,
    `data:image/png;base64,${base64}`,
    `data:image\\/png;base64,${slashes}`,
  ]) {
    for (const length of [1, 7, 5_000, 100_000]) {
      const { json } = readInPieces(`{"data":"${text}","next":[]}`, [length]);
      assert.deepEqual(revealed(json), { data: picture, next: [] });
    }
  }
});

test("long base64 with an error in it stands for no picture, and spoils nothing beside it", () => {
  for (const wrong of ["*", " ", "-", "==", "\\n", "\\u0141", "\\\\", "é"]) {
    const spoilt = `${base64.slice(0, 6_000)}${wrong}${base64.slice(6_000)}`;
    const { json } = readInPieces(`["${spoilt}","${base64}"]`, [4_000]);
    assert.ok(Array.isArray(json), wrong);
    assert.throws(() => parseBase64(base64Schema.parse(json[0])), /not valid base64/, wrong);
    assert.deepEqual(revealed(json[1]), picture);
  }
});

test("long strings that are not base64 stay strings", () => {
  const words = "a prompt, repeated; ".repeat(1_000);
  const quoted = `say ""${base64}`;
  for (const text of [words, quoted, words + base64, `${base64.slice(0, 3_000)} ${base64}`]) {
    for (const length of [3_000, 5_000, 100_000]) {
      assert.deepEqual(readInPieces(JSON.stringify({ text }), [length]).json, { text });
    }
  }
});

test("a body that ends within a picture is no JSON", () => {
  const body = JSON.stringify({ data: base64 });
  for (const length of [body.length - 1, body.length - 2, 5_000, 20]) {
    assert.equal(readInPieces(body.slice(0, length), [1_000]).json, undefined);
  }
});

test("a vendor's own words for a picture's place stay words where there is none", () => {
  const body = { a: "\0base64:0", b: "\0base64:7" };
  assert.deepEqual(readInPieces(JSON.stringify(body), [100]).json, body);
});

test("only what is not a picture waits to be parsed, and the beginning is there as it came", () => {
  const body = Buffer.from(JSON.stringify({ data: base64, tail: "x".repeat(3_000) }));
  const reader = createReplyReader(null);
  reader.add(body.subarray(0, 1_000));
  reader.add(body.subarray(1_000));
  assert.ok(reader.textBytes < 4_000, `${reader.textBytes} bytes wait`);
  assert.deepEqual(Buffer.from(reader.end().beginning), body.subarray(0, 2_048));
});

test("JSON is read whatever its script, and with a byte order mark", () => {
  for (const text of ['{"a":"plain"}', '{"a":"猫 é"}', '\uFEFF{"a":"mark"}']) {
    const expected: unknown = JSON.parse(text.replace("\uFEFF", ""));
    assert.deepEqual(readContent(Buffer.from(text)).json, expected);
    assert.deepEqual(readInPieces(text, [3]).json, expected);
  }
  assert.equal(readContent(Buffer.from("<p>")).json, undefined);
});
