import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestClock } from "./clock.ts";

test("time stands still until it is advanced, and both clocks move together", async () => {
  const clock = createTestClock(1_000);
  assert.equal(clock.now(), 1_000);
  await clock.advance(250);
  assert.equal(clock.now(), 1_250);
  assert.equal(clock.monotonic(), 250);
});

test("sleeps and calls come due in the order of their times, each at its own time", async () => {
  const clock = createTestClock(0);
  const events: string[] = [];
  clock.after(30, () => events.push(`call at ${clock.now()}`));
  const sleeper = (async () => {
    await clock.sleep(10);
    events.push(`first at ${clock.now()}`);
    await clock.sleep(10);
    events.push(`second at ${clock.now()}`);
  })();
  await clock.advance(9);
  assert.deepEqual(events, []);
  await clock.advance(91);
  await sleeper;
  assert.deepEqual(events, ["first at 10", "second at 20", "call at 30"]);
  assert.equal(clock.now(), 100);
});

test("a call that was called off and a sleep that was aborted leave nothing waiting", async () => {
  const clock = createTestClock();
  const events: string[] = [];
  const cancel = clock.after(5, () => events.push("called"));
  const abort = new AbortController();
  const sleeping = clock.sleep(5, abort.signal);
  assert.equal(clock.waiting, 2);
  cancel();
  abort.abort();
  await sleeping;
  await clock.sleep(5, abort.signal);
  assert.equal(clock.waiting, 0);
  await clock.advance(10);
  assert.deepEqual(events, []);
});

test("a test can wait until the code under test has reached its pause", async () => {
  const clock = createTestClock();
  const pausing = clock.untilWaiting(1);
  const sleeping = new Promise(setImmediate).then(() => clock.sleep(50));
  await pausing;
  await clock.untilWaiting(1);
  await clock.advance(50);
  await sleeping;
});
