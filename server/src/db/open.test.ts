import assert from "node:assert/strict";
import { test } from "node:test";

import type { Kysely } from "kysely";

import {
  insertRow,
  onEachDatabase,
  openTestDatabase,
  readRows,
} from "../../test/support/databases.ts";
import { AppError } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { systemClock } from "../lib/time.ts";
import { isMigrated, migrateToLatest } from "./migrate.ts";
import type { DatabaseTarget } from "./open.ts";
import type { OpenedDatabase } from "./opened.ts";
import { openPostgres } from "./postgres.ts";
import { openSqlite } from "./sqlite.ts";

async function openUnmigrated(target: DatabaseTarget): Promise<OpenedDatabase> {
  const log = createLog("silent");
  const deps = { clock: systemClock, random: systemRandom, log, onFatal: assert.fail };
  return target.kind === "sqlite" ? openSqlite(target.path, deps) : openPostgres(target, deps);
}

onEachDatabase((name, setup, createTarget) => {
  test("a new database gets its tables when several processes open it at once", async () => {
    const target = await createTarget();
    const opened = await Promise.all([1, 2, 3].map(() => openTestDatabase(target)));
    for (const db of opened) assert.deepEqual(await readRows(db, "tasks"), []);
    await Promise.all(opened.map((db) => db.close()));
  });

  test("a migration that fails half-way leaves nothing behind", async () => {
    const target = await createTarget();
    const { database, migrate } = await openUnmigrated(target);
    const read = database.read as unknown as Kysely<unknown>;
    const failed = migrate(async (tx) => {
      await migrateToLatest(tx, name);
      assert.equal(await isMigrated(tx, name), true);
      throw new Error("power cut");
    });
    await assert.rejects(failed, /power cut/);
    assert.equal(await isMigrated(read, name), false);
    await assert.rejects(readRows(database, "tasks"));
    await database.close();
    const db = await openTestDatabase(target);
    assert.deepEqual(await readRows(db, "tasks"), []);
    await db.close();
  });

  test("an up-to-date database is opened beside a transaction that holds the write lock", async () => {
    const { db, target } = await setup();
    await db.transaction(async (tx) => {
      await tx.insertInto("settings").values({ name: "a", value: "b" }).execute();
      const other = await openTestDatabase(target);
      assert.deepEqual(await readRows(other, "settings"), []);
      await other.close();
    });
  });

  test("a database that a newer version has made is refused, and left as it is", async () => {
    const target = await createTarget();
    const db = await openTestDatabase(target);
    const record = { name: "9999-future", timestamp: "2099-01-01T00:00:00.000Z" };
    await insertRow(db, "kysely_migration", record);
    await assert.rejects(openTestDatabase(target), (error) => {
      // In words for the operator: an error of ours is told as a mistake of the program.
      assert.ok(error instanceof AppError);
      assert.match(error.message, /newer version of Darkroom.*9999-future/);
      return true;
    });
    assert.deepEqual((await readRows(db, "kysely_migration")).at(-1), record);
    await db.close();
  });
});
