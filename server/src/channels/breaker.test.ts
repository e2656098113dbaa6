import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { createTestClock } from "../../test/support/clock.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { createBreakers, failuresMax } from "./breaker.ts";
import type { Breakers, Verdict } from "./breaker.ts";

const key = { channel: "bfl", upstreamModel: "flux-2-pro" };

function create() {
  const clock = createTestClock();
  return { clock, breakers: createBreakers({ clock }) };
}

/** One call after another, each answered; fails when one is not let through. */
async function answer(breakers: Breakers, ...verdicts: readonly Verdict[]): Promise<void> {
  for (const verdict of verdicts) {
    const permit = breakers.take(key);
    assert.ok(permit !== null, `a permit for the call that is ${verdict}`);
    permit.answer(verdict);
    await nextTurn();
  }
}

const failures = (count: number): Verdict[] => Array.from({ length: count }, () => "failed");

async function open(breakers: Breakers): Promise<void> {
  await answer(breakers, ...failures(failuresMax));
}

test("five failures in a row open a breaker for ten seconds, and four do not", async () => {
  const { clock, breakers } = create();
  await answer(breakers, ...failures(4));
  assert.equal(breakers.closedUntil(key), null);
  await answer(breakers, "failed");
  assert.equal(breakers.closedUntil(key), clock.now() + 10 * secondMs);
  assert.equal(breakers.take(key), null);
});

test("an answer between failures begins the count anew", async () => {
  const { breakers } = create();
  await answer(breakers, ...failures(4), "answered", ...failures(4));
  assert.equal(breakers.closedUntil(key), null);
});

test("a call that never left neither counts nor begins the count anew", async () => {
  const { breakers } = create();
  await answer(breakers, ...failures(4), "silent", "silent");
  assert.equal(breakers.closedUntil(key), null);
  await answer(breakers, "failed");
  assert.notEqual(breakers.closedUntil(key), null);
});

test("after the pause one trial is let through, and nobody else while it is under way", async () => {
  const { clock, breakers } = create();
  await open(breakers);
  await clock.advance(10 * secondMs - 1);
  assert.equal(breakers.take(key), null);
  await clock.advance(1);
  assert.equal(breakers.closedUntil(key), null);
  const trial = breakers.take(key);
  assert.ok(trial !== null);
  for (let i = 0; i < 3; i += 1) {
    assert.equal(breakers.take(key), null);
    const until = breakers.closedUntil(key);
    assert.ok(until !== null && until > clock.now());
    await clock.advance(minuteMs);
  }
  trial.answer("answered");
  await nextTurn();
  assert.equal(breakers.closedUntil(key), null);
  await answer(breakers, ...failures(4));
  assert.equal(breakers.closedUntil(key), null, "a good trial closes the breaker entirely");
});

test("each trial that fails doubles the pause, up to two minutes, and a good one begins anew", async () => {
  const { clock, breakers } = create();
  await open(breakers);
  const pauses: number[] = [];
  for (let i = 0; i < 6; i += 1) {
    const until = breakers.closedUntil(key);
    assert.ok(until !== null);
    pauses.push((until - clock.now()) / secondMs);
    await clock.advance(until - clock.now());
    await answer(breakers, "failed");
  }
  assert.deepEqual(pauses, [10, 20, 40, 80, 120, 120]);
  await clock.advance(2 * minuteMs);
  await answer(breakers, "answered");
  await open(breakers);
  assert.equal(breakers.closedUntil(key), clock.now() + 10 * secondMs);
});

test("a trial that was never made opens the breaker again", async () => {
  const { clock, breakers } = create();
  await open(breakers);
  await clock.advance(10 * secondMs);
  breakers.take(key)?.answer("silent");
  await nextTurn();
  assert.equal(breakers.closedUntil(key), clock.now() + 20 * secondMs);
});

test("only the first answer to a permit is heard", async () => {
  const { clock, breakers } = create();
  const permit = breakers.take(key);
  for (let i = 0; i < 9; i += 1) permit?.answer("failed");
  await nextTurn();
  assert.equal(breakers.closedUntil(key), null);
  await answer(breakers, ...failures(4));
  await clock.advance(10 * secondMs);
  const trial = breakers.take(key);
  trial?.answer("answered");
  trial?.answer("silent");
  await nextTurn();
  assert.equal(breakers.closedUntil(key), null);
});

test("what was sent before a breaker opened changes nothing when it ends afterwards", async () => {
  const { clock, breakers } = create();
  const early = [breakers.take(key), breakers.take(key)];
  await open(breakers);
  early[0]?.answer("answered");
  await nextTurn();
  assert.equal(breakers.closedUntil(key), clock.now() + 10 * secondMs);
  await clock.advance(10 * secondMs);
  const trial = breakers.take(key);
  early[1]?.answer("failed");
  await nextTurn();
  trial?.answer("answered");
  await nextTurn();
  assert.equal(breakers.closedUntil(key), null);
});

test("work that was found under way counts as well", async () => {
  const { breakers } = create();
  for (let i = 0; i < failuresMax; i += 1) breakers.watch(key).answer("failed");
  await nextTurn();
  assert.notEqual(breakers.closedUntil(key), null);
});

test("channels and models have breakers of their own", async () => {
  const { breakers } = create();
  await open(breakers);
  assert.equal(breakers.closedUntil({ ...key, upstreamModel: "flux-2-flex" }), null);
  assert.equal(breakers.closedUntil({ ...key, channel: "other" }), null);
});
