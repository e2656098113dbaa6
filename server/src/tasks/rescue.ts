/**
 * The duties that keep every task moving towards its end: tasks of dead workers go back to the queue,
 * parked ones become ready, what passes its deadline is ended, and places that nobody will give back are.
 */
import { createLoop } from "../lib/loop.ts";
import type { Loop } from "../lib/loop.ts";
import type { EngineDeps } from "./engine.ts";
import { failTask } from "./fail.ts";
import type { EndingPorts } from "./finish.ts";
import { beatEveryMs, deadAfterMs } from "./lease.ts";
import {
  deleteWorker,
  freeTasks,
  hasParkedDue,
  loadWorkers,
  promoteParked,
} from "./queue-store.ts";
import { releaseDuePlaces } from "./places.ts";
import { loadOverdue } from "./store.ts";

export type Rescue = { start(): Promise<void>; stop(): Promise<void> };

export type RescueDeps = Pick<
  EngineDeps,
  "db" | "clock" | "log" | "watch" | "channels" | keyof EndingPorts
>;

const batchMax = 500;
const deadlinesEveryMs = 1_000;
const placesEveryMs = 5_000;

/** What an observer remembers, in milliseconds of its own monotonic clock. */
export type Observer = {
  /** The counter of each worker, and since when it has stood there. */
  sightings: Map<string, { beats: number; since: number }>;
  lookedAt: number;
};

/** Two looks further apart than this have not seen what happened between them. */
const lookGapMs = 2 * beatEveryMs;

export function createRescue(deps: RescueDeps): Rescue {
  const observer: Observer = { sightings: new Map(), lookedAt: deps.clock.monotonic() };
  const loops = [
    loop(deps, beatEveryMs, () => rescueDead(deps, observer)),
    loop(deps, deadlinesEveryMs, () => promote(deps)),
    loop(deps, deadlinesEveryMs, () => endOverdue(deps)),
    loop(deps, placesEveryMs, () => releaseDue(deps)),
  ];
  return {
    start: async () => {
      // One process holds a SQLite folder, so whoever is listed there at start is dead.
      if (deps.db.dialect === "sqlite") {
        for (const { id } of await loadWorkers(deps.db.read)) await takeOver(deps, id);
      }
      for (const each of loops) each.start();
    },
    stop: async () => {
      await Promise.all(loops.map((each) => each.stop()));
    },
  };
}

function loop(deps: RescueDeps, everyMs: number, turn: () => Promise<void>): Loop {
  return createLoop({
    clock: deps.clock,
    everyMs,
    turn,
    onError: (error) => deps.log.error({ err: error }, "a rescue turn failed"),
  });
}

/**
 * Takes over from workers whose counter has stood still for long while this observer looked on. An observer
 * that was cut off itself, or slept, begins anew: nobody could beat while the database was away.
 */
export async function rescueDead(deps: RescueDeps, observer: Observer): Promise<void> {
  const { sightings } = observer;
  const begun = deps.clock.monotonic();
  const workers = await loadWorkers(deps.db.read);
  const now = deps.clock.monotonic();
  if (now - observer.lookedAt > lookGapMs) sightings.clear();
  observer.lookedAt = now;
  const present = new Set(workers.map(({ id }) => id));
  for (const id of sightings.keys()) if (!present.has(id)) sightings.delete(id);
  for (const { id, beats } of workers) {
    const seen = sightings.get(id);
    if (seen === undefined || seen.beats !== beats) {
      sightings.set(id, { beats, since: now });
    } else if (begun - seen.since >= deadAfterMs) {
      await takeOver(deps, id);
      sightings.delete(id);
    }
  }
}

async function takeOver(deps: RescueDeps, workerId: string): Promise<void> {
  const lanes = await deps.db.transaction(async (tx) => {
    // The worker's row goes first: a claim that waits for it comes too late, one before it is seen.
    await deleteWorker(tx, workerId);
    return freeTasks(tx, workerId);
  });
  deps.log.warn({ worker: workerId, lanes: lanes.length }, "took over the tasks of a dead worker");
  for (const lane of lanes) deps.watch.ready(lane);
}

async function promote(deps: RescueDeps): Promise<void> {
  const now = deps.clock.now();
  if (!(await hasParkedDue(deps.db.read, now))) return;
  const lanes = await deps.db.transaction((tx) => promoteParked(tx, now, batchMax));
  for (const lane of lanes) deps.watch.ready(lane);
}

async function releaseDue(deps: RescueDeps): Promise<void> {
  const released = await releaseDuePlaces(deps, batchMax);
  if (released > 0) deps.log.info({ released }, "gave back the places of unknown attempts");
}

/** A task that cannot be ended is reported, and does not keep the others from their end. */
async function endOverdue(deps: RescueDeps): Promise<void> {
  const overdue = await loadOverdue(deps.db.read, deps.clock.now(), batchMax);
  for (const task of overdue) {
    try {
      await failTask(deps, task, { code: "generation_timeout" });
    } catch (error) {
      deps.log.error({ err: error, task: task.id }, "an overdue task could not be ended");
    }
  }
}
