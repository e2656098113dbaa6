import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { createTestClock } from "../../test/support/clock.ts";
import { minuteMs } from "../lib/time.ts";
import { createRequestLimits } from "./limits.ts";

function setup({ allowancesMax = 100, nodes = 1 } = {}) {
  const clock = createTestClock();
  const cluster = { nodes };
  const limits = createRequestLimits({ clock, allowancesMax, liveApiNodes: () => cluster.nodes });
  /** 0 when the request was taken, else the seconds to wait. */
  const take = (id: string, requestsPerMinute: number): number =>
    limits.take([{ id, requestsPerMinute }]).retryAfterSeconds;
  return { clock, cluster, limits, take };
}

test("a minute's allowance may come at once, and the next request is told when to come back", () => {
  const { take } = setup();
  for (let i = 0; i < 5; i++) assert.equal(take("key_1", 5), 0);
  assert.equal(take("key_1", 5), 12);
});

test("a refused request costs nothing, and the allowance comes back evenly", async () => {
  const { clock, take } = setup();
  for (let i = 0; i < 5; i++) take("key_1", 5);
  for (let i = 0; i < 100; i++) assert.notEqual(take("key_1", 5), 0);
  await clock.advance(11_999);
  assert.equal(take("key_1", 5), 1);
  await clock.advance(1);
  assert.equal(take("key_1", 5), 0);
  assert.notEqual(take("key_1", 5), 0);
});

test("an unused allowance does not grow beyond one minute's", async () => {
  const { clock, take } = setup();
  take("key_1", 2);
  await clock.advance(60 * minuteMs);
  assert.equal(take("key_1", 2), 0);
  assert.equal(take("key_1", 2), 0);
  assert.notEqual(take("key_1", 2), 0);
});

test("each key has its own allowance", () => {
  const { take } = setup();
  assert.equal(take("key_1", 1), 0);
  assert.notEqual(take("key_1", 1), 0);
  assert.equal(take("key_2", 1), 0);
});

test("a limit that does not divide a minute still allows all of it", () => {
  const { take } = setup();
  for (let i = 0; i < 7; i++) assert.equal(take("key_1", 7), 0);
  assert.notEqual(take("key_1", 7), 0);
});

test("only so many keys are remembered", () => {
  const { take } = setup({ allowancesMax: 2 });
  take("key_1", 1);
  take("key_2", 1);
  take("key_3", 1);
  assert.notEqual(take("key_3", 1), 0);
  assert.equal(take("key_1", 1), 0);
});

test("over any time a key gets one allowance and what has come back since", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 600 }),
      fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 1, maxLength: 60 }),
      async (perMinute, pauses) => {
        const { clock, take } = setup();
        let allowed = 0;
        let elapsedMs = 0;
        for (const pause of pauses) {
          await clock.advance(pause);
          elapsedMs += pause;
          for (let i = 0; i < 40; i++) {
            if (take("key_1", perMinute) === 0) allowed += 1;
          }
        }
        assert.ok(allowed <= perMinute + (elapsedMs * perMinute) / minuteMs + 0.001);
      },
    ),
    { numRuns: 30 },
  );
});

test("each of several nodes gives out its share of the limit", () => {
  const { cluster, take } = setup({ nodes: 3 });
  for (let i = 0; i < 4; i++) assert.equal(take("key_1", 12), 0);
  assert.equal(take("key_1", 12), 15);
  cluster.nodes = 1;
  assert.equal(take("key_2", 2), 0);
  assert.equal(take("key_2", 2), 0);
});

test("a share of less than one request a minute still lets one through", async () => {
  const { clock, take } = setup({ nodes: 4 });
  assert.equal(take("key_1", 2), 0);
  assert.equal(take("key_1", 2), 120);
  await clock.advance(2 * minuteMs);
  assert.equal(take("key_1", 2), 0);
});

test("a request is taken from every allowance or from none, and the longest wait is told", () => {
  const { limits, take } = setup();
  const claims = [
    { id: "key_1", requestsPerMinute: 60 },
    { id: "account", requestsPerMinute: 2 },
  ];
  for (let i = 0; i < 2; i++) assert.equal(limits.take(claims).refusedBy, null);
  const refused = limits.take(claims);
  assert.deepEqual([refused.refusedBy, refused.retryAfterSeconds], [1, 30]);
  assert.deepEqual(refused.states, [
    { requestsPerMinute: 60, remaining: 58, wholeInSeconds: 2 },
    { requestsPerMinute: 2, remaining: 0, wholeInSeconds: 60 },
  ]);
  for (let i = 0; i < 58; i++) assert.equal(take("key_1", 60), 0);
  assert.equal(limits.take(claims).refusedBy, 1);
});
