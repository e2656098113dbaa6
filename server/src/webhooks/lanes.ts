/**
 * What this process knows of each origin (scheme, host and port): how many deliveries are on their way to
 * it, and whether it answers. After ten failures in a row nothing is sent to it for a while; then one
 * delivery tries it, and its outcome decides for all others. Nobody waits for another origin.
 */
import type { Clock } from "../lib/time.ts";
import { minuteMs, secondMs } from "../lib/time.ts";

export type Lanes = {
  /** How many deliveries may leave for this origin now. */
  room(origin: string): number;
  /** Whether anything is on its way to this origin. */
  isBusy(origin: string): boolean;
  /** Takes places; `room` was asked just before. */
  enter(origin: string, count: number): void;
  /** Gives one back. `isHealthy` is null when the origin was not reached by choice of ours. */
  leave(origin: string, isHealthy: boolean | null): void;
};

type Lane = { active: number; failures: number; closedUntil: number; pauseMs: number };

/** Deliveries on their way to one origin at the same time. */
export const perOriginMax = 4;
const failuresMax = 10;
const firstPauseMs = 30 * secondMs;
const pauseMsMax = 10 * minuteMs;
/** Origins remembered as failing; the one that failed first is forgotten and gets a fresh start. */
const lanesMax = 10_000;

export function createLanes({ clock }: { clock: Pick<Clock, "monotonic"> }): Lanes {
  const lanes = new Map<string, Lane>();
  const find = (origin: string): Lane =>
    lanes.get(origin) ?? { active: 0, failures: 0, closedUntil: 0, pauseMs: firstPauseMs };
  return {
    room: (origin) => {
      const { active, failures, closedUntil } = find(origin);
      if (failures < failuresMax) return perOriginMax - active;
      return clock.monotonic() >= closedUntil && active === 0 ? 1 : 0;
    },
    isBusy: (origin) => find(origin).active > 0,
    enter: (origin, count) => {
      const lane = find(origin);
      lane.active += count;
      lanes.set(origin, lane);
    },
    leave: (origin, isHealthy) => {
      const lane = find(origin);
      lane.active -= 1;
      if (isHealthy === true) reset(lane);
      if (isHealthy === false) fail(lane, clock.monotonic());
      if (lane.active === 0 && lane.failures === 0) lanes.delete(origin);
      if (lanes.size > lanesMax) forgetOne(lanes);
    },
  };
}

function reset(lane: Lane): void {
  lane.failures = 0;
  lane.pauseMs = firstPauseMs;
}

function fail(lane: Lane, now: number): void {
  lane.failures += 1;
  if (lane.failures < failuresMax) return;
  // Those that were on their way when it closed do not lengthen the pause.
  if (lane.failures > failuresMax && now < lane.closedUntil) return;
  lane.closedUntil = now + lane.pauseMs;
  lane.pauseMs = Math.min(2 * lane.pauseMs, pauseMsMax);
}

function forgetOne(lanes: Map<string, Lane>): void {
  for (const [origin, { active }] of lanes) {
    if (active > 0) continue;
    lanes.delete(origin);
    return;
  }
}
