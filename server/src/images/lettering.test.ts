import assert from "node:assert/strict";
import { before, test } from "node:test";

import type { Mask } from "./canvas.ts";
import { drawingEnvironment } from "./fonts.ts";
import { fitText, renderText, tidyText } from "./lettering.ts";

before(() => Object.assign(process.env, drawingEnvironment()));

/** U+AC00: a Hangul syllable, which no font here has. */
const boxed = "가";

test("letters of every promised script have shapes of their own", async () => {
  for (const letters of ["Ag", "ΑΩ", "ЖЯ", "赛博", "東臺", "かナ"]) {
    const [first, second, missing] = await Promise.all(
      [letters[0]!, letters[1]!, boxed].map((text) => renderText({ text, size: 40, width: 200 })),
    );
    assert.ok(ink(first!) > 50, letters);
    assert.notDeepEqual(first, second, letters);
    assert.notDeepEqual(first, missing, letters);
  }
});

test("a letter that no font has is drawn as a box and nothing breaks", async () => {
  assert.ok(ink(await renderText({ text: boxed, size: 40, width: 200 })) > 0);
});

test("markup is shown as text and not obeyed", async () => {
  const plain = await renderText({ text: "x", size: 20, width: 400 });
  for (const text of ["<b>x</b>", "&lt;", "<", "&", "<span foreground='red'>", "]]>", "&#0;"]) {
    assert.ok((await renderText({ text, size: 20, width: 400 })).width > 0, text);
  }
  assert.ok((await renderText({ text: "<b>x</b>", size: 20, width: 400 })).width > plain.width * 3);
});

test("control characters, lone surrogates, direction marks and missing emoji are tidied away", () => {
  const cases: [string, string][] = [
    ["a\u0000b\u0007c", "a b c"],
    ["  a \r\n\t b\u2028c\u00A0 ", "a b c"],
    ["a\uD800b", "ab"],
    ["a\u202Eb\u200Dc\uFEFFd\uFFFEe", "abcde"],
    ["a 🎨 b 👩‍👩‍👧 c 🇩🇪 d", "a b c d"],
    ["😀 ☀️", "😀 ☀"],
    ["\n \t", ""],
  ];
  for (const [text, tidy] of cases) assert.equal(tidyText(text), tidy, JSON.stringify(text));
});

test("text wraps at its width, inside a word where it must", async () => {
  for (const text of ["the quick brown fox jumps over", "x".repeat(200), "赛".repeat(100)]) {
    const mask = await renderText({ text, size: 20, width: 150 });
    assert.ok(mask.width <= 152, `${text} is ${mask.width} wide`);
    assert.ok(mask.height > 40);
  }
});

test("a short text takes the largest size, a longer one shrinks to fit", async () => {
  const fit = { width: 400, heightMax: 120, sizes: [60, 30, 15] };
  const short = await fitText("short", fit);
  const longer = await fitText("a somewhat longer prompt that needs more room", fit);
  assert.deepEqual(short, await renderText({ text: "short", size: 60, width: 400 }));
  assert.ok(longer.height <= 120);
  assert.notEqual(lineHeight(longer), lineHeight(short));
});

test("a text that fits at no size is cut at a letter and ends in an ellipsis", async () => {
  const fit = { width: 200, heightMax: 50, sizes: [40, 20] };
  const letters = "abcdefghijklmnopqrstuvwxyz".repeat(40);
  const cut = await fitText(letters, fit);
  assert.ok(cut.height <= 50);
  const candidates = await Promise.all(
    Array.from({ length: 80 }, (_, length) =>
      renderText({ text: `${letters.slice(0, length)}…`, size: 20, width: 200 }),
    ),
  );
  const found = candidates.findLastIndex((mask) => mask.height <= 50);
  assert.ok(found > 10);
  assert.deepEqual(cut, candidates[found]);
});

test("no text and no room give nothing instead of an error", async () => {
  const nothing = { width: 0, height: 0, coverage: new Uint8Array(0) };
  assert.deepEqual(await fitText("", { width: 100, heightMax: 100, sizes: [20] }), nothing);
  assert.deepEqual(await fitText("text", { width: 100, heightMax: -5, sizes: [20] }), nothing);
  assert.deepEqual(await fitText("text", { width: -5, heightMax: 50, sizes: [20] }), nothing);
});

test("a pile of accents stays small", async () => {
  const mask = await fitText(`a${"\u0301".repeat(500)}`, {
    width: 300,
    heightMax: 300,
    sizes: [20],
  });
  assert.ok(mask.height < 80);
});

function ink(mask: Mask): number {
  return mask.coverage.reduce((sum, value) => sum + (value > 127 ? 1 : 0), 0);
}

/** Rows from the top to the first one without ink. */
function lineHeight(mask: Mask): number {
  const rows = Array.from({ length: mask.height }, (_, y) =>
    mask.coverage.subarray(y * mask.width, (y + 1) * mask.width).some((value) => value > 0),
  );
  const first = rows.indexOf(true);
  const end = rows.indexOf(false, first);
  return (end === -1 ? rows.length : end) - first;
}
