/**
 * This process among those that serve the same database. It raises a counter in a row of its own, sees by
 * the counters of the others how many serve the API, and keeps its clock by the database's. On SQLite
 * there is one process, and nothing to do.
 */
import { measureClockOffset } from "../db/clock-offset.ts";
import type { Database } from "../db/database.ts";
import type { Ids } from "../lib/ids.ts";
import type { Log } from "../lib/log.ts";
import { createLoop } from "../lib/loop.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import type { AdjustableClock } from "../lib/time.ts";
import { beatEveryMs, deadAfterMs } from "./lease.ts";
import { deleteNode, insertNode, loadNodes, raiseNodeBeat } from "./node-store.ts";

export type Node = {
  /** Sets the clock right and joins; rejects when the database cannot be reached. */
  start(): Promise<void>;
  /** Leaves, so that the others need not wait until it counts as dead. */
  stop(): Promise<void>;
  /** Nodes that serve the API now, this one included; at least 1. */
  liveApiNodes(): number;
};

export type NodeDeps = { db: Database; clock: AdjustableClock; ids: Ids; log: Log };

/** The row of a node that was killed is removed by the others after this long. */
const forgottenAfterMs = 10 * minuteMs;
/** A clock that is further off is worth a word to the operator. */
const offsetWorthTellingMs = 2 * secondMs;

/** A counter, and since when it has stood there by this machine's monotonic clock. */
type Sighting = { beats: number; since: number; isApi: boolean };

export function createNode(deps: NodeDeps, { isApi }: { isApi: boolean }): Node {
  const { db, clock, ids, log } = deps;
  const sightings = new Map<string, Sighting>();
  let id = ids("node");

  async function join(): Promise<void> {
    const row = { id, is_api: isApi ? 1 : 0, beats: 0, started_at: clock.now() };
    await db.transaction((tx) => insertNode(tx, row));
  }

  async function beat(): Promise<void> {
    await setClock(deps);
    if (!(await db.transaction((tx) => raiseNodeBeat(tx, id)))) {
      id = ids("node");
      await join();
    }
    await look(deps, sightings);
  }

  const beating = createLoop({
    clock,
    everyMs: beatEveryMs,
    turn: beat,
    onError: (error) => log.warn({ err: error }, "the node could not tell that it lives"),
  });
  const isAlone = db.dialect === "sqlite";
  return {
    start: async () => {
      if (isAlone) return;
      await setClock(deps);
      await join();
      await look(deps, sightings);
      beating.start();
    },
    stop: async () => {
      if (isAlone) return;
      await beating.stop();
      await db.transaction((tx) => deleteNode(tx, id));
    },
    liveApiNodes: () => Math.max(1, countLive(sightings, clock.monotonic())),
  };
}

/** Moves the clock to the database's, unless it stands there as far as one can tell. */
export async function setClock({ db, clock, log }: Omit<NodeDeps, "ids">): Promise<void> {
  const { offsetMs, uncertaintyMs } = await measureClockOffset(db, clock);
  if (Math.abs(offsetMs) <= uncertaintyMs) return;
  clock.adjustBy(offsetMs);
  if (Math.abs(offsetMs) < offsetWorthTellingMs) return;
  log.warn({ offsetMs }, "this machine's clock differs from the database's, which is used");
}

async function look({ db, clock }: NodeDeps, sightings: Map<string, Sighting>): Promise<void> {
  const nodes = await loadNodes(db.read);
  const now = clock.monotonic();
  const present = new Set(nodes.map(({ id }) => id));
  for (const id of sightings.keys()) if (!present.has(id)) sightings.delete(id);
  for (const { id, beats, is_api: isApi } of nodes) {
    const seen = sightings.get(id);
    if (seen === undefined || seen.beats !== beats) {
      sightings.set(id, { beats, since: now, isApi: isApi === 1 });
    } else if (now - seen.since >= forgottenAfterMs) {
      await db.transaction((tx) => deleteNode(tx, id));
    }
  }
}

/** While the database is away nobody's counter moves: what was known last then holds for a while. */
function countLive(sightings: ReadonlyMap<string, Sighting>, now: number): number {
  const isLive = ({ since, isApi }: Sighting): boolean => isApi && now - since < deadAfterMs;
  return [...sightings.values()].filter(isLive).length;
}
