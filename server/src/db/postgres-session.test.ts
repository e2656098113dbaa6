import assert from "node:assert/strict";
import { test } from "node:test";

import { AbortedTransactionError, CompiledQuery, sql } from "kysely";

import { onPostgres, openTestDatabase } from "../../test/support/databases.ts";
import { startFaultProxy } from "../../test/support/fault-proxy.ts";
import { AppError, AssertionError } from "../lib/errors.ts";
import type { Handle, Tx } from "./database.ts";
import { isDivisionByZero, isUniqueViolation } from "./errors.ts";
import type { HintedQuery } from "./hints.ts";
import { findSetting } from "./settings.ts";
import { insertRows, prepare } from "./statements.ts";

/** Has no reader. */
const insertSettings = insertRows("settings", ["name", "value"]);

const updateSetting = prepare((tx, p: { name: string; value: string }) =>
  tx.updateTable("settings").set({ value: p.value }).where("name", "=", p.name),
);

function insertSetting(tx: Tx, name: string, value: string) {
  return insertSettings(tx, [{ name, value }]);
}

onPostgres((_name, setup) => {
  /** Two settings, and the types of their columns loaded, so that no statement of a test is the first. */
  async function setupSettings() {
    const { db, target } = await setup();
    await db.transaction((tx) =>
      insertSettings(tx, [
        { name: "a", value: "0" },
        { name: "b", value: "0" },
      ]),
    );
    return { db, target: target.kind === "postgres" ? target : assert.fail("not on PostgreSQL") };
  }

  async function readSettings(handle: Handle): Promise<Record<string, string>> {
    const rows = await handle.selectFrom("settings").selectAll().execute();
    return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
  }

  test("what nobody reads is sent with the next statement that somebody does", async () => {
    const { db, target } = await setupSettings();
    const other = await openTestDatabase(target);
    const countOpen = async () => {
      const { rows } = await sql<{ open: number }>`select count(*) as open from pg_stat_activity
        where datname = current_database() and state = 'idle in transaction'`.execute(other.read);
      return rows[0]?.open;
    };
    await db.transaction(async (tx) => {
      await insertSetting(tx, "c", "1");
      assert.equal(await updateSetting.changes(tx, { name: "a", value: "1" }), true);
      assert.equal(await countOpen(), 0);
      assert.deepEqual(await readSettings(tx), { a: "1", b: "0", c: "1" });
      assert.equal(await countOpen(), 1);
    });
    assert.deepEqual(await readSettings(other.read), { a: "1", b: "0", c: "1" });
    await other.close();
  });

  test("a contended row is locked behind whatever else is sent with it", async () => {
    const { db, target } = await setupSettings();
    const other = await openTestDatabase(target);
    const stamp = prepare((tx, p: { name: string }) =>
      tx
        .updateTable("settings")
        .set({ value: sql<string>`extract(epoch from clock_timestamp())::text` })
        .where("name", "=", p.name),
    );
    const readTimes = async () => {
      const { a, b } = await readSettings(other.read);
      return { a: Number(a), b: Number(b) };
    };
    await db.transaction(async (tx) => {
      await stamp.changes(tx, { name: "a" }, { isContended: true });
      await stamp.changes(tx, { name: "b" });
    });
    const committed = await readTimes();
    assert.ok(committed.a > committed.b, JSON.stringify(committed));
    await db.transaction(async (tx) => {
      await stamp.changes(tx, { name: "a" }, { isContended: true });
      // The work looks at what it has changed: nothing waits for COMMIT behind a reader's back.
      assert.ok(Number((await readSettings(tx))["a"]) > committed.a);
    });
    await other.close();
  });

  test("a transaction that has guessed right runs once", async () => {
    const { db } = await setupSettings();
    let runs = 0;
    await db.transaction(async (tx) => {
      runs += 1;
      await updateSetting.changes(tx, { name: "a", value: "1" });
      await updateSetting.changes(tx, { name: "b", value: "1" });
    });
    assert.equal(runs, 1);
    assert.deepEqual(await readSettings(db.read), { a: "1", b: "1" });
  });

  /** When it is noticed that the guess was wrong, by what the work does after it. */
  const endings: Record<string, (tx: Tx, changed: boolean) => Promise<void> | void> = {
    "the next read": async (tx) => void (await findSetting(tx, "a")),
    "the commit": () => undefined,
    "the rollback, when the work fails of it": (_tx, changed) =>
      assert.equal(changed, false, "the work was told of a change that was not made"),
  };
  for (const [moment, end] of Object.entries(endings)) {
    for (const isSentEarlier of [true, false]) {
      const start = isSentEarlier ? "what came before was sent" : "nothing was sent before";
      test(`a wrong guess is noticed at ${moment} and leaves nothing, where ${start}`, async () => {
        const { db } = await setupSettings();
        const answers: boolean[] = [];
        const changed = await db.transaction(async (tx) => {
          assert.ok(answers.length < 2, "only the first run guesses");
          await insertSetting(tx, `run ${answers.length}`, "before");
          if (isSentEarlier) await findSetting(tx, "a");
          const answer = await updateSetting.changes(tx, { name: "missing", value: "1" });
          answers.push(answer);
          await insertSetting(tx, `ran ${answers.length}`, "after");
          await end(tx, answer);
          return answer;
        });
        assert.equal(changed, false);
        assert.deepEqual(answers, [true, false]);
        const after = { a: "0", b: "0", "run 1": "before", "ran 2": "after" };
        assert.deepEqual(await readSettings(db.read), after);
      });
    }
  }

  test("a division by zero that is no guess fails the transaction, which runs once", async () => {
    const { db } = await setupSettings();
    let runs = 0;
    const dividing = db.transaction(async (tx) => {
      runs += 1;
      assert.equal(runs, 1);
      await updateSetting.changes(tx, { name: "a", value: "1" });
      await sql`select 1 / count(*) from settings where name = 'missing'`.execute(tx);
    });
    await assert.rejects(dividing, isDivisionByZero);
    assert.equal(await findSetting(db.read, "a"), "0");
  });

  test("a statement without a reader that fails, fails the next read and the transaction", async () => {
    const { db } = await setupSettings();
    const failing = db.transaction(async (tx) => {
      await insertSetting(tx, "c", "1");
      await insertSetting(tx, "a", "1");
      await assert.rejects(findSetting(tx, "b"), isUniqueViolation);
    });
    await assert.rejects(failing, AbortedTransactionError);
    assert.deepEqual(await readSettings(db.read), { a: "0", b: "0" });
  });

  for (const isSentEarlier of [true, false]) {
    const start = isSentEarlier ? "something was read before" : "nothing was read";
    test(`a statement without a reader that fails, fails the commit, where ${start}`, async () => {
      const { db } = await setupSettings();
      const failing = db.transaction(async (tx) => {
        if (isSentEarlier) await findSetting(tx, "a");
        await insertSetting(tx, "c", "1");
        await insertSetting(tx, "a", "1");
        await insertSetting(tx, "d", "1");
      });
      await assert.rejects(failing, isUniqueViolation);
      assert.deepEqual(await readSettings(db.read), { a: "0", b: "0" });
    });
  }

  test("work that fails leaves nothing unsent, and its connection is used again", async () => {
    const { target } = await setupSettings();
    const db = await openTestDatabase({ ...target, connectionsMax: 1 });
    const findProcess = async (tx: Tx) =>
      (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(tx)).rows[0]?.pid;
    const before = await db.transaction(findProcess);
    for (const isSentEarlier of [false, true]) {
      const failing = db.transaction(async (tx) => {
        if (isSentEarlier) await findSetting(tx, "a");
        await insertSetting(tx, "c", "1");
        await insertSetting(tx, "a", "1");
        throw new RangeError("the work has failed");
      });
      await assert.rejects(failing, RangeError);
      assert.equal(await db.transaction(findProcess), before);
    }
    assert.deepEqual(await readSettings(db.read), { a: "0", b: "0" });
    await db.close();
  });

  const selectLater: HintedQuery<{ id: number; more?: number }> = {
    ...CompiledQuery.raw("select * from later"),
    isKept: true,
  };

  test("a kept statement that failed is prepared again on the same connection, and works", async () => {
    const { target } = await setupSettings();
    const db = await openTestDatabase({ ...target, connectionsMax: 1 });
    const change = (text: string) => db.transaction((tx) => sql.raw(text).execute(tx));
    const select = async () => (await db.read.executeQuery(selectLater)).rows;
    await change("drop table if exists later");
    await assert.rejects(select(), /relation "later" does not exist/);
    await change("create table later as select 1::bigint as id");
    assert.deepEqual(await select(), [{ id: 1 }]);
    assert.deepEqual(await select(), [{ id: 1 }]);
    await change("alter table later add column more bigint default 2");
    await assert.rejects(select(), /cached plan must not change result type/);
    assert.deepEqual(await select(), [{ id: 1, more: 2 }]);
    await change("drop table later");
    await db.close();
  });

  test("a kept statement that the server never saw, behind one that failed, works the next time", async () => {
    const { target } = await setupSettings();
    const db = await openTestDatabase({ ...target, connectionsMax: 1 });
    const find = prepare((tx, p: { name: string }) =>
      tx.selectFrom("settings").select("value").where("name", "=", p.name),
    );
    const insertAndFind = (name: string) =>
      db.transaction(async (tx) => {
        await insertSetting(tx, name, "1");
        return find.first(tx, { name: "b" });
      });
    await assert.rejects(insertAndFind("a"), isUniqueViolation);
    assert.deepEqual(await insertAndFind("c"), { value: "0" });
    assert.deepEqual(await insertAndFind("d"), { value: "0" });
    await db.close();
  });

  test("a value that no number holds fails its reader alone, and the connection works on", async () => {
    const { target } = await setupSettings();
    const db = await openTestDatabase({ ...target, connectionsMax: 1 });
    await db.transaction(async (tx) => {
      const reading = sql`select 9007199254740993::bigint as large`.execute(tx);
      await assert.rejects(reading, AssertionError);
      await insertSetting(tx, "c", "1");
    });
    assert.equal(await findSetting(db.read, "c"), "1");
    await db.close();
  });

  test("a connection that breaks at the beginning is replaced, and the work runs again", async () => {
    const { target } = await setupSettings();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url });
    const cut = proxy.cutAt("only here", "after");
    let runs = 0;
    await db.transaction(async (tx) => {
      runs += 1;
      await insertSetting(tx, "c", "only here");
      await findSetting(tx, "a");
    });
    await cut;
    assert.equal(runs, 2);
    assert.equal(await findSetting(db.read, "c"), "only here");
    await db.close();
  });

  test("a connection that breaks before COMMIT is sent gives busy, and nothing is done", async () => {
    const { target } = await setupSettings();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url });
    const cut = proxy.cutAt("only here", "after");
    let runs = 0;
    const broken = db.transaction(async (tx) => {
      runs += 1;
      await findSetting(tx, "a");
      await insertSetting(tx, "c", "only here");
      await findSetting(tx, "a");
    });
    await assert.rejects(
      broken,
      (error) => error instanceof AppError && error.reason === "unavailable",
    );
    await cut;
    assert.equal(runs, 1);
    assert.deepEqual(await readSettings(db.read), { a: "0", b: "0" });
    await db.close();
  });

  test("what was sent with a COMMIT whose reply is lost is found committed, once", async () => {
    const { target } = await setupSettings();
    await using proxy = await startFaultProxy(target.url);
    const db = await openTestDatabase({ ...target, url: proxy.url });
    const cut = proxy.cutAt("commit\0", "after");
    let runs = 0;
    await db.transaction(async (tx) => {
      runs += 1;
      await findSetting(tx, "a");
      await insertSetting(tx, "c", String(runs));
      await updateSetting.changes(tx, { name: "a", value: "1" });
    });
    await cut;
    assert.equal(runs, 1);
    assert.deepEqual(await readSettings(db.read), { a: "1", b: "0", c: "1" });
    await db.close();
  });
});
