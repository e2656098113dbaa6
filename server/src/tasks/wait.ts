/**
 * Waiting for tasks. Whoever waits is woken by `watch.ts`, and all who wait for the same view of a task
 * share one read of it. A wake-up can be lost (another process moved the task, or a read failed), so
 * while anybody waits the revisions of all waited tasks are compared every few seconds, many a statement.
 */
import type { Database } from "../db/database.ts";
import type { Log } from "../lib/log.ts";
import type { Clock } from "../lib/time.ts";
import type { ReadInput, ReadTask, TaskText } from "./read.ts";
import { loadRevisions } from "./wait-store.ts";
import type { Watch } from "./watch.ts";

/**
 * Is shown a task as it stands now and after every change, sometimes twice the same; null when nothing
 * more will come: the task is not kept any longer, or the waiting has been stopped.
 */
export type Follower = (task: TaskText | null) => void;

export type WaitOptions = {
  waitMs: number;
  /** The wait is over when the task is newer than this; without one, when it has ended. */
  revision?: number;
  /** Aborts when nobody wants the answer any more. */
  signal?: AbortSignal;
};

/** The task as it stands when the wait is over; null as for a read. */
export type WaitForTask = (input: ReadInput, options: WaitOptions) => Promise<TaskText | null>;

/** Calls `follower` until the task has ended or the returned function is called. */
export type FollowTask = (input: ReadInput, follower: Follower) => () => void;

export type Waiters = {
  waitForTask: WaitForTask;
  followTask: FollowTask;
  /** Ends every wait with the task as it stands, and every later one at once. */
  stop(): void;
  /** Views of tasks that are waited for. */
  readonly waiting: number;
};

export type WaitDeps = {
  db: Database;
  clock: Clock;
  log: Log;
  watch: Watch;
  readTask: ReadTask;
};

/** How late a change is noticed whose wake-up was lost, in milliseconds. */
const lookEveryMs = 2_000;
const revisionsALook = 200;

/** One view of a task, and everybody who waits for it. */
type Topic = {
  input: ReadInput;
  followers: Set<Follower>;
  /** Of what was shown last; 0 before. */
  revision: number;
  isReading: boolean;
  /** The task has changed since the read under way began. */
  isStale: boolean;
  unwatch(): void;
};

type State = {
  topics: Map<string, Topic>;
  isStopped: boolean;
  /** Calls the next look off; null while none is due. */
  cancelLook: (() => void) | null;
  isLooking: boolean;
};

export function createWaiters(deps: WaitDeps): Waiters {
  const state: State = { topics: new Map(), isStopped: false, cancelLook: null, isLooking: false };
  const followTask: FollowTask = (input, follower) => follow(deps, state, input, follower);
  return {
    waitForTask: async (input, options) => {
      const seen = await untilSeen(deps.clock, (follower) => followTask(input, follower), options);
      return seen ?? deps.readTask(input);
    },
    followTask,
    stop: () => {
      state.isStopped = true;
      state.cancelLook?.();
      for (const topic of state.topics.values()) show(state, topic, null);
    },
    get waiting() {
      return state.topics.size;
    },
  };
}

/** What the caller waits for, or null when it has not come: time is up, the caller has left, or all must stop. */
function untilSeen(
  clock: Clock,
  start: (follower: Follower) => () => void,
  { waitMs, revision = Infinity, signal }: WaitOptions,
): Promise<TaskText | null> {
  if (waitMs <= 0 || signal?.aborted === true) return Promise.resolve(null);
  return new Promise((resolve) => {
    const giveUp = (): void => end(null);
    const cancel = clock.after(waitMs, giveUp);
    const stop = start((task) => {
      if (task === null || task.ended || task.revision > revision) end(task);
    });
    signal?.addEventListener("abort", giveUp, { once: true });
    function end(task: TaskText | null): void {
      cancel();
      stop();
      signal?.removeEventListener("abort", giveUp);
      resolve(task);
    }
  });
}

function follow(deps: WaitDeps, state: State, input: ReadInput, follower: Follower): () => void {
  if (state.isStopped) {
    queueMicrotask(() => follower(null));
    return () => undefined;
  }
  const key = `${input.taskId} ${input.accountId} ${input.mode} ${input.language}`;
  const topic = state.topics.get(key) ?? open(deps, state, key, input);
  topic.followers.add(follower);
  lookLater(deps, state);
  void showFirst(deps, state, topic, follower);
  return () => {
    topic.followers.delete(follower);
    if (topic.followers.size === 0) close(state, topic);
  };
}

function open(deps: WaitDeps, state: State, key: string, input: ReadInput): Topic {
  const { accountId, mode, taskId, language } = input;
  const topic: Topic = {
    // A copy, because callers pass objects that hold much more.
    input: { accountId, mode, taskId, language },
    followers: new Set(),
    revision: 0,
    isReading: false,
    isStale: false,
    unwatch: () => undefined,
  };
  const stop = deps.watch.onChanged(taskId, () => void refresh(deps, state, topic));
  topic.unwatch = () => {
    stop();
    if (state.topics.get(key) === topic) state.topics.delete(key);
  };
  state.topics.set(key, topic);
  return topic;
}

function close(state: State, topic: Topic): void {
  topic.followers.clear();
  topic.unwatch();
  if (state.topics.size > 0) return;
  state.cancelLook?.();
  state.cancelLook = null;
}

/** Reads for a newcomer alone: the others have been shown all there was. */
async function showFirst(
  deps: WaitDeps,
  state: State,
  topic: Topic,
  follower: Follower,
): Promise<void> {
  const task = await read(deps, topic);
  if (task === undefined || !topic.followers.has(follower)) return;
  if (task === null || task.ended) {
    show(state, topic, task);
    return;
  }
  topic.revision = Math.max(topic.revision, task.revision);
  follower(task);
}

async function refresh(deps: WaitDeps, state: State, topic: Topic): Promise<void> {
  topic.isStale = true;
  if (topic.isReading) return;
  topic.isReading = true;
  while (topic.isStale && topic.followers.size > 0) {
    topic.isStale = false;
    const task = await read(deps, topic);
    if (task !== undefined) show(state, topic, task);
  }
  topic.isReading = false;
}

/** Undefined when the read failed: the next look comes back to it. */
async function read(deps: WaitDeps, topic: Topic): Promise<TaskText | null | undefined> {
  try {
    return await deps.readTask(topic.input);
  } catch (error) {
    deps.log.warn({ err: error, task: topic.input.taskId }, "a waited task could not be read");
    return undefined;
  }
}

/** Shows a task to all who wait for it, and lets them go when nothing more will come. */
function show(state: State, topic: Topic, task: TaskText | null): void {
  const followers = [...topic.followers];
  if (task === null || task.ended) close(state, topic);
  else topic.revision = Math.max(topic.revision, task.revision);
  for (const follower of followers) follower(task);
}

function lookLater(deps: WaitDeps, state: State): void {
  if (state.cancelLook !== null || state.isLooking) return;
  if (state.topics.size === 0 || state.isStopped) return;
  state.cancelLook = deps.clock.after(lookEveryMs, () => void look(deps, state));
}

async function look(deps: WaitDeps, state: State): Promise<void> {
  state.cancelLook = null;
  state.isLooking = true;
  for (const [accountId, topics] of groupByAccount(state.topics.values())) {
    for (let start = 0; start < topics.length; start += revisionsALook) {
      await compare(deps, state, accountId, topics.slice(start, start + revisionsALook));
    }
  }
  state.isLooking = false;
  lookLater(deps, state);
}

async function compare(
  deps: WaitDeps,
  state: State,
  accountId: string,
  topics: readonly Topic[],
): Promise<void> {
  try {
    const ids = [...new Set(topics.map(({ input }) => input.taskId))];
    const revisions = await loadRevisions(deps.db.read, accountId, ids);
    for (const topic of topics) {
      if (revisions.get(topic.input.taskId) !== topic.revision) void refresh(deps, state, topic);
    }
  } catch (error) {
    deps.log.warn({ err: error }, "waited tasks could not be looked at");
  }
}

function groupByAccount(topics: Iterable<Topic>): Map<string, Topic[]> {
  const groups = new Map<string, Topic[]>();
  for (const topic of topics) {
    const group = groups.get(topic.input.accountId) ?? [];
    group.push(topic);
    groups.set(topic.input.accountId, group);
  }
  return groups;
}
