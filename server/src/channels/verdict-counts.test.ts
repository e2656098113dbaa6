import assert from "node:assert/strict";
import test from "node:test";

import { createTestClock } from "../../test/support/clock.ts";
import { nextTurn } from "../lib/turn.ts";
import { createBreakers, failuresMax } from "./breaker.ts";
import { countVerdicts } from "./verdict-counts.ts";

const key = { channel: "main", upstreamModel: "m" };

test("every attempt is counted once, under its channel and by how it ended", () => {
  const { breakers, readCounts } = countVerdicts(createBreakers({ clock: createTestClock() }));
  const permit = breakers.take(key);
  permit?.answer("answered");
  permit?.answer("failed");
  breakers.watch({ ...key, upstreamModel: "other" }).answer("answered");
  breakers.watch({ ...key, channel: "spare" }).answer("silent");
  assert.deepEqual(readCounts(), [
    { channel: "main", verdict: "answered", attempts: 2 },
    { channel: "spare", verdict: "silent", attempts: 1 },
  ]);
});

test("breakers that are counted open as others do, and a refused permit is no attempt", async () => {
  const { breakers, readCounts } = countVerdicts(createBreakers({ clock: createTestClock() }));
  for (let failure = 0; failure < failuresMax; failure += 1) {
    breakers.take(key)?.answer("failed");
    await nextTurn();
  }
  assert.equal(breakers.take(key), null);
  assert.notEqual(breakers.closedUntil(key), null);
  assert.deepEqual(readCounts(), [{ channel: "main", verdict: "failed", attempts: failuresMax }]);
});
