/**
 * A process that can die: at once, or at a point chosen beforehand. Points lie before and after every
 * statement, commit, send and write. After its death nobody comes back from a clock, a database, a store
 * or a vendor, which is as near to SIGKILL as code inside one process can come.
 */
import type { Database } from "../../src/db/database.ts";
import { AppError } from "../../src/lib/errors.ts";
import type { Clock } from "../../src/lib/time.ts";
import type { Adapter } from "../../src/providers/adapter.ts";
import { StorageError } from "../../src/storage/storage.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { wrapDatabase } from "../support/activity.ts";

export type Life = {
  isDead: boolean;
  /** Points still to be passed before it dies; 0 while no death is planned. */
  pointsLeft: number;
  /** The database cannot be reached. */
  isCutOff: boolean;
};

const never = new Promise<never>(() => {});

async function passPoint(life: Life): Promise<void> {
  if (life.pointsLeft > 0) {
    life.pointsLeft -= 1;
    if (life.pointsLeft === 0) life.isDead = true;
  }
  if (life.isDead) await never;
}

/** A point before `work` and one after it: what was asked for happens although nobody lives to see it. */
async function between<T>(life: Life, work: () => Promise<T>): Promise<T> {
  await passPoint(life);
  try {
    return await work();
  } finally {
    await passPoint(life);
  }
}

export function endangerClock(clock: Clock, life: Life): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    sleep: async (ms, signal) => {
      await clock.sleep(ms, signal);
      if (life.isDead) await never;
    },
    after: (ms, run) =>
      clock.after(ms, () => {
        if (!life.isDead) run();
      }),
  };
}

export function endangerDatabase(db: Database, life: Life): Database {
  return wrapDatabase(db, (work) =>
    between(life, () => {
      if (life.isCutOff) throw new AppError("unavailable", "the database cannot be reached");
      return work();
    }),
  );
}

export function endangerAdapter(adapter: Adapter, life: Life): Adapter {
  const { poll, cancel } = adapter;
  return {
    ...adapter,
    submit: (job, call) => between(life, () => adapter.submit(job, call)),
    ...(poll === undefined
      ? {}
      : { poll: (job, handle, call) => between(life, () => poll(job, handle, call)) }),
    ...(cancel === undefined
      ? {}
      : { cancel: (handle, call) => between(life, () => cancel(handle, call)) }),
  };
}

export function endangerStorage(storage: Storage, life: Life): Storage {
  return {
    ...storage,
    put: (name, bytes) => between(life, () => storage.put(name, bytes)),
    remove: (name) => between(life, () => storage.remove(name)),
  };
}

/** What outlives every process: names and their bytes, and whether the store answers at present. */
export type SimulatedStorage = Storage & { readonly objects: Map<string, number>; isAway: boolean };

export function createSimulatedStorage(): SimulatedStorage {
  const objects = new Map<string, number>();
  const answer = (): void => {
    if (storage.isAway) throw new StorageError("the store is away");
  };
  const unused = (): Promise<never> =>
    Promise.reject(new Error("nothing of a simulation reads an object"));
  const storage: SimulatedStorage = {
    objects,
    isAway: false,
    put: async (name, source) => {
      answer();
      let bytes = 0;
      for await (const chunk of source instanceof Uint8Array ? [source] : source) {
        bytes += chunk.byteLength;
      }
      objects.set(name, bytes);
      return { bytes };
    },
    open: unused,
    read: unused,
    stat: async (name) => {
      const bytes = objects.get(name);
      return bytes === undefined ? null : { bytes };
    },
    remove: async (name) => {
      answer();
      objects.delete(name);
    },
    removeMany: async (names) => {
      answer();
      for (const name of names) objects.delete(name);
      return [];
    },
    check: async () => answer(),
    sweepTemporaryFiles: async () => 0,
    close: async () => {},
  };
  return storage;
}
