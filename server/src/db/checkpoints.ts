import { once } from "node:events";
import type { DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";

import type { Log } from "../lib/log.ts";
import type { CheckpointReply, CheckpointRequest } from "./checkpoint-worker.ts";

/** Keeps the write-ahead log small without stopping the event loop. */
export type Checkpoints = {
  /** Looks, now and then, whether the log has grown enough. */
  addCommit(): void;
  /** Resolves when no checkpoint runs and the thread has ended. */
  close(): Promise<void>;
};

export type CheckpointDeps = {
  path: string;
  /** The connection that writes. */
  database: DatabaseSync;
  /** Runs `work` while no transaction writes. */
  whileIdle(work: () => Promise<void>): Promise<void>;
  log: Log;
  onFatal(error: Error): void;
  limits?: CheckpointLimits;
};

export type CheckpointLimits = {
  /** Pages of 4 KiB in the log that are worth a checkpoint. */
  pagesMin: number;
  /**
   * Pages in the log above which writers wait for one checkpoint: SQLite starts the log over only when all
   * of it has been moved, which under constant writing never happens by itself.
   */
  pagesMax: number;
};

/** 4 MiB and 32 MiB. */
const limitsDefault: CheckpointLimits = { pagesMin: 1_000, pagesMax: 8_000 };

/** Commits between two looks at the log; a look costs 3 µs. */
const lookEvery = 8;

/** Should the thread fail, SQLite itself checkpoints at this many pages, on the thread that commits. */
export const fallbackPages = 16_000;

export function createCheckpoints(deps: CheckpointDeps): Checkpoints {
  const { pagesMin, pagesMax } = deps.limits ?? limitsDefault;
  const status = deps.database.prepare("pragma wal_checkpoint(noop)");
  let commits = 0;
  let thread: Worker | null = null;
  let running: Promise<void> | null = null;
  let isDisabled = false;

  /** Pages in the log, and how many of them are in the database file already. */
  function readStatus(): { pages: number; moved: number } {
    const row = status.get();
    return { pages: Number(row?.["log"]), moved: Number(row?.["checkpointed"]) };
  }

  async function checkpoint(): Promise<void> {
    thread ??= startThread(deps.path);
    const { error, isStorageFailure } = await ask(thread);
    if (error === null) return;
    if (isStorageFailure) deps.onFatal(new Error(`a checkpoint of the database failed: ${error}`));
    throw new Error(`a checkpoint of the database failed: ${error}`);
  }

  async function run(): Promise<void> {
    try {
      await checkpoint();
      if (readStatus().pages > pagesMax) await deps.whileIdle(checkpoint);
    } catch (error) {
      isDisabled = true;
      void thread?.terminate();
      thread = null;
      deps.log.error({ err: error }, "checkpoints run on the main thread from now on");
    } finally {
      running = null;
    }
  }

  return {
    addCommit: () => {
      commits += 1;
      if (commits % lookEvery !== 0 || running !== null || isDisabled) return;
      const { pages, moved } = readStatus();
      if (pages - moved >= pagesMin) running = run();
    },
    close: async () => {
      isDisabled = true;
      await running;
      const last = thread;
      thread = null;
      if (last !== null) await stopThread(last);
    },
  };
}

function startThread(path: string): Worker {
  const thread = new Worker(new URL("./checkpoint-worker.ts", import.meta.url), {
    workerData: path,
    name: "checkpoints",
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 },
  });
  thread.unref();
  // Without a listener a thread that breaks while nobody asks it would end the process; the next request
  // finds that out.
  thread.on("error", () => undefined);
  return thread;
}

async function ask(thread: Worker): Promise<CheckpointReply> {
  // A thread that breaks emits `error`, which rejects here.
  send(thread, "checkpoint");
  const [reply] = (await once(thread, "message")) as [CheckpointReply];
  return reply;
}

async function stopThread(thread: Worker): Promise<void> {
  // Without a reference the process could end before the thread has closed its connection.
  thread.ref();
  const ended = once(thread, "exit");
  send(thread, "close");
  await ended;
}

function send(thread: Worker, request: CheckpointRequest): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- windows have origins, threads do not
  thread.postMessage(request);
}
