import assert from "node:assert/strict";
import { test } from "node:test";

import { sql } from "kysely";

import { onPostgres, openTestDatabase } from "../../test/support/databases.ts";
import { AppError } from "../lib/errors.ts";
import type { Tx } from "./database.ts";
import { isLockTimeout, isSerializationFailure, isUniqueViolation } from "./errors.ts";
import { findSetting, saveSetting } from "./settings.ts";

onPostgres((_name, setup) => {
  async function raise(tx: Tx, setting: string): Promise<void> {
    await sql`update settings set value = (value::int + 1)::text where name = ${setting}`.execute(
      tx,
    );
  }

  async function setupTwo() {
    const { db, target } = await setup();
    await db.transaction(async (tx) => {
      await saveSetting(tx, "a", "0");
      await saveSetting(tx, "b", "0");
    });
    return { db, target };
  }

  test("a transaction that was chosen to end a deadlock runs again", async () => {
    const { db } = await setupTwo();
    let runs = 0;
    const bothHold = Promise.withResolvers<void>();
    const cross = (first: string, second: string) =>
      db.transaction(async (tx) => {
        runs += 1;
        await raise(tx, first);
        if (runs === 2) bothHold.resolve();
        await bothHold.promise;
        await raise(tx, second);
      });
    await Promise.all([cross("a", "b"), cross("b", "a")]);
    assert.equal(runs, 3);
    assert.equal(await findSetting(db.read, "a"), "2");
    assert.equal(await findSetting(db.read, "b"), "2");
  });

  test("a transaction that lost a serialisation race runs again", async () => {
    const { db, target } = await setupTwo();
    const other = await openTestDatabase(target);
    let runs = 0;
    await db.transaction(async (tx) => {
      runs += 1;
      await sql`set transaction isolation level repeatable read`.execute(tx);
      await findSetting(tx, "a");
      if (runs === 1) await other.transaction((winner) => raise(winner, "a"));
      await raise(tx, "a");
    });
    assert.equal(runs, 2);
    assert.equal(await findSetting(db.read, "a"), "2");
    await other.close();
  });

  test("a row that stays locked ends the wait with a lock timeout, which nothing repeats", async () => {
    const { db } = await setupTwo();
    const isLocked = Promise.withResolvers<void>();
    const mayEnd = Promise.withResolvers<void>();
    const holding = db.transaction(async (tx) => {
      await raise(tx, "a");
      isLocked.resolve();
      await mayEnd.promise;
    });
    await isLocked.promise;
    let runs = 0;
    const waiting = db.transaction(async (tx) => {
      runs += 1;
      await sql`set local lock_timeout = 20`.execute(tx);
      await raise(tx, "a");
    });
    await assert.rejects(waiting, (error) => {
      assert.equal(isSerializationFailure(error), false);
      assert.equal(isUniqueViolation(error), false);
      return isLockTimeout(error);
    });
    assert.equal(runs, 1);
    mayEnd.resolve();
    await holding;
  });

  test("sessions have the timeouts of short statements", async () => {
    const { db } = await setup();
    const names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
    const values: unknown[] = [];
    for (const setting of names) {
      const { rows } = await sql<{ value: string }>`
        select current_setting(${setting}) as value`.execute(db.read);
      values.push(rows[0]?.value);
    }
    assert.deepEqual(values, ["5s", "2s", "10s"]);
  });

  test("a server that cannot be reached is unavailable", async () => {
    const gone = openTestDatabase({ kind: "postgres", url: "postgres://nobody@127.0.0.1:1/none" });
    await assert.rejects(
      gone,
      (error) => error instanceof AppError && error.reason === "unavailable",
    );
  });
});
