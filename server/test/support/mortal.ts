/**
 * What a process has of the world until it is killed: after `kill`, whoever waits for a clock or a
 * database waits for ever, which is as near to being dead as code can come without ending the process.
 */
import type { Database } from "../../src/db/database.ts";
import { AppError } from "../../src/lib/errors.ts";
import type { Clock } from "../../src/lib/time.ts";
import { wrapDatabase } from "./activity.ts";

export type Mortal = { readonly isDead: boolean; readonly isCutOff: boolean };

const never = new Promise<never>(() => {});

export function createMortalClock(clock: Clock, life: Mortal): Clock {
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

/**
 * A transaction that was under way when the process died is committed all the same; nobody lives to see
 * it. While the process is cut off, everything it asks fails at once.
 */
export function createMortalDatabase(db: Database, life: Mortal): Database {
  return wrapDatabase(db, async (work) => {
    if (life.isDead) await never;
    if (life.isCutOff) throw new AppError("unavailable", "the database cannot be reached");
    const result = await work();
    return life.isDead ? never : result;
  });
}
