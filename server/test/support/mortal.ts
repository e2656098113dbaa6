/**
 * What a process has of the world until it dies: at once, or at a point chosen beforehand. Points lie before
 * and after every statement, commit, exchange and write. After its death nobody comes back from a clock, a
 * database, a store, a vendor or the network, which is as near to SIGKILL as code inside one process can
 * come. A frozen process, as after SIGSTOP, stands at its next point until it is thawed, and time has passed.
 */
import type { Database } from "../../src/db/database.ts";
import type { Egress, EgressReply } from "../../src/lib/egress.ts";
import { AppError } from "../../src/lib/errors.ts";
import type { Clock } from "../../src/lib/time.ts";
import type { Adapter } from "../../src/providers/adapter.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { wrapDatabase } from "./activity.ts";

export type Life = {
  isDead: boolean;
  /** The database cannot be reached: everything asked of it fails at once. */
  isCutOff: boolean;
  /** Points still to be passed before it dies; without it, or with 0, no death is planned. */
  pointsLeft?: number;
  /** Resolves when a frozen process may go on; null, or absent, while it is not frozen. */
  thaw?: Promise<void> | null;
};

const never = new Promise<never>(() => {});

async function passPoint(life: Life): Promise<void> {
  if (life.pointsLeft !== undefined && life.pointsLeft > 0) {
    life.pointsLeft -= 1;
    if (life.pointsLeft === 0) life.isDead = true;
  }
  while (isFrozen(life)) await life.thaw;
  if (life.isDead) await never;
}

function isFrozen({ thaw = null }: Life): boolean {
  return thaw !== null;
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

export function createMortalClock(clock: Clock, life: Life): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    sleep: async (ms, signal) => {
      await clock.sleep(ms, signal);
      while (isFrozen(life)) await life.thaw;
      if (life.isDead) await never;
    },
    after: (ms, run) => {
      let isOff = false;
      const fire = async (): Promise<void> => {
        while (isFrozen(life)) await life.thaw;
        if (!life.isDead && !isOff) run();
      };
      const cancel = clock.after(ms, () => {
        if (isFrozen(life)) void fire();
        else if (!life.isDead) run();
      });
      return () => {
        isOff = true;
        cancel();
      };
    },
  };
}

/** A transaction that is under way when the process dies is committed all the same. */
export function createMortalDatabase(db: Database, life: Life): Database {
  return wrapDatabase(db, (work) =>
    between(life, () => {
      if (life.isCutOff) throw new AppError("unavailable", "the database cannot be reached");
      return work();
    }),
  );
}

export function createMortalAdapter(adapter: Adapter, life: Life): Adapter {
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

export function createMortalStorage(storage: Storage, life: Life): Storage {
  return {
    ...storage,
    put: (name, bytes) => between(life, () => storage.put(name, bytes)),
    read: (name) => between(life, () => storage.read(name)),
    remove: (name) => between(life, () => storage.remove(name)),
    removeMany: (names) => between(life, () => storage.removeMany(names)),
    check: () => between(life, () => storage.check()),
  };
}

export function createMortalEgress(egress: Egress, life: Life): Egress {
  return {
    ...egress,
    request: async (url, request) => {
      const reply = await between(life, () => egress.request(url, request));
      const body = { [Symbol.asyncIterator]: () => readMortally(reply, life) };
      return { ...reply, body, read: () => between(life, () => reply.read()) };
    },
  };
}

async function* readMortally({ body }: EgressReply, life: Life): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    await passPoint(life);
    yield chunk;
  }
  await passPoint(life);
}
