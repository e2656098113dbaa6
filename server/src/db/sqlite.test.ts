import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, open, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { sql } from "kysely";

import { createTestClock } from "../../test/support/clock.ts";
import { AppError, AssertionError } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { systemClock } from "../lib/time.ts";
import type { Database } from "./database.ts";
import { openDatabase } from "./open.ts";
import type { DatabaseDeps } from "./open.ts";
import { findSetting, saveSetting } from "./settings.ts";

type Options = { path?: string; deps?: Partial<DatabaseDeps> };

async function setup(t: TestContext, options: Options = {}) {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-sqlite-"));
  const path = options.path ?? join(folder, "darkroom.db");
  const fatal: Error[] = [];
  const db = await openDatabase(
    { kind: "sqlite", path },
    {
      clock: systemClock,
      random: systemRandom,
      log: createLog("silent"),
      onFatal: (error) => fatal.push(error),
      ...options.deps,
    },
  );
  t.after(async () => {
    // A test may have broken the database, which close then reports.
    await db.close().catch(() => undefined);
    await rm(folder, { recursive: true, force: true });
  });
  return { db, path, folder, fatal };
}

function save(db: Database, value: string): Promise<void> {
  return db.transaction((tx) => saveSetting(tx, "a", value));
}

/** Another process that holds the write lock from now until `release`. */
async function lockFromAnotherProcess(path: string): Promise<{ release(): Promise<void> }> {
  const program = `
    import { DatabaseSync } from "node:sqlite";
    const database = new DatabaseSync(process.argv[1]);
    database.exec("begin immediate; insert into settings values ('other', 'process')");
    process.stdin.once("data", () => {
      database.exec("commit");
      process.exit(0);
    });
    process.stdout.write("locked");
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program, path], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return {
    release: async () => {
      const ended = once(child, "exit");
      child.stdin.write("go");
      assert.deepEqual(await ended, [0, null]);
    },
  };
}

test("a transaction waits without blocking until another process gives the lock back", async (t) => {
  const clock = createTestClock();
  const { db, path } = await setup(t, { deps: { clock } });
  const other = await lockFromAnotherProcess(path);
  const saving = save(db, "mine");
  await clock.untilWaiting(1);
  assert.equal(await findSetting(db.read, "other"), null, "reads go on beside the lock");
  await clock.advance(50);
  await clock.untilWaiting(1);
  await other.release();
  await clock.advance(200);
  await saving;
  assert.equal(await findSetting(db.read, "a"), "mine");
  assert.equal(await findSetting(db.read, "other"), "process");
});

test("a database that stays locked for five seconds is unavailable, to those who wait in line too", async (t) => {
  const clock = createTestClock();
  const { db, path } = await setup(t, { deps: { clock } });
  const other = await lockFromAnotherProcess(path);
  const saving = [save(db, "first"), save(db, "second")];
  const refused = saving.map((work) =>
    assert.rejects(
      work,
      (error) =>
        error instanceof AppError &&
        error.reason === "unavailable" &&
        error.retryAfterSeconds === 1,
    ),
  );
  await clock.untilWaiting(1);
  await clock.advance(4_900);
  await clock.untilWaiting(1);
  await clock.advance(300);
  await Promise.all(refused);
  await other.release();
  await save(db, "third");
  assert.equal(await findSetting(db.read, "a"), "third");
});

test("transactions of concurrent callers run one after another, in order", async (t) => {
  const { db } = await setup(t);
  const events: string[] = [];
  const work = (name: string) =>
    db.transaction(async (tx) => {
      events.push(`${name} begins`);
      await saveSetting(tx, "a", name);
      await new Promise(setImmediate);
      events.push(`${name} ends`);
    });
  await Promise.all([work("1"), work("2"), work("3")]);
  assert.deepEqual(
    events,
    ["1", "2", "3"].flatMap((name) => [`${name} begins`, `${name} ends`]),
  );
});

test("commits of many callers share a few syncs", async (t) => {
  let syncs = 0;
  const { db } = await setup(t, {
    deps: {
      syncDescriptor: async (descriptor) => {
        assert.ok(descriptor > 0);
        syncs += 1;
        await new Promise(setImmediate);
      },
    },
  });
  await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await save(db, String(i));
      await db.durable();
    }),
  );
  assert.ok(syncs > 0 && syncs < 40, `${syncs} syncs for 50 commits`);
  const before = syncs;
  await db.durable();
  assert.equal(syncs, before, "what is durable is not synced again");
});

test("the sync is of the file that holds the commit", async (t) => {
  const sizes: number[] = [];
  const { db, path } = await setup(t, {
    deps: {
      syncDescriptor: async () => {
        sizes.push((await stat(`${path}-wal`)).size);
      },
    },
  });
  await save(db, "x".repeat(100_000));
  await db.durable();
  assert.ok((sizes[0] ?? 0) > 100_000);
});

test("a sync that fails is fatal, and nothing is durable from then on", async (t) => {
  const { db, fatal } = await setup(t, {
    deps: { syncDescriptor: () => Promise.reject(new Error("EIO")) },
  });
  await save(db, "1");
  await assert.rejects(db.durable(), /EIO/);
  await assert.rejects(db.durable(), /EIO/);
  assert.equal(fatal.length, 1);
});

test("a log that was replaced under the open database is fatal", async (t) => {
  const { db, path, fatal } = await setup(t);
  await save(db, "1");
  await rename(`${path}-wal`, `${path}-moved`);
  await writeFile(`${path}-wal`, "");
  await assert.rejects(db.durable(), /replaced/);
  assert.equal(fatal.length, 1);
  await rename(`${path}-moved`, `${path}-wal`);
});

test("a disk that is full is fatal, and what was committed before stays", async (t) => {
  const { db, path, fatal } = await setup(t);
  await save(db, "kept");
  await db.durable();
  const filling = db.transaction(async (tx) => {
    await sql`pragma max_page_count = 1`.execute(tx);
    await saveSetting(tx, "a", "x".repeat(1_000_000));
  });
  await assert.rejects(filling, { errcode: 13 });
  assert.equal(fatal.length, 1);
  await assert.rejects(db.durable(), { errcode: 13 });
  const other = new DatabaseSync(path);
  assert.deepEqual({ ...other.prepare("select value from settings").get() }, { value: "kept" });
  other.close();
});

test("closing makes durable what nobody waited for", async (t) => {
  let syncs = 0;
  const syncDescriptor = async () => {
    syncs += 1;
  };
  const { db } = await setup(t, { deps: { syncDescriptor } });
  await save(db, "1");
  const before = syncs;
  await db.close();
  assert.equal(syncs, before + 1);
});

test("a file that SQLite cannot read any more is fatal", async (t) => {
  const { db, path, fatal } = await setup(t);
  await save(db, "1");
  const other = new DatabaseSync(path);
  other.exec("pragma wal_checkpoint(truncate)");
  other.close();
  const file = await open(path, "r+");
  // The first page names the tables; the pages after it are theirs.
  await file.write(Buffer.alloc(150_000, 7), 0, 150_000, 4096);
  await file.close();
  await assert.rejects(db.read.selectFrom("tasks").selectAll().execute());
  assert.equal(fatal.length, 1);
  await assert.rejects(db.durable(), "nothing is promised after it");
});

test("what was committed is there when the database is opened again", async (t) => {
  const { db, path } = await setup(t);
  await save(db, "kept");
  await db.close();
  const again = await setup(t, { path });
  assert.equal(await findSetting(again.db.read, "a"), "kept");
});

test("the connection is set up for safety", async (t) => {
  const { db } = await setup(t);
  const expected: Record<string, unknown> = {
    journal_mode: "wal",
    synchronous: 1,
    foreign_keys: 1,
    trusted_schema: 0,
    busy_timeout: 0,
    mmap_size: 0,
    journal_size_limit: 64 * 1024 * 1024,
  };
  await db.transaction(async (tx) => {
    for (const [name, value] of Object.entries(expected)) {
      const { rows } = await sql.raw<Record<string, unknown>>(`pragma ${name}`).execute(tx);
      const [row = {}] = rows;
      assert.deepEqual(Object.values(row), [value], name);
    }
  });
  const broken = db.transaction((tx) =>
    sql`update sqlite_master set sql = '' where name = 'tasks'`.execute(tx),
  );
  await assert.rejects(broken, /may not be modified/);
});

test("the log stays small however much is written, and nothing of it is lost", async (t) => {
  const { db, path, fatal } = await setup(t);
  const value = "x".repeat(200_000);
  for (let i = 0; i < 800; i++) {
    await db.transaction((tx) => saveSetting(tx, `large-${i % 10}`, `${i}${value}`));
    if (i % 10 === 0) await db.durable();
  }
  const { size } = await stat(`${path}-wal`);
  assert.ok(size < 80 * 1024 * 1024, `160 MB were written and the log has ${size} bytes`);
  await db.close();
  const again = await setup(t, { path });
  for (let i = 0; i < 10; i++) {
    assert.equal(await findSetting(again.db.read, `large-${i}`), `${790 + i}${value}`);
  }
  assert.deepEqual(fatal, []);
});

test("a database in memory behaves like one in a file", async (t) => {
  const { db } = await setup(t, { path: ":memory:" });
  const inside = Promise.withResolvers<void>();
  const mayEnd = Promise.withResolvers<void>();
  const writing = db.transaction(async (tx) => {
    await saveSetting(tx, "a", "uncommitted");
    inside.resolve();
    await mayEnd.promise;
    await saveSetting(tx, "a", "committed");
  });
  await inside.promise;
  const reading = findSetting(db.read, "a");
  mayEnd.resolve();
  assert.equal(await reading, "committed");
  await writing;
  await db.durable();
  await assert.rejects(
    db.read.insertInto("settings").values({ name: "b", value: "" }).execute(),
    /readonly/,
  );
  await save(db, "after");
  const nested = db.transaction(() => findSetting(db.read, "a"));
  await assert.rejects(nested, AssertionError);
  assert.equal(await findSetting(db.read, "a"), "after");
});
