import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createTestClock } from "../../test/support/clock.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { createDiskStorage } from "./disk.ts";
import { createOutage } from "./outage.ts";

async function setup(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), "darkroom-outage-"));
  t.after(() => rm(root, { recursive: true }));
  const folder = join(root, "objects");
  const storage = createDiskStorage({ folder, random: systemRandom });
  const clock = createTestClock();
  const ended: Promise<unknown>[] = [];
  const check = (): Promise<void> => {
    const checked = storage.check();
    ended.push(checked.catch(() => undefined));
    return checked;
  };
  const outage = createOutage({ storage: { check }, clock, log: createLog("silent") });
  return {
    clock,
    outage,
    checks: () => ended.length,
    /** Moves time, and lets every check that was due on the way end. */
    pass: async (ms: number) => {
      for (let passed = 0; passed < ms; passed += 500) {
        await clock.advance(500);
        await Promise.all(ended);
      }
      await clock.advance(0);
    },
    goAway: () => writeFile(folder, "a file where the store wants its folder"),
    comeBack: () => rm(folder),
  };
}

/** Which of the waits are over. */
function watchWaits(waits: readonly Promise<void>[]): boolean[] {
  const over = waits.map(() => false);
  for (const [index, wait] of waits.entries()) void wait.then(() => (over[index] = true));
  return over;
}

const { signal: never } = new AbortController();

test("nobody waits while no write has failed", async (t) => {
  const { outage, clock, checks } = await setup(t);
  await outage.untilOver(never);
  assert.deepEqual([outage.isOn, clock.waiting, checks()], [false, 0, 0]);
});

test("one check a second asks for all who wait, and its success wakes them all", async (t) => {
  const { outage, clock, checks, pass, goAway, comeBack } = await setup(t);
  await goAway();
  outage.begin();
  const waits = Array.from({ length: 50 }, () => outage.untilOver(never));
  const over = watchWaits(waits);
  await pass(10_000);
  assert.equal(checks(), 10);
  assert.ok(outage.isOn && !over.includes(true));
  await comeBack();
  await pass(1_000);
  await Promise.all(waits);
  assert.deepEqual([outage.isOn, checks(), clock.waiting], [false, 11, 0]);
});

test("a write that succeeds ends the outage without a check", async (t) => {
  const { outage, checks, clock } = await setup(t);
  outage.begin();
  const wait = outage.untilOver(never);
  outage.end();
  await wait;
  assert.deepEqual([outage.isOn, checks(), clock.waiting], [false, 0, 0]);
});

test("who is called off waits no longer, and with the last of them the checks end", async (t) => {
  const { outage, checks, clock, pass, goAway } = await setup(t);
  await goAway();
  outage.begin();
  const [first, second] = [new AbortController(), new AbortController()];
  const waits = [outage.untilOver(first.signal), outage.untilOver(second.signal)];
  const over = watchWaits(waits);
  await pass(1_000);
  first.abort();
  await waits[0];
  assert.deepEqual(over, [true, false]);
  await pass(1_000);
  assert.equal(checks(), 2);
  second.abort();
  await waits[1];
  assert.equal(clock.waiting, 0);
  await pass(5_000);
  assert.deepEqual([outage.isOn, checks()], [true, 2]);
  await outage.untilOver(second.signal);
});
