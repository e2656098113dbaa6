import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { createMortalDatabase } from "../../test/support/mortal.ts";
import type { Tx } from "../db/database.ts";
import { createIds } from "../lib/ids.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { beatEveryMs, createLease } from "./lease.ts";
import { deleteWorker, loadWorkers } from "./queue-store.ts";

async function setupLease(setup: Setup) {
  const { db: whole, clock } = await setup();
  const life = { isDead: false, isCutOff: false };
  const db = createMortalDatabase(whole, life);
  const ids = createIds(clock, systemRandom);
  const lost: string[] = [];
  const lease = createLease(
    { db, clock, ids, log: createLog("silent") },
    { onLost: () => lost.push(lease.workerId()) },
  );
  const read = () => loadWorkers(whole.read);
  /** Moves time by the next beats; each sets its pause when it is over. */
  async function beats(count: number): Promise<void> {
    for (let i = 0; i < count; i += 1) {
      await clock.untilWaiting(1);
      await clock.advance(beatEveryMs);
    }
    await clock.untilWaiting(1);
  }
  return { db: whole, clock, life, lease, lost, read, beats };
}

onEachDatabase((_name, setup) => {
  test("a worker is listed from its start to its stop, and raises its counter every three seconds", async () => {
    const { lease, read, beats } = await setupLease(setup);
    assert.deepEqual(await read(), []);
    await lease.start();
    await beats(0);
    const [first] = await read();
    assert.equal(first?.id, lease.workerId());
    await beats(4);
    const [later] = await read();
    assert.equal(later?.beats, first.beats + 4);
    await lease.stop();
    assert.deepEqual(await read(), []);
  });

  test("a worker sends only while its last beat is younger than twelve seconds", async () => {
    const { clock, life, lease, beats } = await setupLease(setup);
    await lease.start();
    await beats(1);
    const id = lease.workerId();
    life.isCutOff = true;
    await beats(3);
    await clock.advance(beatEveryMs - 1);
    assert.equal(lease.isTrusted(id), true);
    await clock.advance(1);
    assert.equal(lease.isTrusted(id), false);
    life.isCutOff = false;
    await beats(1);
    assert.equal(lease.isTrusted(id), true);
    assert.equal(lease.workerId(), id);
    await lease.stop();
  });

  test("a beat is as old as its beginning, not as its reply", async () => {
    const { db, clock } = await setup();
    const replies: (() => void)[] = [];
    let isSlow = false;
    const slow = {
      ...db,
      transaction: async <T>(work: (tx: Tx) => Promise<T>): Promise<T> => {
        const result = await db.transaction(work);
        if (isSlow) await new Promise<void>((reply) => replies.push(reply));
        return result;
      },
    };
    const ids = createIds(clock, systemRandom);
    const log = createLog("silent");
    const lease = createLease({ db: slow, clock, ids, log }, { onLost: () => undefined });
    await lease.start();
    await clock.untilWaiting(1);
    isSlow = true;
    await clock.advance(beatEveryMs);
    while (replies.length === 0) await nextTurn();
    isSlow = false;
    await clock.advance(11_999);
    assert.equal(lease.isTrusted(lease.workerId()), false);
    replies[0]?.();
    await clock.untilWaiting(1);
    assert.equal(lease.isTrusted(lease.workerId()), true);
    await clock.advance(1);
    assert.equal(lease.isTrusted(lease.workerId()), false);
    await lease.stop();
  });

  test("a worker that was removed starts again as a new one, and the old one is trusted no more", async () => {
    const { db, lease, lost, read, beats } = await setupLease(setup);
    await lease.start();
    await beats(1);
    const old = lease.workerId();
    await db.transaction((tx) => deleteWorker(tx, old));
    await beats(1);
    const fresh = lease.workerId();
    assert.notEqual(fresh, old);
    assert.deepEqual(lost, [fresh]);
    assert.deepEqual(
      (await read()).map(({ id }) => id),
      [fresh],
    );
    assert.deepEqual([lease.isTrusted(old), lease.isTrusted(fresh)], [false, true]);
    await lease.stop();
    assert.deepEqual(await read(), []);
  });
});
