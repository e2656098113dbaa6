import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { ProviderError } from "./adapter.ts";
import { base64Schema, createBase64Decoder, parseBase64 } from "./base64.ts";

/** What becomes of a text that comes in pieces of these lengths, over and over. */
function decodeInPieces(
  text: string,
  lengths: readonly number[],
  charactersMax: number | null,
): Uint8Array {
  const decoder = createBase64Decoder(charactersMax);
  const bytes = Buffer.from(text);
  for (let at = 0, piece = 0; at < bytes.length; piece += 1) {
    const length = lengths[piece % lengths.length] ?? 1;
    decoder.add(bytes.subarray(at, at + length));
    at += length;
  }
  return parseBase64(decoder.end());
}

const lengthsOf = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 10 });

test("bytes survive however their base64 is cut into pieces, its length known or not", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), lengthsOf, (bytes, lengths) => {
      const text = Buffer.from(bytes).toString("base64");
      for (const charactersMax of [null, text.length, text.length + 1_000]) {
        const decoded = decodeInPieces(text, lengths, charactersMax);
        assert.deepEqual(Buffer.from(decoded), Buffer.from(bytes));
      }
    }),
  );
});

test("pictures of many megabytes are put together from their blocks", () => {
  const picture = Buffer.alloc(11_000_001, "a repeating word ");
  const text = picture.toString("base64");
  for (const charactersMax of [null, text.length]) {
    assert.ok(picture.equals(decodeInPieces(text, [65_536, 13, 65_536], charactersMax)));
  }
});

test("a picture does not keep room that it does not need", () => {
  const text = Buffer.alloc(300_000, 1).toString("base64");
  for (const charactersMax of [null, text.length, 100 * text.length]) {
    const { buffer } = decodeInPieces(text, [65_536], charactersMax);
    assert.ok(buffer.byteLength < 400_000, `${buffer.byteLength} bytes are kept`);
  }
});

test("one wrong character anywhere spoils all", () => {
  const text = Buffer.alloc(99, 5).toString("base64");
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: text.length - 1 }),
      fc
        .integer({ min: 0, max: 255 })
        .filter((code) => !/[\w+/]/.test(String.fromCharCode(code)) || code === 95),
      lengthsOf,
      (at, code, lengths) => {
        const bytes = Buffer.from(text);
        bytes[at] = code;
        const decoder = createBase64Decoder(null);
        const length = lengths[0] ?? 1;
        for (let from = 0; from < bytes.length; from += length) {
          decoder.add(bytes.subarray(from, from + length));
        }
        // One character of padding is where it may be, in place of the last.
        const isPadding = at === text.length - 1 && code === 61;
        if (isPadding) assert.equal(parseBase64(decoder.end()).length, 98);
        else assert.throws(() => parseBase64(decoder.end()), isGarbled);
      },
    ),
  );
});

test("base64 is decoded only where every character of it counts", () => {
  for (const text of ["a", "ab", "abc", "abcd", "\0\u00FF\u007F"]) {
    const bytes = Buffer.from(text, "latin1");
    assert.deepEqual(parseBase64(bytes.toString("base64")), bytes);
    assert.deepEqual(parseBase64(`data:image/png;base64,${bytes.toString("base64")}`), bytes);
  }
  const wrong = ["", "=", "====", "YQ", "YQ=", "YW Jj", "YWJj\n", "YW-j", "YW_j", "Y*Jj"];
  for (const text of [...wrong, "YQ==YQ==", "YQ=j", "YWJŁ", "YWJj=", "data:image/png;base64,"]) {
    assert.throws(() => parseBase64(text), isGarbled, text);
    const inside = `${"YWJj".repeat(20)}${text || "*"}${"YWJj".repeat(20)}`;
    assert.throws(() => parseBase64(inside), isGarbled, inside);
  }
});

test("what JSON can carry is no decoded picture", () => {
  for (const value of [1, null, {}, [], { bytes: [1], characters: 4 }]) {
    assert.equal(base64Schema.safeParse(value).success, false);
  }
});

function isGarbled(error: unknown): true {
  assert.ok(error instanceof ProviderError, String(error));
  assert.equal(error.kind, "garbled");
  return true;
}
