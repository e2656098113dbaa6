/**
 * Claims ready tasks and runs them. A worker is one incarnation: a fresh id at every start and after
 * every lost lease, so that nothing it did before can be mistaken for what it does now.
 */
import type { Mode } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import { createLoop } from "../lib/loop.ts";
import type { Loop } from "../lib/loop.ts";
import { claimTasks } from "./claim.ts";
import { Fenced } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { createLease } from "./lease.ts";
import type { Lease } from "./lease.ts";
import { failTask } from "./fail.ts";
import { fence, parkClaim, releaseClaims } from "./queue-store.ts";
import { runTask } from "./run.ts";
import { countFreePlaces } from "./routing.ts";
import { laneOf, parseLane, resumeLane } from "./task.ts";
import type { Task } from "./task.ts";

export type WorkerOptions = {
  /** Tasks in hand at once; the rest stay in the queue. */
  tasksMax: number;
};

export type Worker = {
  start(): Promise<void>;
  /** Claims nothing more, waits for calls that may already be paid for, gives the tasks back. */
  stop(): Promise<void>;
  readonly tasksInHand: number;
};

/** A hint that a lane has work can be lost; every lane is looked at this often. */
const claimEveryMs = 1_000;
/** Tasks that have been claimed but have not committed a step: few, so that a crash is blamed on few. */
const startingMax = 64;
/** Claims without a committed step after which a task is not run again. */
const claimsMax = 5;
const retryAfterErrorMs = 2_000;

type State = {
  deps: EngineDeps;
  options: WorkerOptions;
  lease: Lease;
  lanes: Set<string>;
  /** Lanes whose tasks wait for a place at a channel. */
  full: Set<string>;
  runs: Map<string, { controller: AbortController; done: Promise<void> }>;
  claiming: Loop;
};

export function createWorker(deps: EngineDeps, options: WorkerOptions): Worker {
  const runs: State["runs"] = new Map();
  const state: State = {
    deps,
    options,
    lanes: new Set(),
    full: new Set(),
    runs,
    lease: createLease(deps, {
      onLost: () => {
        for (const { controller } of runs.values()) controller.abort();
      },
    }),
    claiming: createLoop({
      clock: deps.clock,
      everyMs: claimEveryMs,
      turn: (signal) => claimReady(state, signal),
      onError: (error) => deps.log.error({ err: error }, "claiming failed"),
    }),
  };
  let unwatch: readonly (() => void)[] = [];
  return {
    start: async () => {
      await state.lease.start();
      const look = (lanes: Iterable<string>): void => {
        for (const lane of lanes) state.lanes.add(lane);
        if (runs.size < options.tasksMax) state.claiming.nudge();
      };
      unwatch = [
        deps.watch.onReady((lane) => look([lane])),
        deps.watch.onPlaceFreed(() => {
          if (state.full.size > 0) look(state.full);
        }),
      ];
      state.claiming.start();
    },
    stop: async () => {
      for (const stopWatching of unwatch) stopWatching();
      await state.claiming.stop();
      for (const { controller } of runs.values()) controller.abort();
      await Promise.all([...runs.values()].map(({ done }) => done));
      try {
        await deps.db.transaction((tx) => releaseClaims(tx, state.lease.workerId()));
      } finally {
        await state.lease.stop();
      }
    },
    get tasksInHand() {
      return runs.size;
    },
  };
}

async function claimReady(state: State, signal: AbortSignal): Promise<void> {
  const { deps, options, lease } = state;
  const hinted = [...state.lanes];
  state.lanes.clear();
  const lanes = hinted.length > 0 ? hinted : allLanes(deps);
  for (const lane of lanes) {
    const room = Math.min(startingMax, options.tasksMax - state.runs.size);
    if (room <= 0) return;
    // New pictures could soon not be kept; what is under way may be paid for, and is looked after.
    if (deps.spool.isFilling && lane !== resumeLane) continue;
    const limit = Math.min(room, await countPlaces(deps, lane));
    // Looked at again as soon as this process frees a place; places that others free are seen by the timer.
    if (limit < room) state.full.add(lane);
    else state.full.delete(lane);
    if (limit <= 0) continue;
    const workerId = lease.workerId();
    const claimed = await claimTasks(deps.db, { lane, workerId, limit });
    if (claimed.length === room) state.lanes.add(lane);
    const begun = claimed.map((claim) => begin(state, workerId, claim));
    await untilBegun(deps, begun, signal);
  }
  if (state.lanes.size > 0) state.claiming.nudge();
}

/** Waits until every run has committed a step, but not for long: one slow start holds up no lane. */
async function untilBegun(
  { clock }: EngineDeps,
  begun: readonly Promise<void>[],
  signal: AbortSignal,
): Promise<void> {
  const enough = new AbortController();
  const patience = clock.sleep(claimEveryMs, AbortSignal.any([signal, enough.signal]));
  await Promise.race([Promise.all(begun), patience]);
  enough.abort();
}

function allLanes(deps: EngineDeps): string[] {
  const modes: readonly Mode[] = ["live", "test"];
  const lanes = deps.catalogue
    .list()
    .flatMap(({ id }) =>
      modes.filter((mode) => deps.channels.serves(id, mode)).map((mode) => laneOf(id, mode)),
    );
  return [resumeLane, ...lanes];
}

/** How many tasks of a lane have a place to go to. */
async function countPlaces(deps: EngineDeps, lane: string): Promise<number> {
  const named = parseLane(lane);
  return named === null ? Number.POSITIVE_INFINITY : countFreePlaces(deps, named);
}

/** Starts one claimed task; resolves once it has committed a step or is over. */
function begin(
  state: State,
  workerId: string,
  { task, claims }: { task: Task; claims: number },
): Promise<void> {
  const { deps, lease, runs } = state;
  const controller = new AbortController();
  const started = Promise.withResolvers<void>();
  const run: Run = {
    task,
    workerId,
    signal: controller.signal,
    isTrusted: () => lease.isTrusted(workerId),
    onStep: started.resolve,
  };
  // A cancellation or deadline that ends the task elsewhere also ends what is under way here.
  const unwatch = deps.watch.onEnded(task.id, () => controller.abort());
  const work = claims >= claimsMax ? quarantine(deps, task) : runTask(deps, run);
  const done = work
    .catch((error: unknown) => giveBack(state, run, error))
    .finally(() => {
      unwatch();
      // After a lost lease the task may be in hand again, in another run.
      if (runs.get(task.id)?.controller === controller) runs.delete(task.id);
      started.resolve();
      if (runs.size === state.options.tasksMax - 1) state.claiming.nudge();
    });
  runs.set(task.id, { controller, done });
  return started.promise;
}

async function quarantine(deps: EngineDeps, task: Task): Promise<void> {
  deps.log.error({ task: task.id }, "the task was claimed five times without a step; it is ended");
  await failTask(deps, task, { code: "internal_error" });
}

/**
 * A run that failed for a reason of ours: the task goes back to the queue. Its claim is counted, unless the
 * reason is that we are busy. A run that was called off leaves its task to whoever called it off.
 */
async function giveBack({ deps }: State, run: Run, error: unknown): Promise<void> {
  if (error instanceof Fenced || run.signal.aborted) return;
  const isBusy = error instanceof AppError;
  if (!isBusy) deps.log.error({ err: error, task: run.task.id }, "a run failed");
  while (!run.signal.aborted) {
    try {
      await park(deps, run, isBusy);
      return;
    } catch (failure) {
      deps.log.error({ err: failure, task: run.task.id }, "a task could not be given back yet");
      await deps.clock.sleep(retryAfterErrorMs, run.signal);
    }
  }
}

async function park(deps: EngineDeps, { task, workerId }: Run, isBusy: boolean): Promise<void> {
  const until = deps.clock.now() + retryAfterErrorMs;
  await deps.db.transaction(async (tx) => {
    // The fence forgets the claims so far.
    if (isBusy) await fence(tx, task.accountId, task.id, workerId);
    await parkClaim(tx, task, workerId, until);
  });
}
