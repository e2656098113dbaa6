/**
 * Removes objects that no row names: a process that dies between a write and its commit leaves one, and pictures
 * of callers are not kept for ever. Only what is older than anything may become is looked at, and nothing is
 * removed from a store in which another installation keeps its own.
 */
import type { Database } from "../db/database.ts";
import { findNamedObjects } from "../images/store.ts";
import type { Log } from "../lib/log.ts";
import { createLoop } from "../lib/loop.ts";
import type { Loop } from "../lib/loop.ts";
import { hourMs, minuteMs, secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import type { Storage } from "../storage/storage.ts";

export type OrphanDeps = {
  db: Database;
  clock: Clock;
  storage: Pick<Storage, "list" | "claim" | "removeMany">;
  log: Log;
  /** Of this installation, the same for all of its nodes. */
  owner: string;
  /** Longer than any object lives by the settings, in milliseconds. */
  ageMs: number;
};

/** A start has better things to do, and most restarts are not the first of a day. */
const firstAfterMs = 10 * minuteMs;
const pageEveryMs = 10 * secondMs;
const passEveryMs = 24 * hourMs;
const againAfterErrorMs = hourMs;

/** Goes through the whole store once a day, a page at a time. */
export function createOrphanSweeper(deps: OrphanDeps): Loop {
  let hasBegun = false;
  let after: string | null = null;
  return createLoop({
    clock: deps.clock,
    everyMs: againAfterErrorMs,
    turn: async () => {
      if (!hasBegun) {
        hasBegun = true;
        return firstAfterMs;
      }
      after = await sweepOrphans(deps, after);
      return after === null ? passEveryMs : pageEveryMs;
    },
    onError: (error) => deps.log.error({ err: error }, "orphans could not be looked for"),
  });
}

/** One page; gives where to go on, null at the end. */
export async function sweepOrphans(deps: OrphanDeps, after: string | null): Promise<string | null> {
  const { db, clock, storage, log, owner, ageMs } = deps;
  const owners = await storage.claim(owner);
  if (owners.some((one) => one !== owner)) {
    log.warn({ owners }, "the storage is shared with another installation; orphans stay");
    return null;
  }
  const { objects, next } = await storage.list(after);
  const before = clock.now() - ageMs;
  const old = objects.filter(({ modifiedAt }) => modifiedAt < before).map(({ name }) => name);
  if (old.length === 0) return next;
  const named = await findNamedObjects(db.read, old);
  const orphans = old.filter((name) => !named.has(name));
  if (orphans.length === 0) return next;
  const left = await storage.removeMany(orphans);
  const removed = orphans.length - left.length;
  log.warn({ removed, left: left.length }, "removed objects that no row named");
  return next;
}
