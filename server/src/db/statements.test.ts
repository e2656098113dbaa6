import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import { AssertionError } from "../lib/errors.ts";
import { isUniqueViolation } from "./errors.ts";
import type { QueueRow } from "./schema.ts";
import { insertRows, prepare } from "./statements.ts";

const columns = [
  "account_id",
  "task_id",
  "lane",
  "tag",
  "state",
  "run_at",
  "worker_id",
  "claims",
] as const;

function makeRows(count: number): QueueRow[] {
  return Array.from({ length: count }, (_, i) => ({
    account_id: "acc_1",
    task_id: `task_${String(i).padStart(4, "0")}`,
    lane: i % 2 === 0 ? "even" : "odd",
    tag: i + 0.5,
    state: "ready",
    run_at: i,
    worker_id: null,
    claims: 0,
  }));
}

const insertQueue = insertRows("queue", columns);
const insertNewQueue = insertRows("queue", columns, {
  onConflict: "ignore",
  returning: ["task_id"],
});

const selectLane = prepare((db, p: { lane: string; after: number; limit: number }) =>
  db
    .selectFrom("queue")
    .select(["task_id", "tag"])
    .where("lane", "=", p.lane)
    .where("tag", ">", p.after)
    .where("state", "=", "ready")
    .orderBy("tag")
    .limit(p.limit),
);

onEachDatabase((_name, setup) => {
  test("a prepared statement runs with the values of each call", async () => {
    const { db } = await setup();
    await db.transaction((tx) => insertQueue(tx, makeRows(10)));
    const even = await selectLane.all(db.read, { lane: "even", after: 2.5, limit: 2 });
    assert.deepEqual(even, [
      { task_id: "task_0004", tag: 4.5 },
      { task_id: "task_0006", tag: 6.5 },
    ]);
    const odd = await selectLane.first(db.read, { lane: "odd", after: 0, limit: 5 });
    assert.deepEqual(odd, { task_id: "task_0001", tag: 1.5 });
    assert.equal(await selectLane.first(db.read, { lane: "none", after: 0, limit: 5 }), null);
  });

  test("a prepared statement is built once, not at every call", async () => {
    const { db } = await setup();
    let builds = 0;
    const count = prepare((read, p: { lane: string }) => {
      builds += 1;
      return read
        .selectFrom("queue")
        .select((row) => row.fn.countAll<number>().as("count"))
        .where("lane", "=", p.lane);
    });
    await count.all(db.read, { lane: "a" });
    await count.all(db.read, { lane: "b" });
    await db.transaction((tx) => count.all(tx, { lane: "c" }));
    assert.equal(builds, 1);
  });

  test("a value may be used twice, in arithmetic and in what is returned", async () => {
    const { db } = await setup();
    const raise = prepare((tx, p: { id: string; by: number }) =>
      tx
        .updateTable("queue")
        .set((row) => ({ run_at: row("run_at", "+", p.by), claims: p.by }))
        .where("task_id", "=", p.id)
        .returning(["run_at", "claims"]),
    );
    const rows = await db.transaction(async (tx) => {
      await insertQueue(tx, makeRows(8));
      return raise.all(tx, { id: "task_0007", by: 5 });
    });
    assert.deepEqual(rows, [{ run_at: 12, claims: 5 }]);
  });

  test("a statement without rows says how many it changed", async () => {
    const { db } = await setup();
    const remove = prepare((tx, p: { lane: string }) =>
      tx.deleteFrom("queue").where("lane", "=", p.lane),
    );
    await db.transaction(async (tx) => {
      await insertQueue(tx, makeRows(9));
      assert.equal(await remove.run(tx, { lane: "even" }), 5);
      assert.equal(await remove.run(tx, { lane: "even" }), 0);
    });
  });

  test("a value that is not given is refused instead of stored as nothing", async () => {
    const { db } = await setup();
    const values = { lane: "even" } as { lane: string; after: number; limit: number };
    await assert.rejects(selectLane.all(db.read, values), AssertionError);
  });

  for (const count of [0, 1, 2, 63, 64, 65, 200]) {
    test(`${count} rows are inserted, each as it was given`, async () => {
      const { db } = await setup();
      const rows = makeRows(count);
      await db.transaction((tx) => insertQueue(tx, rows));
      const stored = await db.read.selectFrom("queue").selectAll().orderBy("task_id").execute();
      assert.deepEqual(stored, rows);
    });
  }

  test("rows that exist already are left out and as they were, and the new ones are named", async () => {
    const { db } = await setup();
    const rows = makeRows(70);
    await db.transaction((tx) => insertQueue(tx, rows.slice(10, 20)));
    const inserted = await db.transaction((tx) =>
      insertNewQueue(
        tx,
        rows.map((row) => ({ ...row, lane: "new" })),
      ),
    );
    assert.deepEqual(
      inserted.map((row) => row.task_id).toSorted(),
      rows.filter((_, i) => i < 10 || i >= 20).map((row) => row.task_id),
    );
    const kept = await db.read
      .selectFrom("queue")
      .select("task_id")
      .where("lane", "!=", "new")
      .execute();
    assert.equal(kept.length, 10);
  });

  test("a row that exists already fails the insertion when nothing else was asked for", async () => {
    const { db } = await setup();
    const rows = makeRows(3);
    await db.transaction((tx) => insertQueue(tx, rows.slice(2)));
    await assert.rejects(
      db.transaction((tx) => insertQueue(tx, rows)),
      isUniqueViolation,
    );
  });
});
