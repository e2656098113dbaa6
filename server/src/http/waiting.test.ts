import assert from "node:assert/strict";
import test from "node:test";

import { AppError } from "../lib/errors.ts";
import { findPreferredWait, parseWait } from "./waiting.ts";

test("the preference wait is found among others, and held to a minute", () => {
  const cases: [string | undefined, number | null][] = [
    [undefined, null],
    ["wait=10", 10],
    ["WAIT = 10", 10],
    ['wait="10"', 10],
    ["wait=0", 0],
    ["wait", 60],
    ["wait=600", 60],
    ["respond-async, wait=5; foo=bar", 5],
    ["return=minimal", null],
    ["wait=soon", null],
    ["wait=-1", null],
    ["wait=1.5", null],
    ["waiting=5", null],
  ];
  for (const [header, seconds] of cases) {
    assert.equal(findPreferredWait(header), seconds, header);
  }
});

test("the query wait is whole seconds up to a minute, and everything else is refused by name", () => {
  assert.deepEqual([undefined, "", "0", "1", "60"].map(parseWait), [0, 0, 0, 1_000, 60_000]);
  for (const value of ["61", "999", "-1", "1.5", "1e1", "x", " 1", ["1", "2"]]) {
    assert.throws(
      () => parseWait(value),
      (error) =>
        error instanceof AppError &&
        error.reason === "invalid_parameter" &&
        error.param === "wait" &&
        error.message.includes("0 to 60"),
    );
  }
});
