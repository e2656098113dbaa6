import assert from "node:assert/strict";
import { test } from "node:test";

import { sql } from "kysely";

import { onPostgres, openTestDatabase } from "../../test/support/databases.ts";
import { until } from "../../test/support/client.ts";
import { startFaultProxy } from "../../test/support/fault-proxy.ts";
import { AppError } from "../lib/errors.ts";
import type { Tx } from "./database.ts";
import { isLockTimeout, isSerializationFailure, isUniqueViolation } from "./errors.ts";
import { findSetting, saveSetting } from "./settings.ts";

onPostgres((_name, setup) => {
  async function setupTarget() {
    const { target } = await setup();
    return target.kind === "postgres" ? target : assert.fail("not on PostgreSQL");
  }

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
    let holding = 0;
    const bothHold = Promise.withResolvers<void>();
    const cross = (first: string, second: string) =>
      db.transaction(async (tx) => {
        runs += 1;
        await raise(tx, first);
        holding += 1;
        if (holding === 2) bothHold.resolve();
        await bothHold.promise;
        await raise(tx, second);
      });
    await Promise.all([cross("a", "b"), cross("b", "a")]);
    // Under load the second run may meet the first one's winner in another deadlock.
    assert.ok(runs >= 3);
    assert.equal(await findSetting(db.read, "a"), "2");
    assert.equal(await findSetting(db.read, "b"), "2");
  });

  test("a transaction that lost a serialisation race runs again", async () => {
    const { db, target } = await setupTwo();
    const other = await openTestDatabase(target);
    let runs = 0;
    await db.transaction(async (tx) => {
      runs += 1;
      await sql`savepoint before_race`.execute(tx);
      await raise(tx, "a");
      if (runs > 1) return;
      await sql`rollback to savepoint before_race`.execute(tx);
      await other.transaction((winner) => raise(winner, "a"));
      // What a session says that sees the world as it was before the winner.
      await sql`do $$ begin raise exception 'lost' using errcode = '40001'; end $$`.execute(tx);
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

  test("a commit whose reply is lost is found committed, and its result returned", async () => {
    const target = await setupTarget();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url });
    const cut = proxy.cutAt("commit\0", "after");
    const result = await db.transaction(async (tx) => {
      await saveSetting(tx, "kept", "yes");
      return "done";
    });
    await cut;
    assert.equal(result, "done");
    assert.equal(await findSetting(db.read, "kept"), "yes");
    await db.close();
  });

  test("a commit that never arrived is reported as not done, and is not", async () => {
    const target = await setupTarget();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url });
    const cut = proxy.cutAt("commit\0", "before");
    const lost = db.transaction((tx) => saveSetting(tx, "lost", "yes"));
    await assert.rejects(lost, isUnavailable);
    await cut;
    assert.equal(await findSetting(db.read, "lost"), null);
    await db.close();
  });

  test("a commit is asked for until the database is back", async () => {
    const target = await setupTarget();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url });
    const cut = proxy.cutAt("commit\0", "after", () => {
      proxy.refuse(true);
      proxy.cut();
    });
    const committed = db.transaction((tx) => saveSetting(tx, "kept", "yes"));
    await cut;
    await assert.rejects(findSetting(db.read, "kept"), isUnavailable);
    proxy.refuse(false);
    await committed;
    assert.equal(await findSetting(db.read, "kept"), "yes");
    await db.close();
  });

  test("a connection that is cut fails what is under way as unavailable, and the next one works", async () => {
    const target = await setupTarget();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url });
    const isUnderWay = Promise.withResolvers<void>();
    const writing = db.transaction(async (tx) => {
      await saveSetting(tx, "half", "yes");
      isUnderWay.resolve();
      await sql`select pg_sleep(30)`.execute(tx);
    });
    const failed = assert.rejects(writing, isUnavailable);
    await isUnderWay.promise;
    proxy.cut();
    await failed;
    // A read may still be given a connection of before, and is then refused.
    const half = await until(
      () => findSetting(db.read, "half").catch(() => "away"),
      (found) => found !== "away",
    );
    assert.equal(half, null);
    await db.transaction((tx) => saveSetting(tx, "half", "no"));
    await db.close();
  });

  test("a server that stops answering is given up, and the session is not used again", async () => {
    const target = await setupTarget();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url, statementTimeoutMs: 100 });
    await findSetting(db.read, "a");
    proxy.stall(true);
    await assert.rejects(findSetting(db.read, "a"), isUnavailable);
    proxy.stall(false);
    assert.equal(await findSetting(db.read, "a"), null);
    await db.close();
  });

  test("tables whose rows change often are cleaned by count, and leave room on their pages", async () => {
    const { db } = await setup();
    const { rows } = await sql<{ name: string; options: string }>`
      select relname as name, array_to_string(reloptions, ' ') as options from pg_class
      where relkind = 'r' and reloptions is not null`.execute(db.read);
    const options = new Map(rows.map((row) => [row.name, row.options]));
    for (const table of ["queue", "workers", "balances", "key_usage", "channel_load"]) {
      assert.match(options.get(table) ?? "", /autovacuum_vacuum_scale_factor=0( |$)/, table);
    }
    for (const table of ["tasks", "attempts"]) assert.match(options.get(table) ?? "", /fillfactor/);
    for (const table of ["idempotency", "references", "outputs", "events", "delivery_tries"]) {
      assert.match(options.get(table) ?? "", /autovacuum_vacuum_scale_factor=0\.01( |$)/, table);
    }
    const queue = options.get("queue") ?? "";
    assert.match(queue, /autovacuum_vacuum_threshold=500( |$)/);
    assert.match(queue, /fillfactor=70( |$)/);
  });
});

function isUnavailable(error: unknown): boolean {
  return error instanceof AppError && error.reason === "unavailable";
}
