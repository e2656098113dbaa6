import assert from "node:assert/strict";
import { test } from "node:test";

import type { Random } from "../lib/random.ts";
import { hourMs, secondMs } from "../lib/time.ts";
import { parseRetryAfter, pauseAfter, retryPausesMs, triesMax } from "./schedule.ts";

function fixed(fraction: number): Random {
  return { bytes: (size) => Buffer.alloc(size), fraction: () => fraction };
}

test("nine tries span about 28 hours, each pause within a tenth of its length", () => {
  const total = retryPausesMs.reduce((sum, pause) => sum + pause, 0);
  assert.equal(triesMax, 9);
  assert.ok(total > 27 * hourMs && total < 28 * hourMs);
  for (const [index, pause] of retryPausesMs.entries()) {
    assert.equal(pauseAfter(index + 1, null, fixed(0)), Math.round(pause * 0.9));
    assert.equal(pauseAfter(index + 1, null, fixed(0.5)), pause);
  }
  assert.equal(pauseAfter(triesMax, null, fixed(0.5)), null);
  assert.equal(pauseAfter(triesMax, 60 * secondMs, fixed(0.5)), null);
});

test("Retry-After never shortens a pause, and lengthens it by an hour at most", () => {
  assert.equal(pauseAfter(1, secondMs, fixed(0.5)), 5 * secondMs);
  assert.equal(pauseAfter(1, 60 * secondMs, fixed(0.5)), 60 * secondMs);
  assert.equal(pauseAfter(1, 100 * hourMs, fixed(0.5)), hourMs);
  assert.equal(pauseAfter(7, 100 * hourMs, fixed(0.5)), 10 * hourMs);
});

test("Retry-After is read as seconds or as an HTTP date, and anything else is nothing", () => {
  const now = Date.UTC(2026, 0, 1);
  assert.equal(parseRetryAfter("120", now), 120 * secondMs);
  assert.equal(parseRetryAfter(" 0 ", now), 0);
  assert.equal(parseRetryAfter("Thu, 01 Jan 2026 00:02:00 GMT", now), 120 * secondMs);
  assert.equal(parseRetryAfter("Thu, 01 Jan 2020 00:02:00 GMT", now), 0);
  for (const text of [undefined, "", "-1", "1.5", "soon", "1e9", "9999999999"]) {
    assert.equal(parseRetryAfter(text, now), null, String(text));
  }
});
