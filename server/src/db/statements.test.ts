import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { onEachDatabase } from "../../test/support/databases.ts";
import { AssertionError } from "../lib/errors.ts";
import { isUniqueViolation } from "./errors.ts";
import type { QueueRow } from "./schema.ts";
import { insertRows, insertValues, prepare } from "./statements.ts";

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

/** Only a row that is claimed has a worker. */
function claimedBy(worker: string | null): Partial<QueueRow> {
  return { state: worker === null ? "ready" : "claimed", worker_id: worker };
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

const updateLane = prepare((tx, p: { id: string; lane: string }) =>
  tx
    .updateTable("queue")
    .set((row) => ({ lane: p.lane, claims: row("claims", "+", 1) }))
    .where("task_id", "=", p.id),
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

  const texts = [
    "",
    " ",
    "null",
    "NULL",
    `"quoted"`,
    `it's`,
    "a,b;c",
    "{a,b}",
    "\\",
    `\\"`,
    "\\n",
    "two\nlines\t",
    "🖼️👩‍👩‍👧",
    "é図",
  ];
  const integers = [
    0,
    1,
    -1,
    2 ** 31,
    -(2 ** 31),
    2 ** 32 - 1,
    2 ** 32,
    -(2 ** 32),
    -(2 ** 32) - 1,
  ];
  const extremes = [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER];
  const fractions = [0.1, -2.5, 0, 1 / 3, 5e-324, -1e-300, 2 ** 52 - 0.5, ...extremes];
  const values: Record<string, Partial<QueueRow>[]> = {
    texts: texts.map((text) => ({ lane: text, ...claimedBy(text) })),
    "whole numbers": [...integers, ...extremes].map((number) => ({ run_at: number })),
    fractions: fractions.map((number) => ({ tag: number })),
    "nulls between texts": [null, "w", null, "", "null"].map(claimedBy),
    nulls: [null, null].map(claimedBy),
  };
  for (const [kind, changes] of Object.entries(values)) {
    test(`${kind} are stored as they are given`, async () => {
      const { db } = await setup();
      const insert = insertValues("queue", columns, (row: QueueRow) => [
        row.account_id,
        row.task_id,
        row.lane,
        row.tag,
        row.state,
        row.run_at,
        row.worker_id,
        row.claims,
      ]);
      const rows = makeRows(changes.length).map((row, i) => ({ ...row, ...changes[i] }));
      await db.transaction((tx) => insert(tx, rows));
      const stored = await db.read.selectFrom("queue").selectAll().orderBy("task_id").execute();
      assert.deepEqual(stored, rows);
    });
  }

  test("lists of any length are stored as they are given, whatever their rows have in common", async () => {
    const { db } = await setup();
    const row = fc.record({
      lane: fc.constantFrom("a", "b"),
      tag: fc.constantFrom(1, 1.5),
      run_at: fc.constantFrom(0, 7),
      claims: fc.nat(1),
    });
    const property = fc.asyncProperty(
      fc.array(row, { minLength: 1, maxLength: 70 }),
      fc.subarray(["lane", "tag", "run_at", "claims"] as const),
      async (list, common) => {
        const shared = Object.fromEntries(common.map((column) => [column, list[0]![column]]));
        const rows = makeRows(list.length).map((base, i) => ({ ...base, ...list[i], ...shared }));
        await db.transaction(async (tx) => {
          await tx.deleteFrom("queue").execute();
          await insertQueue(tx, rows);
        });
        const stored = await db.read.selectFrom("queue").selectAll().orderBy("task_id").execute();
        assert.deepEqual(stored, rows);
      },
    );
    await fc.assert(property, { numRuns: 150 });
  });

  test("a change that was made is told, and made once", async () => {
    const { db } = await setup();
    const changed = await db.transaction(async (tx) => {
      await insertQueue(tx, makeRows(2));
      return updateLane.changes(tx, { id: "task_0001", lane: "new" });
    });
    assert.equal(changed, true);
    const rows = await db.read.selectFrom("queue").select(["task_id", "lane", "claims"]).execute();
    assert.deepEqual(
      rows.toSorted((a, b) => a.task_id.localeCompare(b.task_id)),
      [
        { task_id: "task_0000", lane: "even", claims: 0 },
        { task_id: "task_0001", lane: "new", claims: 1 },
      ],
    );
  });

  test("a change that was not made is told, and what came before and after it is written once", async () => {
    const { db } = await setup();
    await db.transaction((tx) => insertQueue(tx, makeRows(2)));
    const answers = await db.transaction(async (tx) => {
      const before = await updateLane.run(tx, { id: "task_0000", lane: "before" });
      const missing = await updateLane.changes(tx, { id: "missing", lane: "new" });
      const after = await updateLane.changes(tx, { id: "task_0001", lane: "after" });
      return { before, missing, after };
    });
    assert.deepEqual(answers, { before: 1, missing: false, after: true });
    const rows = await db.read.selectFrom("queue").select(["lane", "claims"]).execute();
    assert.deepEqual(
      rows.toSorted((a, b) => a.lane.localeCompare(b.lane)),
      [
        { lane: "after", claims: 1 },
        { lane: "before", claims: 1 },
      ],
    );
  });
});
