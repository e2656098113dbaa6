import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createLog } from "../lib/log.ts";
import { createCheckpoints } from "./checkpoints.ts";

async function setup(t: TestContext, options: { threadPath?: string } = {}) {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-checkpoints-"));
  const path = join(folder, "darkroom.db");
  const database = new DatabaseSync(path);
  database.exec(
    "pragma journal_mode = wal; pragma wal_autocheckpoint = 0; create table t (a blob) strict",
  );
  const idles: number[] = [];
  const fatal: Error[] = [];
  const checkpoints = createCheckpoints({
    path: options.threadPath ?? path,
    database,
    whileIdle: async (work) => {
      idles.push(1);
      await work();
    },
    log: createLog("silent"),
    onFatal: (error) => fatal.push(error),
    limits: { pagesMin: 20, pagesMax: 100 },
  });
  t.after(async () => {
    await checkpoints.close();
    database.close();
    await rm(folder, { recursive: true, force: true });
  });
  const insert = database.prepare("insert into t values (zeroblob(8000))");
  function write(count: number): void {
    for (let i = 0; i < count; i++) {
      insert.run();
      checkpoints.addCommit();
    }
  }
  function readStatus() {
    return { ...database.prepare("pragma wal_checkpoint(noop)").get() };
  }
  return { path, checkpoints, write, readStatus, idles, fatal };
}

test("a log that has grown is moved into the database file, and a short one is left alone", async (t) => {
  const { path, checkpoints, write, readStatus } = await setup(t);
  write(4);
  const { size } = await stat(path);
  assert.equal(readStatus()["checkpointed"], 0);
  write(4);
  await checkpoints.close();
  assert.equal(readStatus()["checkpointed"], readStatus()["log"]);
  assert.ok((await stat(path)).size > size);
});

test("a log that cannot start over makes writers wait for one checkpoint", async (t) => {
  const { path, checkpoints, write, idles } = await setup(t);
  const reader = new DatabaseSync(path);
  reader.exec("begin; select count(*) from t");
  write(60);
  await checkpoints.close();
  assert.deepEqual(idles, [1]);
  reader.close();
});

test("a thread that cannot work is given up, and writing goes on", async (t) => {
  const { checkpoints, write, readStatus, fatal } = await setup(t, {
    threadPath: "/nowhere/darkroom.db",
  });
  write(60);
  await checkpoints.close();
  write(60);
  assert.equal(readStatus()["checkpointed"], 0);
  assert.deepEqual(fatal, []);
});

test("closing twice is closing once", async (t) => {
  const { checkpoints, write } = await setup(t);
  write(60);
  await Promise.all([checkpoints.close(), checkpoints.close()]);
});
