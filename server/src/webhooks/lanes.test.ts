import assert from "node:assert/strict";
import { test } from "node:test";

import { minuteMs, secondMs } from "../lib/time.ts";
import { createTestClock } from "../../test/support/clock.ts";
import { createLanes, perOriginMax } from "./lanes.ts";

const origin = "https://one.example";

function failTimes(lanes: ReturnType<typeof createLanes>, times: number): void {
  for (let i = 0; i < times; i += 1) {
    lanes.enter(origin, 1);
    lanes.leave(origin, false);
  }
}

test("an origin has four places, and each origin its own", () => {
  const lanes = createLanes({ clock: createTestClock() });
  assert.equal(lanes.room(origin), perOriginMax);
  lanes.enter(origin, 3);
  assert.equal(lanes.room(origin), 1);
  assert.equal(lanes.room("https://two.example"), perOriginMax);
  lanes.leave(origin, null);
  assert.equal(lanes.room(origin), 2);
});

test("ten failures in a row close an origin for 30 s; a success between them does not", async () => {
  const clock = createTestClock();
  const lanes = createLanes({ clock });
  failTimes(lanes, 9);
  lanes.enter(origin, 1);
  lanes.leave(origin, true);
  failTimes(lanes, 9);
  assert.equal(lanes.room(origin), perOriginMax);
  failTimes(lanes, 1);
  assert.equal(lanes.room(origin), 0);
  await clock.advance(30 * secondMs);
  assert.equal(lanes.room(origin), 1);
});

test("the one trial decides: success opens the origin, failure closes it for twice as long, ten minutes at most", async () => {
  const clock = createTestClock();
  const lanes = createLanes({ clock });
  failTimes(lanes, 10);
  for (const pause of [30, 60, 120, 240, 480, 600, 600]) {
    await clock.advance(pause * secondMs - 1);
    assert.equal(lanes.room(origin), 0, `before ${pause} s`);
    await clock.advance(1);
    assert.equal(lanes.room(origin), 1, `after ${pause} s`);
    lanes.enter(origin, 1);
    assert.equal(lanes.room(origin), 0);
    lanes.leave(origin, false);
  }
  await clock.advance(10 * minuteMs);
  lanes.enter(origin, 1);
  lanes.leave(origin, true);
  assert.equal(lanes.room(origin), perOriginMax);
});
