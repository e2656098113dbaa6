/**
 * Sends what the outbox holds. Every process may run one: events are taken and deliveries leased by
 * guarded updates, so each is sent by one of them; a delivery whose sender dies is due again when its
 * lease ends. Receivers are told at least once, in no order.
 *
 * What must stay true: an origin that hangs, fails or has thousands of deliveries waiting costs the others
 * nothing. Work is found by origin, at most `perOriginMax` deliveries of one are under way, and none of one
 * that has just failed many times.
 */
import { AppError } from "../lib/errors.ts";
import type { Ids } from "../lib/ids.ts";
import { createLoop } from "../lib/loop.ts";
import type { Loop } from "../lib/loop.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { deliver } from "./deliver.ts";
import type { DeliverDeps } from "./deliver.ts";
import { claimDeliveries, listDueOrigins } from "./delivery-store.ts";
import { listPendingEventIds } from "./event-store.ts";
import { expandEvents } from "./expand.ts";
import { createLanes } from "./lanes.ts";
import type { Lanes } from "./lanes.ts";

export type DelivererDeps = DeliverDeps & { ids: Ids };

export type Deliverer = {
  start(): void;
  /** Tells that the outbox has something new. Cheap to call often. */
  nudge(): void;
  /** Tells that a delivery to this origin is due at once. */
  nudgeOrigin(origin: string): void;
  /** Starts nothing more; waits a moment for what is under way, then gives the rest back. */
  stop(): Promise<void>;
};

/** Nudges can be lost, and other processes write events too. */
const lookEveryMs = secondMs;
const eventsBatch = 100;
/** Deliveries under way in this process. */
const sendsMax = 512;
/** Longer than a try can take, with its reads and writes. */
export const leaseMs = minuteMs;
const stopGraceMs = 2 * secondMs;

type State = {
  deps: DelivererDeps;
  lanes: Lanes;
  /** Origins that may have something due, in the order in which they get their turn. */
  ready: Set<string>;
  /** Origins that had more than there was room for. */
  crowded: Set<string>;
  underWay: Set<Promise<void>>;
  sends: number;
  ending: AbortController;
  isStopping: boolean;
};

export function createDeliverer(deps: DelivererDeps): Deliverer {
  const state: State = {
    deps,
    lanes: createLanes(deps),
    ready: new Set(),
    crowded: new Set(),
    underWay: new Set(),
    sends: 0,
    ending: new AbortController(),
    isStopping: false,
  };
  const expanding = createDuty(state, () => expand(state));
  const finding = createDuty(state, () => find(state));
  return {
    start: () => {
      expanding.start();
      finding.start();
    },
    nudge: expanding.nudge,
    nudgeOrigin: (origin) => wake(state, [origin]),
    stop: async () => {
      state.isStopping = true;
      const cancel = deps.clock.after(stopGraceMs, () => state.ending.abort());
      await Promise.all([expanding.stop(), finding.stop()]);
      while (state.underWay.size > 0) await Promise.all(state.underWay);
      cancel();
    },
  };
}

function createDuty({ deps }: State, turn: () => Promise<void>): Loop {
  return createLoop({
    clock: deps.clock,
    everyMs: lookEveryMs,
    turn,
    onError: (error) => report(deps, error),
  });
}

async function expand(state: State): Promise<void> {
  const { db } = state.deps;
  for (;;) {
    const ids = await listPendingEventIds(db.read, eventsBatch);
    if (ids.length === 0) return;
    wake(state, await db.transaction((tx) => expandEvents(tx, state.deps, ids)));
    if (ids.length < eventsBatch || state.isStopping) return;
  }
}

async function find(state: State): Promise<void> {
  const { db, clock } = state.deps;
  wake(state, await listDueOrigins(db.read, clock.now()));
}

function wake(state: State, origins: readonly string[]): void {
  for (const origin of origins) state.ready.add(origin);
  for (const origin of state.ready) {
    const places = sendsMax - state.sends;
    if (places <= 0 || state.isStopping) return;
    state.ready.delete(origin);
    const room = Math.min(state.lanes.room(origin), places);
    if (room > 0) begin(state, origin, room);
    else if (state.lanes.isBusy(origin)) state.crowded.add(origin);
  }
}

/** Takes `room` places of an origin, and gives each back when its delivery, if there is one, has been tried. */
function begin(state: State, origin: string, room: number): void {
  state.lanes.enter(origin, room);
  state.sends += room;
  const work = claimAndSend(state, origin, room).finally(() => state.underWay.delete(work));
  state.underWay.add(work);
}

async function claimAndSend(state: State, origin: string, room: number): Promise<void> {
  const { deps } = state;
  const { db, clock, random } = deps;
  const lease = random.bytes(12).toString("hex");
  let claimed: Awaited<ReturnType<typeof claimDeliveries>> = [];
  try {
    const now = clock.now();
    const claim = { origin, now, limit: room, lease, until: now + leaseMs };
    claimed = await db.transaction((tx) => claimDeliveries(tx, claim));
    // Nobody is told of an end that a power loss could still undo.
    if (claimed.length > 0) await db.durable();
  } catch (error) {
    report(deps, error);
    claimed = [];
  }
  for (let unused = claimed.length; unused < room; unused += 1) leave(state, origin, null);
  // There may be more, or somebody has called meanwhile.
  if (claimed.length === room || state.crowded.delete(origin)) wake(state, [origin]);
  await Promise.all(
    claimed.map(async (delivery) => {
      let isHealthy: boolean | null = null;
      try {
        isHealthy = await deliver(deps, delivery, state.ending.signal);
      } catch (error) {
        // The lease runs out, and then it is tried again.
        report(deps, error);
      } finally {
        leave(state, origin, isHealthy);
        wake(state, state.crowded.delete(origin) ? [origin] : []);
      }
    }),
  );
}

function leave(state: State, origin: string, isHealthy: boolean | null): void {
  state.lanes.leave(origin, isHealthy);
  state.sends -= 1;
}

function report({ log }: DelivererDeps, error: unknown): void {
  if (error instanceof AppError) log.warn({ err: error }, "webhooks wait for the database");
  else log.error({ err: error }, "a webhook could not be handled");
}
