import assert from "node:assert/strict";
import { test } from "node:test";

import { chooseRange } from "./range.ts";
import type { RangeChoice } from "./range.ts";

const etag = '"abc"';

function choose(range: string | undefined, bytes = 1_000, ifRange?: string): RangeChoice {
  return chooseRange({ range, ifRange, etag, bytes });
}

const parts: [header: string, start: number, end: number][] = [
  ["bytes=0-0", 0, 0],
  ["bytes=0-999", 0, 999],
  ["bytes=999-999", 999, 999],
  ["bytes=100-199", 100, 199],
  ["bytes=0-", 0, 999],
  ["bytes=999-", 999, 999],
  ["bytes=-1", 999, 999],
  ["bytes=-1000", 0, 999],
  ["bytes=-5000", 0, 999],
  ["bytes=500-5000", 500, 999],
  ["bytes=500-99999999999999999999999999", 500, 999],
  ["BYTES=1-2", 1, 2],
  ["bytes= 1-2", 1, 2],
  [" bytes=1-2 ", 1, 2],
];

for (const [header, start, end] of parts) {
  test(`${JSON.stringify(header)} of 1000 bytes is ${start} to ${end}`, () => {
    assert.deepEqual(choose(header), { kind: "part", range: { start, end } });
  });
}

const outside = ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999-"];

for (const header of outside) {
  test(`${header} of 1000 bytes cannot be satisfied`, () => {
    assert.deepEqual(choose(header), { kind: "unsatisfiable" });
  });
}

test("no range of an empty body can be satisfied", () => {
  for (const header of ["bytes=0-", "bytes=0-0", "bytes=-1"]) {
    assert.deepEqual(choose(header, 0), { kind: "unsatisfiable" });
  }
});

const ignored = [
  "bytes=0-1,5-6",
  "bytes=0-1,",
  "bytes=5-4",
  "bytes=-",
  "bytes=",
  "bytes",
  "",
  "bytes=a-b",
  "bytes=1-2x",
  "bytes=+1-2",
  "bytes=1.0-2",
  "bytes=0x1-2",
  "bytes=1 -2",
  "bytes 1-2",
  "items=0-1",
  "bytes=--1",
];

for (const header of ignored) {
  test(`the header ${JSON.stringify(header)} is ignored`, () => {
    assert.deepEqual(choose(header), { kind: "whole" });
  });
}

test("without a range the whole body is sent", () => {
  assert.deepEqual(choose(undefined), { kind: "whole" });
  assert.deepEqual(choose(undefined, 1_000, etag), { kind: "whole" });
});

test("a range counts only while If-Range names the current body by its strong tag", () => {
  const part = { kind: "part", range: { start: 1, end: 2 } };
  assert.deepEqual(choose("bytes=1-2", 1_000, etag), part);
  for (const other of ['"other"', `W/${etag}`, "abc", "Wed, 21 Oct 2026 07:28:00 GMT", "*", ""]) {
    assert.deepEqual(choose("bytes=1-2", 1_000, other), { kind: "whole" }, other);
  }
});
