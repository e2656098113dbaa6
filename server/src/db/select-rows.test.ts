import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { QueueRow } from "./schema.ts";
import { selectRows } from "./select-rows.ts";
import { insertValues } from "./statements.ts";

type Key = [account: string, task: string];

const insertKeys = insertValues(
  "queue",
  ["account_id", "task_id", "tag"],
  ([account, task]: Key) => [account, task, task.length / 2],
  { constants: { lane: "main", state: "ready", run_at: 0, claims: 0 } },
);

const selectQueue = selectRows(
  "queue",
  ["account_id", "task_id"],
  ["account_id", "task_id", "tag", "worker_id"],
);

type Found = Pick<QueueRow, "account_id" | "task_id" | "tag" | "worker_id">;

function makeKeys(count: number, prefix: string): Key[] {
  return Array.from({ length: count }, (_, i) => ["acc_1", `${prefix}_${i}`]);
}

function toFound([account, task]: Key): Found {
  return { account_id: account, task_id: task, tag: task.length / 2, worker_id: null };
}

function inOrder(rows: readonly Found[]): Found[] {
  return rows.toSorted((a, b) =>
    `${a.account_id} ${a.task_id}` < `${b.account_id} ${b.task_id}` ? -1 : 1,
  );
}

onEachDatabase((_name, setup) => {
  for (const count of [1, 63, 64, 65, 128, 150]) {
    test(`${count} keys find their rows, each once, and no other row`, async () => {
      const { db } = await setup();
      const keys = makeKeys(count, "task");
      await db.transaction((tx) => insertKeys(tx, [...keys, ...makeKeys(5, "other")]));
      const found = await selectQueue(db.read, keys.toReversed());
      assert.deepEqual(inOrder(found), inOrder(keys.map(toFound)));
    });
  }

  test("keys that are not there are left out, in a long list and alone", async () => {
    const { db } = await setup();
    const keys = makeKeys(40, "task");
    const missing = makeKeys(40, "missing");
    await db.transaction((tx) => insertKeys(tx, keys));
    const mixed = keys.flatMap((key, i) => [key, missing[i] ?? key]);
    assert.deepEqual(inOrder(await selectQueue(db.read, mixed)), inOrder(keys.map(toFound)));
    assert.deepEqual(await selectQueue(db.read, missing), []);
  });

  test("no keys find nothing", async () => {
    const { db } = await setup();
    await db.transaction((tx) => insertKeys(tx, makeKeys(3, "task")));
    assert.deepEqual(await selectQueue(db.read, []), []);
  });

  test("a key is found by all of its columns together, not by one of them", async () => {
    const { db } = await setup();
    const keys: Key[] = [
      ["acc_1", "one"],
      ["acc_2", "two"],
    ];
    await db.transaction((tx) =>
      insertKeys(tx, [...keys, ["acc_1", "two"], ["acc_2", "one"], ["acc_3", "one"]]),
    );
    assert.deepEqual(inOrder(await selectQueue(db.read, keys)), keys.map(toFound));
  });

  test("a key of any text is found as it was stored", async () => {
    const { db } = await setup();
    const texts = ["", " ", "NULL", `"`, `'`, "a,b", "{a}", "\\", `\\"`, "line\nend", "🖼️ é 図"];
    const keys = texts.map((text): Key => ["acc_1", text]);
    await db.transaction((tx) => insertKeys(tx, keys));
    assert.deepEqual(inOrder(await selectQueue(db.read, keys)), inOrder(keys.map(toFound)));
  });

  test("a transaction finds the rows it has inserted", async () => {
    const { db } = await setup();
    const keys = makeKeys(70, "task");
    const found = await db.transaction(async (tx) => {
      await insertKeys(tx, keys);
      return selectQueue(tx, keys);
    });
    assert.deepEqual(inOrder(found), inOrder(keys.map(toFound)));
  });
});
