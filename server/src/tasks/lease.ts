/**
 * A worker's claim to be alive: a counter in its row, raised every few seconds. Nobody compares
 * clocks: an observer judges by its own monotonic clock how long the counter has stood still, and a
 * worker judges by its own how old its last beat is. The worker stops sending well before any
 * observer may take its tasks.
 */
import { createLoop } from "../lib/loop.ts";
import type { EngineDeps } from "./engine.ts";
import { insertWorker, raiseBeat, deleteWorker } from "./queue-store.ts";

export const beatEveryMs = 3_000;
/** An observer takes a worker's tasks after this long without a beat. */
export const deadAfterMs = 18_000;
/** A worker sends nothing when its own last beat is older. */
const trustedForMs = 12_000;

export type Lease = {
  start(): Promise<void>;
  stop(): Promise<void>;
  workerId(): string;
  /** True while this incarnation is the living one and its last beat is young enough to send something. */
  isTrusted(workerId: string): boolean;
};

export type LeaseDeps = Pick<EngineDeps, "db" | "clock" | "ids" | "log">;

/** `onLost` is called when an observer has taken this worker's tasks; a fresh incarnation follows. */
export function createLease(deps: LeaseDeps, options: { onLost(): void }): Lease {
  const { db, clock, ids, log } = deps;
  let id = ids("worker");
  let lastBeat = clock.monotonic();

  async function enlist(): Promise<void> {
    lastBeat = clock.monotonic();
    await db.transaction((tx) => insertWorker(tx, { id, beats: 0, started_at: clock.now() }));
  }

  async function beat(): Promise<void> {
    const begun = clock.monotonic();
    if (await db.transaction((tx) => raiseBeat(tx, id))) {
      lastBeat = begun;
      return;
    }
    log.error({ worker: id }, "the lease was lost; starting again as a new worker");
    id = ids("worker");
    options.onLost();
    await enlist();
  }

  const beating = createLoop({
    clock,
    everyMs: beatEveryMs,
    turn: beat,
    onError: (error) => log.error({ err: error, worker: id }, "a heartbeat failed"),
  });
  return {
    start: async () => {
      await enlist();
      beating.start();
    },
    stop: async () => {
      await beating.stop();
      await db.transaction((tx) => deleteWorker(tx, id));
    },
    workerId: () => id,
    isTrusted: (workerId) => workerId === id && clock.monotonic() - lastBeat < trustedForMs,
  };
}
