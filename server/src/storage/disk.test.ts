import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { promisify } from "node:util";

import { storageConformance } from "../../test/contracts/storage.ts";
import { systemRandom } from "../lib/random.ts";
import { createDiskStorage } from "./disk.ts";
import type { DiskStorage } from "./disk.ts";
import { objectName } from "./names.ts";
import { StorageError } from "./storage.ts";

type Setup = { storage: DiskStorage; folder: string; breakWrites: () => Promise<void> };

async function setup(t: TestContext): Promise<Setup> {
  const parent = await mkdtemp(join(tmpdir(), "darkroom-disk-"));
  t.after(() => rm(parent, { recursive: true }));
  const folder = join(parent, "deep", "objects");
  const storage = createDiskStorage({ folder, random: systemRandom });
  const breakWrites = async () => {
    await mkdir(folder, { recursive: true });
    await rm(join(folder, "tmp"), { recursive: true, force: true });
    // A file where a folder must be fails for every user, the superuser too.
    await writeFile(join(folder, "tmp"), "");
  };
  return { storage, folder, breakWrites };
}

/** Paths of all files below the folder, relative to it. */
async function listFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .toSorted();
}

storageConformance("disk", setup);

test("an object lies in the folder of its first two characters, and nothing else is left", async (t) => {
  const { storage, folder } = await setup(t);
  const names = [objectName(systemRandom), objectName(systemRandom)].toSorted();
  for (const name of names) await storage.put(name, Buffer.from(name));
  await storage.check();
  assert.deepEqual(
    await listFiles(folder),
    names.map((name) => join(name.slice(0, 2), name)),
  );
});

test("folders and files can be read by their owner only", async (t) => {
  const { storage, folder } = await setup(t);
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.alloc(1));
  const shard = join(folder, name.slice(0, 2));
  for (const path of [dirname(folder), folder, shard, join(folder, "tmp")]) {
    assert.equal((await stat(path)).mode & 0o777, 0o700, path);
  }
  assert.equal((await stat(join(shard, name))).mode & 0o777, 0o600);
});

test("making the storage touches no disk", async (t) => {
  const { folder } = await setup(t);
  await assert.rejects(stat(folder), { code: "ENOENT" });
});

test("a sweep removes what a killed process left behind, and no object", async (t) => {
  const { storage, folder } = await setup(t);
  assert.equal(await storage.sweepTemporaryFiles(), 0);
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.from("kept"));
  await writeFile(join(folder, "tmp", "left1"), "half");
  await writeFile(join(folder, "tmp", "left2"), "half");
  assert.equal(await storage.sweepTemporaryFiles(), 2);
  assert.deepEqual(await listFiles(folder), [join(name.slice(0, 2), name)]);
  assert.equal(String(await storage.read(name)), "kept");
});

test("a write whose rename fails leaves no temporary file", async (t) => {
  const { storage, folder } = await setup(t);
  const name = objectName(systemRandom);
  const obstacle = join(folder, name.slice(0, 2), name, "not-empty");
  await mkdir(obstacle, { recursive: true });
  await assert.rejects(storage.put(name, Buffer.alloc(10)), StorageError);
  assert.deepEqual(await listFiles(folder), []);
});

async function* failHalfway(): AsyncGenerator<Uint8Array> {
  yield Buffer.alloc(10);
  throw new RangeError("gone");
}

test("a failed source leaves no temporary file", async (t) => {
  const { storage, folder } = await setup(t);
  await assert.rejects(storage.put(objectName(systemRandom), failHalfway()), RangeError);
  assert.deepEqual(await listFiles(folder), []);
});

test("folders removed by hand while the server runs are made again", async (t) => {
  const { storage, folder } = await setup(t);
  await storage.put(objectName(systemRandom), Buffer.alloc(1));
  await rm(folder, { recursive: true });
  await assert.rejects(storage.put(objectName(systemRandom), Buffer.alloc(1)), StorageError);
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.from("again"));
  assert.equal(String(await storage.read(name)), "again");
});

test("a listing comes in pages, and what is removed on the way hides nothing else", async (t) => {
  const { storage, folder } = await setup(t);
  const names = Array.from({ length: 1_200 }, () => objectName(systemRandom));
  for (const name of names) {
    await mkdir(join(folder, name.slice(0, 2)), { recursive: true });
    await writeFile(join(folder, name.slice(0, 2), name), "");
  }
  await writeFile(join(folder, "note"), "by hand");
  const sizes: number[] = [];
  const found = new Set<string>();
  let after: string | null = null;
  do {
    const { objects, next } = await storage.list(after);
    sizes.push(objects.length);
    for (const { name } of objects) found.add(name);
    await storage.removeMany(objects.slice(0, 100).map(({ name }) => name));
    after = next;
  } while (after !== null);
  assert.deepEqual(sizes, [500, 500, 200]);
  assert.deepEqual([...found].toSorted(), names.toSorted());
});

test("a storage error names no path, and its cause does", async (t) => {
  const { storage, folder, breakWrites } = await setup(t);
  await breakWrites();
  await assert.rejects(storage.put(objectName(systemRandom), Buffer.alloc(1)), (error) => {
    assert.ok(error instanceof StorageError);
    assert.ok(!error.message.includes(folder), error.message);
    assert.ok(error.cause instanceof Error && error.cause.message.includes(folder));
    return true;
  });
});

/** Puts one object under a limit on file sizes, then reports what happened and what is left. */
const limitedScript = `
  import { createDiskStorage } from ${JSON.stringify(import.meta.resolve("./disk.ts"))};
  import { objectName } from ${JSON.stringify(import.meta.resolve("./names.ts"))};
  import { systemRandom } from ${JSON.stringify(import.meta.resolve("../lib/random.ts"))};
  const storage = createDiskStorage({ folder: process.argv[1], random: systemRandom });
  const [small, big] = [objectName(systemRandom), objectName(systemRandom)];
  await storage.put(small, Buffer.alloc(1_000));
  const error = await storage.put(big, Buffer.alloc(4_000_000)).catch((failed) => failed);
  const left = await storage.stat(big);
  console.log(JSON.stringify({ error: error.name, code: error.cause?.code, left }));
`;

test("a disk that runs out in the middle of an object keeps no part of it", async (t) => {
  if (process.platform === "win32") return t.skip("needs ulimit");
  const { folder } = await setup(t);
  // Node ignores SIGXFSZ, so a write past the limit fails part way, as on a full disk.
  const shell = 'ulimit -f 1000; exec "$0" --input-type=module -e "$1" "$2"';
  const args = ["-c", shell, process.execPath, limitedScript, folder];
  const { stdout } = await promisify(execFile)("sh", args);
  assert.deepEqual(JSON.parse(stdout), { error: "StorageError", code: "EFBIG", left: null });
  const files = await listFiles(folder);
  assert.equal(files.length, 1, files.join());
});
