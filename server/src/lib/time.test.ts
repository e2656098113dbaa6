import assert from "node:assert/strict";
import { test } from "node:test";

import { isTimeZone, systemClock, toUnixSeconds } from "./time.ts";

test("unix seconds are rounded down", () => {
  assert.equal(toUnixSeconds(1_767_225_600_999), 1_767_225_600);
  assert.equal(toUnixSeconds(0), 0);
});

test("the clock tells unix milliseconds, and a monotonic time that never goes back", () => {
  const before = Date.now();
  const now = systemClock.now();
  assert.ok(now >= before && now <= Date.now());
  const first = systemClock.monotonic();
  assert.ok(systemClock.monotonic() >= first);
});

test("a sleep ends at its time, and at once when it is called off before or during it", async () => {
  const begun = systemClock.monotonic();
  await systemClock.sleep(5);
  assert.ok(systemClock.monotonic() - begun >= 4);
  await systemClock.sleep(1_000_000, AbortSignal.abort());
  const stop = new AbortController();
  const sleeping = systemClock.sleep(1_000_000, stop.signal);
  stop.abort();
  await sleeping;
  assert.ok(systemClock.monotonic() - begun < 10_000);
});

test("a delay below zero is none, and one longer than a timer can count does not fire at once", async () => {
  await systemClock.sleep(-5);
  const stop = new AbortController();
  let hasFired = false;
  const century = 100 * 365 * 86_400_000;
  const callOff = systemClock.after(century, () => (hasFired = true));
  const sleeping = systemClock.sleep(century, stop.signal).then(() => (hasFired = true));
  await systemClock.sleep(5);
  assert.equal(hasFired, false);
  callOff();
  stop.abort();
  await sleeping;
});

test("what is called off does not happen", async () => {
  let calls = 0;
  const callOff = systemClock.after(1, () => (calls += 1));
  callOff();
  callOff();
  await new Promise<void>((resolve) => {
    systemClock.after(5, resolve);
    // `after` does not keep the process alive; this sleep does.
    void systemClock.sleep(20);
  });
  assert.equal(calls, 0);
});

test("time zones are those that the runtime knows", () => {
  assert.deepEqual(["UTC", "Asia/Shanghai", "Europe/Nowhere", ""].map(isTimeZone), [
    true,
    true,
    false,
    false,
  ]);
});
