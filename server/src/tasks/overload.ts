/**
 * Refuses new work while there is more than can be done in time. What it goes by is measured once a
 * second beside the requests, so that a submit on a quiet server only reads a few numbers. Polls are
 * never refused, and neither are repeats of a known idempotency key: they are answered before.
 */
import type { Database } from "../db/database.ts";
import type { DiskRoom } from "../lib/disk-room.ts";
import { AppError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { createLoop } from "../lib/loop.ts";
import type { Clock } from "../lib/time.ts";
import { secondMs } from "../lib/time.ts";
import { findAccountWaitingSince, findWaitingSince } from "./backlog-store.ts";

export type OverloadDeps = {
  db: Database;
  clock: Clock;
  log: Log;
  /** How late the event loop is, in milliseconds. */
  readLoopDelay(): number;
  /** Where the database and the pictures are kept; null where nobody can tell. */
  readDiskRoom(): Promise<DiskRoom | null>;
  /** From submit to the latest end of a task, in milliseconds. */
  deadlineMs: number;
};

export type Overload = {
  start(): void;
  stop(): Promise<void>;
  /** Throws `overloaded` while the process or its disk can take no more. */
  assertAccepting(): void;
  /**
   * Null while nothing in the lane has waited for long. Else rejects with `overloaded` when the account's
   * own tasks there have: new ones would wait at least as long, and not be made before their deadline.
   */
  checkBacklog(lane: string, accountId: string): Promise<void> | null;
};

const measureEveryMs = secondMs;
const loopDelayMsMax = 300;
/** Less is nearly full; of a small disk a twentieth. */
const freeBytesMin = 2 ** 30;
const freeShareMin = 0.05;
/** Share of the deadline after which a task that still waits says that the next one will be late. */
const waitShareMax = 0.5;
/** Lanes are looked at for as long after their last submit; they are as few as models and modes. */
const laneKeptMs = 30 * secondMs;

type State = {
  /** Why nothing is accepted, in words; null while it is. */
  refusal: string | null;
  /** Last submit of each lane, by the monotonic clock. */
  lanes: Map<string, number>;
  backedUp: ReadonlySet<string>;
};

export function createOverload(deps: OverloadDeps): Overload {
  const state: State = { refusal: null, lanes: new Map(), backedUp: new Set() };
  const loop = createLoop({
    clock: deps.clock,
    everyMs: measureEveryMs,
    turn: () => measure(deps, state),
    onError: (error) => deps.log.warn({ err: error }, "the load could not be measured"),
  });
  return {
    start: () => loop.start(),
    stop: () => loop.stop(),
    assertAccepting: () => {
      if (state.refusal !== null) throw overloaded(state.refusal, 2);
    },
    checkBacklog: (lane, accountId) => {
      state.lanes.set(lane, deps.clock.monotonic());
      return state.backedUp.has(lane) ? checkAccount(deps, lane, accountId) : null;
    },
  };
}

async function measure(deps: OverloadDeps, state: State): Promise<void> {
  const refusal = describeRefusal(deps.readLoopDelay(), await deps.readDiskRoom());
  if (refusal !== state.refusal) {
    deps.log.warn(
      { refusal },
      refusal === null ? "new work is accepted again" : "new work is refused",
    );
  }
  state.refusal = refusal;
  state.backedUp = await findBackedUp(deps, state.lanes);
}

function describeRefusal(loopDelayMs: number, room: DiskRoom | null): string | null {
  if (room !== null && room.free < Math.min(freeBytesMin, room.total * freeShareMin)) {
    return "the server's disk is nearly full";
  }
  if (loopDelayMs > loopDelayMsMax)
    return "the server has more requests than it can answer in time";
  return null;
}

async function findBackedUp(
  { db, clock, deadlineMs }: OverloadDeps,
  lanes: Map<string, number>,
): Promise<ReadonlySet<string>> {
  const backedUp = new Set<string>();
  for (const [lane, submittedAt] of lanes) {
    if (clock.monotonic() - submittedAt > laneKeptMs) {
      lanes.delete(lane);
      continue;
    }
    const since = await findWaitingSince(db.read, lane);
    if (since !== null && isLate(clock.now() - since, deadlineMs)) backedUp.add(lane);
  }
  return backedUp;
}

async function checkAccount(
  { db, clock, deadlineMs }: OverloadDeps,
  lane: string,
  accountId: string,
): Promise<void> {
  const since = await findAccountWaitingSince(db.read, lane, accountId);
  const waitedMs = since === null ? 0 : clock.now() - since;
  if (!isLate(waitedMs, deadlineMs)) return;
  const waitedSeconds = Math.floor(waitedMs / secondMs);
  throw overloaded(
    `this account's tasks of the model have been waiting for ${waitedSeconds} s, and another one would ` +
      "hardly be made in time",
    // By then the queue has moved by what now stands beyond the bound, if it moves at all.
    Math.max(5, Math.ceil((waitedMs - deadlineMs * waitShareMax) / secondMs)),
  );
}

function isLate(waitedMs: number, deadlineMs: number): boolean {
  return waitedMs > deadlineMs * waitShareMax;
}

function overloaded(why: string, retryAfterSeconds: number): AppError {
  return new AppError(
    "overloaded",
    `${why}; nothing was run, try again in ${retryAfterSeconds} s`,
    {
      retryAfterSeconds,
    },
  );
}
