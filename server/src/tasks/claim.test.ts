import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine, testModel } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { claimTasks } from "./claim.ts";
import {
  deleteWorker,
  fence,
  freeTasks,
  insertWorker,
  loadWorkers,
  lockQueueRow,
  parkClaim,
  promoteParked,
  releaseClaims,
} from "./queue-store.ts";
import { deadAfterMs } from "./lease.ts";
import { rescueDead } from "./rescue.ts";
import { laneOf } from "./task.ts";

const lane = laneOf(testModel, "live");

async function enlist(engine: TestEngine, ...ids: string[]): Promise<void> {
  await engine.db.transaction(async (tx) => {
    for (const id of ids) await insertWorker(tx, { id, beats: 0, started_at: 0 });
  });
}

async function claim(engine: TestEngine, workerId: string, limit = 1): Promise<string[]> {
  const claimed = await claimTasks(engine.db, { lane, workerId, limit });
  return claimed.map(({ task }) => task.id);
}

async function readRow(engine: TestEngine, taskId: string) {
  return engine.db.read
    .selectFrom("queue")
    .select(["state", "worker_id", "claims", "run_at"])
    .where("task_id", "=", taskId)
    .executeTakeFirst();
}

onEachEngine((_name, open) => {
  test("tasks are claimed in fair order, with all that the engine needs of them", async () => {
    await using engine = await open();
    await enlist(engine, "wrk_1");
    const ids = [];
    for (let i = 0; i < 3; i += 1) ids.push(await engine.submit());
    const claimed = await claimTasks(engine.db, { lane, workerId: "wrk_1", limit: 2 });
    assert.deepEqual(
      claimed.map(({ task, claims }) => [task.id, claims]),
      [
        [ids[0], 1],
        [ids[1], 1],
      ],
    );
    assert.deepEqual(claimed[0]?.task, await engine.find(ids[0]!));
    assert.deepEqual(await claim(engine, "wrk_1"), [ids[2]]);
    assert.deepEqual(await claim(engine, "wrk_1"), []);
  });

  test("workers that race claim every task once", async () => {
    await using engine = await open();
    const workers = ["wrk_1", "wrk_2", "wrk_3"];
    await enlist(engine, ...workers);
    const ids = await Promise.all(Array.from({ length: 30 }, () => engine.submit()));
    const claimed: string[] = [];
    while (claimed.length < ids.length) {
      const lists = await Promise.all(workers.map((worker) => claim(engine, worker, 7)));
      claimed.push(...lists.flat());
    }
    assert.deepEqual(claimed.toSorted(), ids.toSorted());
  });

  test("a worker that an observer has removed claims nothing", async () => {
    await using engine = await open();
    await enlist(engine, "wrk_1");
    const id = await engine.submit();
    await engine.db.transaction((tx) => deleteWorker(tx, "wrk_1"));
    assert.deepEqual(await claim(engine, "wrk_1"), []);
    assert.equal((await readRow(engine, id))?.state, "ready");
  });

  test("whoever claims while an observer takes over from it leaves no task in dead hands", async () => {
    await using engine = await open();
    const { db, clock, deps } = engine;
    for (let round = 0; round < 30; round += 1) {
      const worker = `wrk_${round}`;
      await enlist(engine, worker);
      await engine.submit();
      // Has stood still for long; it is the claim that shows whether it is dead.
      const sighting = { beats: 0, since: clock.monotonic() - deadAfterMs };
      const observer = { sightings: new Map([[worker, sighting]]), lookedAt: clock.monotonic() };
      await Promise.all([rescueDead(deps, observer), claim(engine, worker, 5)]);
      const rows = await db.read.selectFrom("queue").select("worker_id").execute();
      const alive = (await loadWorkers(db.read)).map(({ id }) => id);
      for (const { worker_id } of rows) {
        assert.ok(worker_id === null || alive.includes(worker_id), `${worker_id} is dead`);
      }
    }
  });

  test("a fence lets only the holder pass, and a step forgets the claims before it", async () => {
    await using engine = await open();
    await enlist(engine, "wrk_1");
    const id = await engine.submit();
    const { accountId } = engine.caller;
    const pass = (worker: string) =>
      engine.db.transaction((tx) => fence(tx, accountId, id, worker));
    assert.equal(await pass("wrk_1"), false);
    await claim(engine, "wrk_1");
    assert.equal(await pass("wrk_2"), false);
    assert.equal((await readRow(engine, id))?.claims, 1);
    assert.equal(await pass("wrk_1"), true);
    assert.equal((await readRow(engine, id))?.claims, 0);
    await engine.cancel(id);
    assert.equal(await pass("wrk_1"), false);
  });

  test("claims without a step are counted through crashes and failed runs, not through an orderly stop", async () => {
    await using engine = await open();
    const id = await engine.submit();
    const claimsAfter = async (worker: string): Promise<number | undefined> => {
      await enlist(engine, worker);
      await claim(engine, worker);
      return (await readRow(engine, id))?.claims;
    };
    assert.equal(await claimsAfter("wrk_1"), 1);
    await engine.db.transaction((tx) => freeTasks(tx, "wrk_1"));
    assert.equal(await claimsAfter("wrk_2"), 2);
    const ref = { accountId: engine.caller.accountId, id };
    await engine.db.transaction((tx) => parkClaim(tx, ref, "wrk_2", 5_000));
    assert.deepEqual(await readRow(engine, id), {
      state: "parked",
      worker_id: null,
      claims: 2,
      run_at: 5_000,
    });
    assert.deepEqual(await engine.db.transaction((tx) => promoteParked(tx, 4_999, 10)), []);
    assert.deepEqual(await engine.db.transaction((tx) => promoteParked(tx, 5_000, 10)), [lane]);
    assert.equal(await claimsAfter("wrk_3"), 3);
    await engine.db.transaction((tx) => releaseClaims(tx, "wrk_3"));
    assert.deepEqual((await readRow(engine, id))?.claims, 0);
  });

  test("a failed run gives back only what is still its own", async () => {
    await using engine = await open();
    await enlist(engine, "wrk_1");
    const id = await engine.submit();
    await claim(engine, "wrk_1");
    const ref = { accountId: engine.caller.accountId, id };
    await engine.db.transaction((tx) => parkClaim(tx, ref, "wrk_2", 5_000));
    assert.equal((await readRow(engine, id))?.state, "claimed");
  });

  test("locking a task's queue row says whether the task is still open", async () => {
    await using engine = await open();
    const id = await engine.submit();
    const { accountId } = engine.caller;
    const lock = () => engine.db.transaction((tx) => lockQueueRow(tx, accountId, id));
    assert.equal(await lock(), true);
    await engine.cancel(id);
    assert.equal(await lock(), false);
  });
});
