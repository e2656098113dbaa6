import assert from "node:assert/strict";
import { test } from "node:test";

import { findTime } from "./times.ts";

const noon = Date.UTC(2026, 8, 1, 12);

test("unix seconds and RFC 3339 name the same moment, with any offset", () => {
  for (const text of [
    String(noon / 1_000),
    "2026-09-01T12:00:00Z",
    "2026-09-01t12:00:00.000z",
    "2026-09-01 14:00:00+02:00",
    "2026-09-01T14:00:00 02:00",
    "2026-09-01T06:30:00-05:30",
  ]) {
    assert.equal(findTime(text), noon, text);
  }
});

test("what is not a moment is none: words, dates alone, days that do not exist, lists", () => {
  for (const value of [
    "",
    "now",
    "-5",
    "1.5",
    "9999999999999",
    "2026-09-01",
    "2026-09-01T12:00:00",
    "2026-02-31T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-09-01T25:00:00Z",
    ["1"],
    undefined,
  ]) {
    assert.equal(findTime(value), null, String(value));
  }
});
