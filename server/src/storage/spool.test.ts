import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { lockFolder } from "../db/folder-lock.ts";
import { must } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { createSpool } from "./spool.ts";
import type { Spool, SpoolDeps } from "./spool.ts";

async function setup(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), "darkroom-spool-"));
  t.after(() => rm(root, { recursive: true }));
  const folder = join(root, "spool");
  const open = (options: Partial<SpoolDeps> = {}): Spool => {
    const spool = createSpool({
      folder,
      bytesMax: 1_000_000,
      memoryBytesMax: 0,
      random: systemRandom,
      log: createLog("silent"),
      readDiskRoom: () => Promise.resolve(null),
      lock: lockFolder,
      ...options,
    });
    t.after(() => spool.close());
    return spool;
  };
  return { folder, open, listFiles: () => listFiles(folder) };
}

/** Paths of everything but folders and locks. */
async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile() && !entry.name.includes(".lock"));
  return files.map(({ parentPath, name }) => join(parentPath, name));
}

test("bytes wait in a file that only its owner can read, and leave nothing when they are let go of", async (t) => {
  const { folder, open, listFiles: list } = await setup(t);
  const spool = open();
  const bytes = systemRandom.bytes(300_000);
  const spooled = must(await spool.write(bytes), "room");
  assert.equal(spool.bytes, 300_000);
  const [path = ""] = await list();
  const modes = [folder, join(path, ".."), path].map(async (one) => (await stat(one)).mode & 0o777);
  assert.deepEqual(await Promise.all(modes), [0o700, 0o700, 0o600]);
  for (const _ of [1, 2]) assert.ok(bytes.equals(must(await spool.read(spooled), "the bytes")));
  await spool.remove(spooled);
  await spool.remove(spooled);
  assert.deepEqual([await list(), spool.bytes], [[], 0]);
  await spool.close();
  assert.deepEqual(await readdir(folder), []);
});

test("many at once never pass the bound together, and room that is given back is used again", async (t) => {
  const { open, listFiles: list } = await setup(t);
  const spool = open({ bytesMax: 100_000 });
  const write = () => spool.write(Buffer.alloc(30_000));
  const written = await Promise.all(Array.from({ length: 20 }, write));
  const taken = written.filter((one) => one !== null);
  assert.equal(taken.length, 3);
  assert.deepEqual([spool.bytes, (await list()).length], [90_000, 3]);
  await spool.remove(must(taken[0], "the first"));
  assert.notEqual(await write(), null);
  assert.equal(await write(), null);
});

test("the spool is filling from half of its room on", async (t) => {
  const { open } = await setup(t);
  const spool = open({ bytesMax: 100_000 });
  await spool.write(Buffer.alloc(50_000));
  assert.ok(!spool.isFilling);
  const last = must(await spool.write(Buffer.alloc(1)), "room");
  assert.ok(spool.isFilling);
  await spool.remove(last);
  assert.ok(!spool.isFilling);
});

test("a disk that takes nothing leaves a little to memory, and no more than that", async (t) => {
  const { folder, open } = await setup(t);
  await writeFile(folder, "a file where the folder should be");
  const spool = open({ memoryBytesMax: 100_000 });
  const bytes = systemRandom.bytes(60_000);
  const spooled = must(await spool.write(bytes), "room in memory");
  assert.ok(spool.isFilling);
  assert.equal(await spool.write(bytes), null);
  assert.ok(bytes.equals(must(await spool.read(spooled), "the bytes")));
  await spool.remove(spooled);
  assert.deepEqual([spool.bytes, spool.isFilling], [0, false]);
  await rm(folder);
  await spool.write(bytes);
  assert.equal((await listFiles(folder)).length, 1);
});

test("the last of the disk is left to the database", async (t) => {
  const { open, listFiles: list } = await setup(t);
  const room = { free: 0, total: 1_000_000 };
  const spool = open({ readDiskRoom: () => Promise.resolve(room) });
  room.free = 100_000 + 999;
  assert.equal(await spool.write(Buffer.alloc(1_000)), null);
  assert.deepEqual([await list(), spool.bytes], [[], 0]);
  room.free += 1;
  assert.notEqual(await spool.write(Buffer.alloc(1_000)), null);
  const large = { free: 2 * 2 ** 30 + 1_000, total: 2 ** 40 };
  Object.assign(room, large);
  assert.notEqual(await spool.write(Buffer.alloc(1_000)), null);
  assert.equal(await spool.write(Buffer.alloc(1_001)), null);
});

test("bytes that are gone or cut short are told as gone", async (t) => {
  const { open, listFiles: list } = await setup(t);
  const spool = open();
  const spoil = [(path: string) => rm(path), (path: string) => truncate(path, 10)];
  for (const one of spoil) {
    const spooled = must(await spool.write(Buffer.alloc(1_000)), "room");
    await one(must((await list())[0], "a file"));
    assert.equal(await spool.read(spooled), null);
    await spool.remove(spooled);
    assert.equal(spool.bytes, 0);
  }
});

/** Spools one picture and says so; then it waits for its death. */
const script = `
  import { lockFolder } from ${JSON.stringify(import.meta.resolve("../db/folder-lock.ts"))};
  import { createLog } from ${JSON.stringify(import.meta.resolve("../lib/log.ts"))};
  import { systemRandom } from ${JSON.stringify(import.meta.resolve("../lib/random.ts"))};
  import { createSpool } from ${JSON.stringify(import.meta.resolve("./spool.ts"))};
  const spool = createSpool({
    folder: process.argv[1],
    bytesMax: 1e6,
    random: systemRandom,
    log: createLog("silent"),
    readDiskRoom: async () => null,
    lock: lockFolder,
  });
  await spool.write(Buffer.alloc(1_000));
  console.log("spooled");
  setInterval(() => {}, 1_000);
`;

test("what a killed process leaves is removed by the next, and what a living one has is not", async (t) => {
  const { folder, open, listFiles: list } = await setup(t);
  const args = ["--input-type=module", "-e", script, folder];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  const living = open();
  const kept = must(await living.write(Buffer.alloc(10)), "room");
  const next = open();
  assert.equal(await next.sweep(), 0);
  assert.equal((await list()).length, 2);
  child.kill("SIGKILL");
  await once(child, "close");
  assert.equal(await next.sweep(), 1);
  assert.equal((await list()).length, 1);
  assert.notEqual(await living.read(kept), null);
  assert.equal(await next.sweep(), 0);
  await living.close();
  assert.deepEqual(await readdir(folder), []);
});

test("a spool that was never used leaves no trace, and nothing to sweep is no failure", async (t) => {
  const { folder, open } = await setup(t);
  const spool = open();
  assert.equal(await spool.sweep(), 0);
  await spool.close();
  await assert.rejects(stat(folder), { code: "ENOENT" });
});
