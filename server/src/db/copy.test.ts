import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { onPostgres, openTestDatabase } from "../../test/support/databases.ts";
import { copyTable, emptyTables, findDifference, isUnused, loadDataVersion } from "./copy.ts";
import type { Database } from "./database.ts";

onPostgres((_name, setup) => {
  test("a table of many pages arrives whole, and a row that differs is found", async (t) => {
    const { db: source } = await openSource(t);
    const { db: target } = await setup();
    await addPrices(source, 1_203);
    assert.equal(await isUnused(target.read), true);
    assert.equal(await copyTable(source.read, target, "prices"), 1_203);
    assert.equal(await isUnused(target.read), false);
    assert.equal(await findDifference(source.read, target.read, "prices"), null);

    await target.transaction((tx) =>
      tx.updateTable("prices").set({ price: 1 }).where("price_row", "=", "row 777").execute(),
    );
    const changed = await findDifference(source.read, target.read, "prices");
    assert.match(
      changed ?? "",
      /^prices: the row model\/row 777 is missing in the copy, or differs/,
    );
  });

  test("a row that only one side has is found", async (t) => {
    const { db: source } = await openSource(t);
    const { db: target } = await setup();
    await addPrices(source, 3);
    assert.match(
      (await findDifference(source.read, target.read, "prices")) ?? "",
      /row 0 is missing/,
    );
    await copyTable(source.read, target, "prices");
    await source.transaction((tx) =>
      tx.deleteFrom("prices").where("price_row", "=", "row 2").execute(),
    );
    const extra = await findDifference(source.read, target.read, "prices");
    assert.equal(extra, "prices: the copy has a row model/row 2 that the original has not");
  });

  test("emptying removes what may never be deleted otherwise, and protects it again", async () => {
    const { db } = await setup();
    const add = (): Promise<unknown> =>
      db.transaction((tx) =>
        tx
          .insertInto("costs")
          .values({
            account_id: "a",
            attempt_id: "b",
            task_id: "c",
            channel: "d",
            upstream_model: "e",
            amount: 1,
            fate: "wasted",
            created_at: 1,
          })
          .execute(),
      );
    await add();
    await db.transaction(emptyTables);
    assert.equal(await isUnused(db.read), true);
    await add();
    await assert.rejects(
      db.transaction((tx) => tx.deleteFrom("costs").execute()),
      /append-only/,
    );
  });
});

test("a commit of another process is seen, one of our own is not", async (t) => {
  const { db, path } = await openSource(t);
  const before = await db.transaction(loadDataVersion);
  await addPrices(db, 1);
  assert.equal(await db.transaction(loadDataVersion), before);
  const other = await openTestDatabase({ kind: "sqlite", path });
  await addPrices(other, 2, "other");
  await other.close();
  assert.notEqual(await db.transaction(loadDataVersion), before);
});

async function openSource(t: TestContext): Promise<{ db: Database; path: string }> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-copy-"));
  const path = join(folder, "source.db");
  const db = await openTestDatabase({ kind: "sqlite", path });
  t.after(async () => {
    await db.close();
    await rm(folder, { recursive: true, force: true });
  });
  return { db, path };
}

async function addPrices(db: Database, count: number, model = "model"): Promise<void> {
  await db.transaction(async (tx) => {
    for (let row = 0; row < count; row += 1) {
      const price = { model, price_row: `row ${row}`, price: row + 10, updated_at: 1 };
      await tx.insertInto("prices").values(price).execute();
    }
  });
}
