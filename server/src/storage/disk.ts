/**
 * Objects in a folder: `<folder>/<first two characters>/<name>`, beside `tmp` and `owners`.
 *
 * An object is written to a temporary file, synced, renamed to its place and made to stay there by a
 * sync of the folder; only then does `put` resolve. So a name never shows a part of an object, and a
 * row committed after `put` never names bytes that a power loss can take away.
 */
import { mkdir, open, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";

import { assert } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { isObjectName } from "./names.ts";
import { StorageError } from "./storage.ts";
import type { ByteRange, ObjectPage, OpenObject, Storage } from "./storage.ts";

/** Everything in the contract but `presign`: callers cannot reach a folder. */
export type DiskStorage = Omit<Storage, "presign">;

export type DiskStorageDeps = {
  /** Made on the first write, with mode 0700; files have 0600. */
  folder: string;
  random: Random;
};

type Disk = DiskStorageDeps & {
  /** Folders that are known to exist and to survive a power loss. */
  prepared: Map<string, Promise<void>>;
};

/** Not two characters, so neither is the shard of a name. */
const temporaryFolder = "tmp";
const ownersFolder = "owners";
const shardPattern = /^[a-z2-7]{2}$/;
const pageMax = 500;
const folderMode = 0o700;
const fileMode = 0o600;
/** A page cache read costs a trip through the thread pool; pictures of a few megabytes need few. */
const readBytes = 256 * 1024;
const probe = Buffer.alloc(4_096);

export function createDiskStorage(deps: DiskStorageDeps): DiskStorage {
  const disk: Disk = { ...deps, prepared: new Map() };
  return {
    put: (name, bytes) => putObject(disk, name, bytes),
    open: (name, range) => openObject(locate(disk, name), range),
    read: (name) => findOnDisk("read", () => readFile(locate(disk, name))),
    stat: async (name) => {
      const found = await findOnDisk("stat", () => stat(locate(disk, name)));
      return found === null ? null : { bytes: found.size };
    },
    remove: (name) => removeObject(disk, name),
    removeMany: (names) => removeObjects(disk, names),
    list: (after) => listObjects(disk, after),
    claim: (owner) => claimDisk(disk, owner),
    check: () => checkDisk(disk),
    sweepTemporaryFiles: () => sweepTemporaryFiles(disk),
    close: () => Promise.resolve(),
  };
}

async function putObject(
  disk: Disk,
  name: string,
  source: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<{ bytes: number }> {
  const target = locate(disk, name);
  const temporary = locateTemporary(disk);
  try {
    const bytes = await writeTemporary(disk, temporary, source);
    await prepareFolder(disk, dirname(target));
    await onDisk("rename", () => rename(temporary, target));
    await settleName(target);
    return { bytes };
  } catch (error) {
    // Folders are looked at afresh next time: one may have been removed by hand.
    disk.prepared.clear();
    await removeQuietly(temporary);
    throw error;
  }
}

/** Failures of the source pass through unchanged; only the disk's own are `StorageError`. */
async function writeTemporary(
  disk: Disk,
  path: string,
  source: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<number> {
  let bytes = 0;
  let handle: FileHandle | null = null;
  try {
    for await (const chunk of source instanceof Uint8Array ? [source] : source) {
      // Opened inside the loop, so that a failure to open also ends a source that holds a socket.
      handle ??= await createTemporary(disk, path);
      await write(handle, chunk);
      bytes += chunk.byteLength;
    }
    handle ??= await createTemporary(disk, path);
    await sync(handle);
    return bytes;
  } finally {
    if (handle !== null) await close(handle);
  }
}

async function createTemporary(disk: Disk, path: string): Promise<FileHandle> {
  await prepareFolder(disk, dirname(path));
  return onDisk("create", () => open(path, "wx", fileMode));
}

function write(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  return onDisk("write", () => handle.writeFile(chunk));
}

function sync(handle: FileHandle): Promise<void> {
  return onDisk("sync", () => handle.sync());
}

function close(handle: FileHandle): Promise<void> {
  return onDisk("close", () => handle.close());
}

/** After the rename; a name whose folder cannot be synced is withdrawn, because it may not last. */
async function settleName(target: string): Promise<void> {
  try {
    await syncFolder(dirname(target));
  } catch (error) {
    await removeQuietly(target);
    throw error;
  }
}

async function openObject(path: string, range: ByteRange | undefined): Promise<OpenObject | null> {
  const handle = await findOnDisk("open", () => open(path, "r"));
  if (handle === null) return null;
  try {
    const { size } = await onDisk("stat", () => handle.stat());
    const { start, end } = range ?? { start: 0, end: size - 1 };
    assert(start >= 0 && end < size && start <= end + 1, "a range lies inside its object");
    // `end` counts inclusively, so an empty object cannot be expressed by it.
    const limits = size === 0 ? {} : { start, end };
    const stream = handle.createReadStream({ ...limits, highWaterMark: readBytes });
    return { bytes: end - start + 1, stream };
  } catch (error) {
    await close(handle);
    throw error;
  }
}

function removeObject(disk: Disk, name: string): Promise<void> {
  return onDisk("remove", () => rm(locate(disk, name), { force: true }));
}

async function removeObjects(disk: Disk, names: readonly string[]): Promise<string[]> {
  const left: string[] = [];
  for (const name of names) {
    try {
      await removeObject(disk, name);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      left.push(name);
    }
  }
  return left;
}

/** Pages end between two names, and names are in order: whatever is written or removed meanwhile, none is skipped. */
async function listObjects(disk: Disk, after: string | null): Promise<ObjectPage> {
  const objects: { name: string; modifiedAt: number }[] = [];
  const shards = (await listNames(disk.folder)).filter((name) => shardPattern.test(name));
  for (const shard of shards.filter((one) => after === null || one >= after.slice(0, 2))) {
    const names = (await listNames(join(disk.folder, shard))).filter(isObjectName);
    for (const name of names.filter((one) => after === null || one > after)) {
      const found = await findOnDisk("stat", () => stat(locate(disk, name)));
      if (found === null) continue;
      objects.push({ name, modifiedAt: found.mtimeMs });
      if (objects.length === pageMax) return { objects, next: name };
    }
  }
  return { objects, next: null };
}

/** In order; empty for a folder that is not there. */
async function listNames(folder: string): Promise<string[]> {
  const names = await findOnDisk("list", () => readdir(folder));
  return (names ?? []).toSorted();
}

async function claimDisk(disk: Disk, owner: string): Promise<string[]> {
  const folder = join(disk.folder, ownersFolder);
  await prepareFolder(disk, folder);
  await onDisk("write", () => writeFile(join(folder, owner), "", { mode: fileMode }));
  return listNames(folder);
}

async function checkDisk(disk: Disk): Promise<void> {
  const path = locateTemporary(disk);
  try {
    await writeTemporary(disk, path, probe);
  } catch (error) {
    disk.prepared.clear();
    throw error;
  } finally {
    await removeQuietly(path);
  }
}

async function sweepTemporaryFiles(disk: Disk): Promise<number> {
  const folder = join(disk.folder, temporaryFolder);
  const names = (await findOnDisk("list", () => readdir(folder))) ?? [];
  for (const name of names) await onDisk("remove", () => rm(join(folder, name), { force: true }));
  return names.length;
}

function locate(disk: Disk, name: string): string {
  assert(isObjectName(name), "an object name is 32 characters of lower-case base32");
  return join(disk.folder, name.slice(0, 2), name);
}

function locateTemporary(disk: Disk): string {
  return join(disk.folder, temporaryFolder, disk.random.bytes(16).toString("hex"));
}

/** Makes the folder and the storage folder above it, once a process. */
async function prepareFolder(disk: Disk, path: string): Promise<void> {
  if (path !== disk.folder) await prepareFolder(disk, disk.folder);
  let prepared = disk.prepared.get(path);
  if (prepared === undefined) {
    prepared = makeFolder(path);
    disk.prepared.set(path, prepared);
  }
  await prepared;
}

async function makeFolder(path: string): Promise<void> {
  await onDisk("make folder", () => mkdir(path, { recursive: true, mode: folderMode }));
  // Also when it was there before: whoever made it may have died before this sync.
  await syncFolder(dirname(path));
}

async function syncFolder(path: string): Promise<void> {
  // Windows opens no folder for syncing; NTFS keeps names in its own journal.
  if (process.platform === "win32") return;
  const handle = await onDisk("open folder", () => open(path, "r"));
  try {
    await sync(handle);
  } finally {
    await close(handle);
  }
}

/** For cleaning up after a failure that is already being reported; leftovers are swept at start. */
async function removeQuietly(path: string): Promise<void> {
  await rm(path, { force: true }).catch(() => undefined);
}

async function onDisk<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw describe(what, error);
  }
}

async function findOnDisk<T>(what: string, work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw describe(what, error);
  }
}

/** Paths stay out of the message: the cause carries them for the log. */
function describe(what: string, error: unknown): unknown {
  const code = codeOf(error);
  if (code === null) return error;
  return new StorageError(`the storage folder failed: ${what}: ${code}`, { cause: error });
}

function codeOf(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error)) return null;
  return typeof error.code === "string" ? error.code : null;
}
