/** A machine whose clock is wrong, and the node on it, which goes by the database's. */
import type { Database } from "../../src/db/database.ts";
import { createLoop } from "../../src/lib/loop.ts";
import type { Log } from "../../src/lib/log.ts";
import type { Random } from "../../src/lib/random.ts";
import { createAdjustableClock } from "../../src/lib/time.ts";
import type { AdjustableClock, Clock } from "../../src/lib/time.ts";
import { beatEveryMs } from "../../src/tasks/lease.ts";
import { loadWorkers } from "../../src/tasks/queue-store.ts";

/** Outlives the processes that run on it. */
export type Machine = { name: string; clock: AdjustableClock };

export type TimeDeps = { db: Database; clock: AdjustableClock; log: Log };

/** What is known of the database's clock is as uncertain as a trip there and back. */
const uncertaintyMs = 20;

type Truth = { clock: Clock; random: Random; isShared: boolean };

/**
 * The clock of a process that goes by the true time, as `tasks/node.ts` has it on PostgreSQL; SQLite has no
 * clock of its own to be asked. Right from the start, because whoever cannot ask does not start.
 */
export function createNodeClock(machineClock: Clock, truth: Truth): AdjustableClock {
  const clock = createAdjustableClock(machineClock);
  setClock(clock, truth);
  return clock;
}

function setClock(clock: AdjustableClock, { clock: truth, random, isShared }: Truth): void {
  if (!isShared) return;
  const error = Math.round((random.fraction() * 2 - 1) * uncertaintyMs);
  const offsetMs = truth.now() - clock.now() + error;
  if (Math.abs(offsetMs) > uncertaintyMs) clock.adjustBy(offsetMs);
}

/** Sets the clock at every beat; the first time when it starts. */
export function keepTime(
  { db, clock, log }: TimeDeps,
  truth: Truth,
): { start(): Promise<void>; stop(): Promise<void> } {
  async function ask(): Promise<void> {
    // Whoever cannot ask the database does not learn its time.
    await loadWorkers(db.read);
    setClock(clock, truth);
  }
  const beating = createLoop({
    clock,
    everyMs: beatEveryMs,
    turn: ask,
    onError: (error) => log.warn({ err: error }, "the clock could not be set"),
  });
  return {
    start: async () => {
      await ask();
      beating.start();
    },
    stop: () => beating.stop(),
  };
}
