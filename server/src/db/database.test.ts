import assert from "node:assert/strict";
import { test } from "node:test";

import { sql } from "kysely";

import { onEachDatabase, openTestDatabase } from "../../test/support/databases.ts";
import { AssertionError } from "../lib/errors.ts";
import type { Database, Handle } from "./database.ts";
import { isCheckViolation, isUniqueViolation } from "./errors.ts";
import { findSetting, saveSetting } from "./settings.ts";

async function saveCounter(db: Database, value: number): Promise<void> {
  await db.transaction((tx) => saveSetting(tx, "counter", String(value)));
}

async function readCounter(handle: Handle): Promise<number> {
  return Number(await findSetting(handle, "counter"));
}

onEachDatabase((name, setup) => {
  test("a setting is null until it is saved, and saving it again replaces it", async () => {
    const { db } = await setup();
    assert.equal(await findSetting(db.read, "counter"), null);
    await saveCounter(db, 1);
    await saveCounter(db, 2);
    assert.equal(await findSetting(db.read, "counter"), "2");
  });

  test("a transaction whose work throws leaves nothing behind and passes the error on", async () => {
    const { db } = await setup();
    const failure = new Error("changed my mind");
    const failed = db.transaction(async (tx) => {
      await saveSetting(tx, "counter", "1");
      throw failure;
    });
    await assert.rejects(failed, failure);
    assert.equal(await findSetting(db.read, "counter"), null);
    await saveCounter(db, 2);
    assert.equal(await readCounter(db.read), 2);
  });

  test("a transaction whose statement fails leaves nothing behind", async () => {
    const { db } = await setup();
    const failed = db.transaction(async (tx) => {
      await saveSetting(tx, "counter", "1");
      await tx.insertInto("settings").values({ name: "counter", value: "2" }).execute();
    });
    await assert.rejects(failed, isUniqueViolation);
    assert.equal(await findSetting(db.read, "counter"), null);
  });

  test("a read sees what is committed and nothing of a transaction under way", async () => {
    const { db, target } = await setup();
    const other = await openTestDatabase(target);
    const inside = Promise.withResolvers<void>();
    const mayEnd = Promise.withResolvers<void>();
    const writing = db.transaction(async (tx) => {
      await saveSetting(tx, "counter", "1");
      inside.resolve();
      await mayEnd.promise;
    });
    await inside.promise;
    assert.equal(await findSetting(db.read, "counter"), null);
    assert.equal(await findSetting(other.read, "counter"), null);
    mayEnd.resolve();
    await writing;
    await db.durable();
    assert.equal(await readCounter(db.read), 1);
    assert.equal(await readCounter(other.read), 1);
    await other.close();
  });

  test("the reading handle refuses to write", async () => {
    const { db } = await setup();
    const write = db.read.insertInto("settings").values({ name: "a", value: "b" }).execute();
    await assert.rejects(write, /read.?only/);
    assert.equal(await findSetting(db.read, "a"), null);
  });

  test("the database is not used from inside a transaction but by the transaction's handle", async () => {
    const { db } = await setup();
    const misuses: Record<string, () => Promise<unknown>> = {
      read: () => findSetting(db.read, "counter"),
      transaction: () => saveCounter(db, 1),
    };
    for (const [what, misuse] of Object.entries(misuses)) {
      const nested = db.transaction(async () => {
        await new Promise(setImmediate);
        await misuse();
      });
      await assert.rejects(
        nested,
        (error) => error instanceof AssertionError && error.message.startsWith(what),
      );
    }
    await saveCounter(db, 3);
    assert.equal(await readCounter(db.read), 3);
  });

  test("work that a transaction started may use the database once the transaction is over", async () => {
    const { db } = await setup();
    const mayRead = Promise.withResolvers<void>();
    let later: Promise<number> = Promise.resolve(0);
    await db.transaction(async (tx) => {
      await saveSetting(tx, "counter", "7");
      later = mayRead.promise.then(() => readCounter(db.read));
    });
    mayRead.resolve();
    assert.equal(await later, 7);
  });

  test("a handle that outlives its transaction is dead", async () => {
    const { db } = await setup();
    let kept: Handle | null = null;
    await db.transaction(async (tx) => {
      kept = tx;
      await saveSetting(tx, "counter", "1");
    });
    await assert.rejects(findSetting(kept!, "counter"), /already committed/);
  });

  test("parameters that the databases store differently are refused", async () => {
    const { db } = await setup();
    for (const value of [true, undefined, new Date(0), Number.NaN, 2 ** 60]) {
      await assert.rejects(sql`select ${value} as value`.execute(db.read), AssertionError);
    }
  });

  test("counts and sums are exact numbers, and too large ones are errors", async () => {
    const { db } = await setup();
    await db.transaction(async (tx) => {
      for (let i = 0; i < 3; i++) {
        await tx
          .insertInto("prices")
          .values({
            model: `m${i}`,
            price_row: "*",
            price: Number.MAX_SAFE_INTEGER - i,
            updated_at: 1,
          })
          .execute();
      }
    });
    const small = await db.read
      .selectFrom("prices")
      .select((row) => [row.fn.countAll().as("rows"), row.fn.sum("updated_at").as("sum")])
      .executeTakeFirstOrThrow();
    assert.deepEqual(small, { rows: 3, sum: 3 });
    const large = db.read
      .selectFrom("prices")
      .select((row) => row.fn.sum("price").as("sum"))
      .execute();
    await assert.rejects(large, /number/);
  });

  test("a broken invariant is told from a duplicate", async () => {
    const { db } = await setup();
    const balance = { account_id: "acc_1", mode: "test", available: 5, held: 0 } as const;
    const write = (values: typeof balance | { available: -1 }) =>
      db.transaction((tx) =>
        tx
          .insertInto("balances")
          .values({ ...balance, ...values })
          .execute(),
      );
    await assert.rejects(write({ available: -1 }), isCheckViolation);
    await write(balance);
    await assert.rejects(write(balance), (error) => {
      assert.equal(isCheckViolation(error), false);
      return isUniqueViolation(error);
    });
  });

  test("of many transactions that raise one number, none is lost", async () => {
    const { db, target } = await setup();
    const other = await openTestDatabase(target);
    await saveCounter(db, 0);
    const raise = (on: Database) =>
      on.transaction(async (tx) => {
        // Locks the row first, as every verb does before it reads what it will write.
        await sql`update settings set value = value where name = 'counter'`.execute(tx);
        await saveSetting(tx, "counter", String((await readCounter(tx)) + 1));
      });
    await Promise.all(Array.from({ length: 20 }, (_, i) => raise(i % 2 === 0 ? db : other)));
    assert.equal(await readCounter(db.read), 20);
    await other.close();
  });

  test("text sorts by its bytes", async () => {
    const { db } = await setup();
    const names = ["b", "B", "a", "A", "_", "ä", "z"];
    await db.transaction(async (tx) => {
      for (const setting of names) await saveSetting(tx, setting, "");
    });
    const rows = await db.read.selectFrom("settings").select("name").orderBy("name").execute();
    assert.deepEqual(
      rows.map((row) => row.name),
      ["A", "B", "_", "a", "b", "z", "ä"],
    );
  });

  test("closing waits for the transaction under way", async () => {
    const { target } = await setup();
    const db = await openTestDatabase(target);
    const inside = Promise.withResolvers<void>();
    const writing = db.transaction(async (tx) => {
      inside.resolve();
      await new Promise(setImmediate);
      await saveSetting(tx, "counter", "1");
    });
    await inside.promise;
    await Promise.all([db.close(), writing]);
    const again = await openTestDatabase(target);
    assert.equal(await readCounter(again.read), 1);
    await again.close();
  });

  test(`the handle says that it is ${name}`, async () => {
    const { db } = await setup();
    assert.equal(db.dialect, name);
  });
});
