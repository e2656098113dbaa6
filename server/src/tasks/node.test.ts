import assert from "node:assert/strict";
import { test } from "node:test";

import { createTestClock } from "../../test/support/clock.ts";
import { onEachDatabase, onPostgres } from "../../test/support/databases.ts";
import type { TestDatabase } from "../../test/support/databases.ts";
import { createIds } from "../lib/ids.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { createAdjustableClock, minuteMs, systemClock } from "../lib/time.ts";
import { loadNodes } from "./node-store.ts";
import { createNode, setClock } from "./node.ts";

const log = createLog("silent");

/** A machine whose clock is right at its start, and whose time moves by hand. */
function createMachine({ db }: TestDatabase, role: { isApi: boolean }) {
  const time = createTestClock();
  const clock = createAdjustableClock(time);
  clock.adjustBy(systemClock.now() - clock.now());
  const ids = createIds(clock, systemRandom);
  return { time, clock, node: createNode({ db, clock, ids, log }, role) };
}

onEachDatabase((_name, setup) => {
  test("a node that is alone counts itself, whatever its role", async () => {
    const opened = await setup();
    for (const isApi of [true, false]) {
      const { node } = createMachine(opened, { isApi });
      await node.start();
      assert.equal(node.liveApiNodes(), 1);
      await node.stop();
    }
    assert.deepEqual(await loadNodes(opened.db.read), []);
  });
});

onPostgres((_name, setup) => {
  test("nodes that serve the API count each other, and not the workers", async () => {
    const opened = await setup();
    const first = createMachine(opened, { isApi: true });
    await first.node.start();
    const second = createMachine(opened, { isApi: true });
    await second.node.start();
    const worker = createMachine(opened, { isApi: false });
    await worker.node.start();
    assert.equal(second.node.liveApiNodes(), 2);
    assert.equal(worker.node.liveApiNodes(), 2);
    await second.node.stop();
    const third = createMachine(opened, { isApi: true });
    await third.node.start();
    assert.equal(third.node.liveApiNodes(), 2);
    for (const { node } of [first, third, worker]) await node.stop();
  });

  test("a node that does not beat any more is not counted after eighteen seconds", async () => {
    const opened = await setup();
    const killed = createMachine(opened, { isApi: true });
    await killed.node.start();
    const { node, time } = createMachine(opened, { isApi: true });
    await node.start();
    assert.equal(node.liveApiNodes(), 2);
    await time.advance(17_000);
    await time.advance(4_000);
    assert.equal(node.liveApiNodes(), 1);
    await node.stop();
    await killed.node.stop();
  });

  test("a clock that is minutes off goes by the database's", async () => {
    const { db } = await setup();
    for (const skewMs of [-7 * minuteMs, 11 * minuteMs]) {
      const clock = createAdjustableClock(systemClock);
      clock.adjustBy(skewMs);
      await setClock({ db, clock, log });
      // Database and test share the machine's clock.
      assert.ok(Math.abs(clock.now() - systemClock.now()) < 2_000);
    }
  });
});
