/**
 * Where finished pictures wait while the store takes nothing: files in a folder of this process, so that
 * memory stays flat. They are void when the process dies, because only its own runs know whose they are: nothing
 * is synced, and whoever starts next removes what is left.
 */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { DiskRoom } from "../lib/disk-room.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";

/** Bytes that wait; plain data, good for the spool that gave it. */
export type Spooled = { readonly name: string; readonly byteLength: number };

export type Spool = {
  /** Takes bytes in; null when there is no room for them. */
  write(bytes: Uint8Array): Promise<Spooled | null>;
  /** Null when the bytes are gone: removed by hand, or not to be read any more. */
  read(spooled: Spooled): Promise<Uint8Array | null>;
  /** Lets go of the bytes; for the second time, it does nothing. */
  remove(spooled: Spooled): Promise<void>;
  /** Bytes that wait now. */
  readonly bytes: number;
  /** True when half of the room is taken: time to ask vendors for no more. */
  readonly isFilling: boolean;
  /** Removes what dead processes have left, and gives the number of them. */
  sweep(): Promise<number>;
  /** Removes what this process has. */
  close(): Promise<void>;
};

export type SpoolDeps = {
  /** Made with mode 0700 when it is needed; the processes of a machine may share it. */
  folder: string;
  bytesMax: number;
  /** What may wait in memory when the disk takes nothing, besides `bytesMax`. */
  memoryBytesMax?: number;
  random: Random;
  log: Log;
  readDiskRoom(folder: string): Promise<DiskRoom | null>;
  /** Takes a lock that the operating system gives back when this process dies; throws when another one has it. */
  lock(path: string): { release(): void };
};

type Lock = { release(): void };

type State = {
  deps: SpoolDeps;
  /** Of this process alone; its lock lies beside it. */
  own: string;
  memoryBytesMax: number;
  locked: Lock | null;
  /** Sizes of what waits in files, by name. */
  files: Map<string, number>;
  fileBytes: number;
  held: Map<string, Uint8Array>;
  heldBytes: number;
};

const memoryBytesMaxDefault = 64 * 2 ** 20;
/** More than what makes the server refuse new work: the spool is never why it does. */
const freeBytesMin = 2 * 2 ** 30;
const freeShareMin = 0.1;
const lockSuffix = ".lock";

export function createSpool(deps: SpoolDeps): Spool {
  const state: State = {
    deps,
    own: join(deps.folder, deps.random.bytes(8).toString("hex")),
    memoryBytesMax: deps.memoryBytesMax ?? memoryBytesMaxDefault,
    locked: null,
    files: new Map(),
    fileBytes: 0,
    held: new Map(),
    heldBytes: 0,
  };
  return {
    write: (bytes) => write(state, bytes),
    read: (spooled) => read(state, spooled),
    remove: (spooled) => remove(state, spooled),
    get bytes() {
      return state.fileBytes + state.heldBytes;
    },
    get isFilling() {
      return state.fileBytes * 2 > deps.bytesMax || state.heldBytes * 2 > state.memoryBytesMax;
    },
    sweep: () => sweep(state),
    close: () => close(state),
  };
}

async function write(state: State, bytes: Uint8Array): Promise<Spooled | null> {
  const { byteLength } = bytes;
  const spooled = { name: state.deps.random.bytes(8).toString("hex"), byteLength };
  if (state.fileBytes + byteLength <= state.deps.bytesMax) {
    // Counted before the first wait, so that many at once do not pass the bound together.
    count(state, spooled);
    if (await writeFileOf(state, spooled, bytes)) return spooled;
    await remove(state, spooled);
  }
  if (state.heldBytes + byteLength > state.memoryBytesMax) return null;
  state.held.set(spooled.name, bytes);
  state.heldBytes += byteLength;
  return spooled;
}

function count(state: State, { name, byteLength }: Spooled): void {
  state.files.set(name, byteLength);
  state.fileBytes += byteLength;
}

/** False when the disk does not take it. */
async function writeFileOf(
  state: State,
  { name, byteLength }: Spooled,
  bytes: Uint8Array,
): Promise<boolean> {
  const { deps, own } = state;
  try {
    await prepare(state);
    const room = await deps.readDiskRoom(own);
    if (room !== null) {
      const kept = Math.min(freeBytesMin, room.total * freeShareMin);
      if (room.free - byteLength < kept) return false;
    }
    await writeFile(join(own, name), bytes, { flag: "wx", mode: 0o600 });
    return true;
  } catch (error) {
    deps.log.warn({ err: error }, "the spool cannot be written to");
    return false;
  }
}

/** The lock comes first: a folder whose lock is free belongs to a dead process. */
async function prepare(state: State): Promise<void> {
  const { deps, own } = state;
  await mkdir(deps.folder, { recursive: true, mode: 0o700 });
  state.locked ??= deps.lock(`${own}${lockSuffix}`);
  await mkdir(own, { recursive: true, mode: 0o700 });
}

async function read(
  { deps, own, held }: State,
  { name, byteLength }: Spooled,
): Promise<Uint8Array | null> {
  const bytes = held.get(name);
  if (bytes !== undefined) return bytes;
  try {
    const found = await readFile(join(own, name));
    return found.byteLength === byteLength ? found : null;
  } catch (error) {
    deps.log.error({ err: error }, "a picture in the spool is lost");
    return null;
  }
}

async function remove(state: State, { name }: Spooled): Promise<void> {
  const { own, files, held } = state;
  state.heldBytes -= held.get(name)?.byteLength ?? 0;
  held.delete(name);
  const size = files.get(name);
  if (size === undefined) return;
  files.delete(name);
  await rm(join(own, name), { force: true }).catch(() => undefined);
  // Room is given back when there is some.
  state.fileBytes -= size;
}

async function sweep({ deps, own }: State): Promise<number> {
  const entries = await readdir(deps.folder, { withFileTypes: true }).catch(() => []);
  const folders = entries.filter((entry) => entry.isDirectory());
  let swept = 0;
  for (const { name } of folders) {
    const folder = join(deps.folder, name);
    if (folder !== own && (await sweepFolder(deps, folder))) swept += 1;
  }
  return swept;
}

/** False when its process lives, or when it cannot be removed. */
async function sweepFolder({ lock, log }: SpoolDeps, folder: string): Promise<boolean> {
  const path = `${folder}${lockSuffix}`;
  let locked: Lock;
  try {
    locked = lock(path);
  } catch {
    return false;
  }
  try {
    await rm(folder, { recursive: true, force: true });
    await rm(path, { force: true });
    return true;
  } catch (error) {
    log.warn({ err: error }, "the spool of a dead process could not be removed");
    return false;
  } finally {
    locked.release();
  }
}

async function close(state: State): Promise<void> {
  const { own, locked, files, held } = state;
  if (locked !== null) {
    await rm(own, { recursive: true, force: true }).catch(() => undefined);
    await rm(`${own}${lockSuffix}`, { force: true }).catch(() => undefined);
    locked.release();
  }
  state.locked = null;
  files.clear();
  held.clear();
  state.fileBytes = 0;
  state.heldBytes = 0;
}
