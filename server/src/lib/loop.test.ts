import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { createTestClock } from "../../test/support/clock.ts";
import { createLoop } from "./loop.ts";
import type { LoopOptions } from "./loop.ts";

function setup(turn: LoopOptions["turn"] = () => Promise.resolve()) {
  const clock = createTestClock();
  const turns: number[] = [];
  const errors: unknown[] = [];
  const loop = createLoop({
    clock,
    everyMs: 1_000,
    turn: (signal) => {
      turns.push(clock.monotonic());
      return turn(signal);
    },
    onError: (error) => errors.push(error),
  });
  return { clock, turns, errors, loop };
}

test("a loop turns at its start and then after each pause", async () => {
  const { clock, turns, loop } = setup();
  loop.start();
  loop.start();
  await clock.advance(3_500);
  assert.deepEqual(turns, [0, 1_000, 2_000, 3_000]);
  await loop.stop();
});

test("a turn sets its next pause by returning one", async () => {
  const pauses = [5_000, 0, undefined];
  const { clock, turns, loop } = setup(() => Promise.resolve(pauses.shift()));
  loop.start();
  await clock.advance(6_500);
  assert.deepEqual(turns, [0, 5_000, 5_000, 6_000]);
  await loop.stop();
});

test("a nudge during the pause turns at once, one during a turn turns again after it", async () => {
  const gate = Promise.withResolvers<void>();
  let isHeld = false;
  const { clock, turns, loop } = setup(async () => {
    if (isHeld) await gate.promise;
  });
  loop.start();
  await clock.advance(300);
  isHeld = true;
  loop.nudge();
  await nextTurn();
  assert.deepEqual(turns, [0, 300]);
  loop.nudge();
  loop.nudge();
  isHeld = false;
  gate.resolve();
  await nextTurn();
  assert.deepEqual(turns, [0, 300, 300]);
  await clock.advance(1_000);
  assert.deepEqual(turns, [0, 300, 300, 1_300]);
  await loop.stop();
});

test("a turn that throws is reported, and the loop goes on after its pause", async () => {
  let isBad = true;
  const { clock, turns, errors, loop } = setup(() => {
    if (!isBad) return Promise.resolve();
    isBad = false;
    throw new Error("a bad turn");
  });
  loop.start();
  await clock.advance(1_000);
  assert.deepEqual(turns, [0, 1_000]);
  assert.match(String(errors[0]), /a bad turn/);
  assert.equal(errors.length, 1);
  await loop.stop();
});

test("a stop ends the pause, waits for the turn under way, and can be asked for twice", async () => {
  const gate = Promise.withResolvers<void>();
  let signal: AbortSignal | null = null;
  const { clock, turns, loop } = setup((given) => {
    signal = given;
    return gate.promise;
  });
  loop.start();
  let hasStopped = false;
  const stops = Promise.all([loop.stop(), loop.stop()]).then(() => (hasStopped = true));
  await nextTurn();
  assert.equal(hasStopped, false);
  assert.equal((signal as AbortSignal | null)?.aborted, true);
  gate.resolve();
  await stops;
  loop.nudge();
  loop.start();
  await clock.advance(5_000);
  assert.deepEqual(turns, [0]);
  assert.equal(clock.waiting, 0);
});

test("a loop that was never started stops, and does not start afterwards", async () => {
  const { clock, turns, loop } = setup();
  await loop.stop();
  loop.start();
  await clock.advance(2_000);
  assert.deepEqual(turns, []);
});
