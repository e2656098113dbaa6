import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { createTestClock } from "../../test/support/clock.ts";
import { minuteMs } from "../lib/time.ts";
import { createRequestLimits } from "./limits.ts";

function setup(keysMax = 100) {
  const clock = createTestClock();
  return { clock, limits: createRequestLimits({ clock, keysMax }) };
}

test("a minute's allowance may come at once, and the next request is told when to come back", () => {
  const { limits } = setup();
  for (let i = 0; i < 5; i++) assert.deepEqual(limits.take("key_1", 5), { allowed: true });
  assert.deepEqual(limits.take("key_1", 5), { allowed: false, retryAfterSeconds: 12 });
});

test("a refused request costs nothing, and the allowance comes back evenly", async () => {
  const { clock, limits } = setup();
  for (let i = 0; i < 5; i++) limits.take("key_1", 5);
  for (let i = 0; i < 100; i++) assert.equal(limits.take("key_1", 5).allowed, false);
  await clock.advance(11_999);
  assert.deepEqual(limits.take("key_1", 5), { allowed: false, retryAfterSeconds: 1 });
  await clock.advance(1);
  assert.equal(limits.take("key_1", 5).allowed, true);
  assert.equal(limits.take("key_1", 5).allowed, false);
});

test("an unused allowance does not grow beyond one minute's", async () => {
  const { clock, limits } = setup();
  limits.take("key_1", 2);
  await clock.advance(60 * minuteMs);
  assert.equal(limits.take("key_1", 2).allowed, true);
  assert.equal(limits.take("key_1", 2).allowed, true);
  assert.equal(limits.take("key_1", 2).allowed, false);
});

test("each key has its own allowance", () => {
  const { limits } = setup();
  assert.equal(limits.take("key_1", 1).allowed, true);
  assert.equal(limits.take("key_1", 1).allowed, false);
  assert.equal(limits.take("key_2", 1).allowed, true);
});

test("a limit that does not divide a minute still allows all of it", () => {
  const { limits } = setup();
  for (let i = 0; i < 7; i++) assert.equal(limits.take("key_1", 7).allowed, true);
  assert.equal(limits.take("key_1", 7).allowed, false);
});

test("only so many keys are remembered", () => {
  const { limits } = setup(2);
  limits.take("key_1", 1);
  limits.take("key_2", 1);
  limits.take("key_3", 1);
  assert.equal(limits.take("key_3", 1).allowed, false);
  assert.equal(limits.take("key_1", 1).allowed, true);
});

test("over any time a key gets one allowance and what has come back since", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 600 }),
      fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 60 }),
      async (perMinute, pauses) => {
        const { clock, limits } = setup();
        let allowed = 0;
        let elapsedMs = 0;
        for (const pause of pauses) {
          await clock.advance(pause);
          elapsedMs += pause;
          for (let i = 0; i < 40; i++) {
            if (limits.take("key_1", perMinute).allowed) allowed += 1;
          }
        }
        assert.ok(allowed <= perMinute + (elapsedMs * perMinute) / minuteMs + 0.001);
      },
    ),
    { numRuns: 30 },
  );
});
