/** What the parts of the engine share: their dependencies, and the fenced step in which everything is committed. */
import type { Breakers } from "../channels/breaker.ts";
import type { Channels } from "../channels/channels.ts";
import type { Database, Tx } from "../db/database.ts";
import type { PictureProcesses } from "../images/picture.ts";
import type { Egress } from "../lib/egress.ts";
import { AppError } from "../lib/errors.ts";
import type { Gate } from "../lib/gate.ts";
import type { Ids } from "../lib/ids.ts";
import type { Log } from "../lib/log.ts";
import { jitter } from "../lib/random.ts";
import type { Random } from "../lib/random.ts";
import type { Clock } from "../lib/time.ts";
import type { Catalogue } from "../models/catalogue.ts";
import type { Outage } from "../storage/outage.ts";
import type { Spool } from "../storage/spool.ts";
import { StorageError } from "../storage/storage.ts";
import type { Storage } from "../storage/storage.ts";
import type { EndingPorts } from "./finish.ts";
import { fence } from "./queue-store.ts";
import type { Task } from "./task.ts";
import type { Watch } from "./watch.ts";

export type EngineDeps = EndingPorts & {
  db: Database;
  clock: Clock;
  random: Random;
  ids: Ids;
  log: Log;
  storage: Storage;
  pictures: PictureProcesses;
  egress: Egress;
  channels: Channels;
  breakers: Breakers;
  catalogue: Catalogue;
  watch: Watch;
  /** Bounds the reference bytes in memory while requests to vendors are built. */
  requestBytes: Gate;
  /** The same for pictures on their way into the store. */
  storeBytes: Gate;
  /** Where finished pictures wait while the store takes nothing. */
  spool: Pick<Spool, "write" | "read" | "remove" | "isFilling">;
  outage: Outage;
};

/** One task in the hands of this worker. */
export type Run = {
  task: Task;
  workerId: string;
  /** Aborts when the worker stops or the task ends elsewhere: no further wait, poll or attempt. */
  signal: AbortSignal;
  /** False when this worker's lease can no longer be trusted; asked before every send. */
  isTrusted(): boolean;
  /** Called after every committed step, and when the run begins to wait with nothing under way. */
  onStep(): void;
};

/** The task is no longer this worker's, or the worker is stopping. The run ends quietly. */
export class Fenced extends Error {
  constructor(taskId: string) {
    super(`task ${taskId} is no longer held`);
    this.name = "Fenced";
  }
}

/**
 * One committed and durable step of a run. Throws `Fenced`, with nothing written, when the task has
 * ended or belongs to another worker.
 */
export async function commitStep<T>(
  deps: EngineDeps,
  run: Run,
  work: (tx: Tx) => Promise<T>,
): Promise<T> {
  const { accountId, id } = run.task;
  const result = await deps.db.transaction(async (tx) => {
    if (!(await fence(tx, accountId, id, run.workerId))) throw new Fenced(id);
    return work(tx);
  });
  await deps.db.durable();
  run.onStep();
  deps.watch.changed(id);
  return result;
}

/** Sleeps; throws `Fenced` when the run is called off meanwhile. */
export async function pause(deps: Pick<EngineDeps, "clock">, run: Run, ms: number): Promise<void> {
  await deps.clock.sleep(ms, run.signal);
  if (run.signal.aborted) throw new Fenced(run.task.id);
}

/** `work` with the run as it is until the task's deadline, which calls it off too. */
export async function untilDeadline<T>(
  { clock }: Pick<EngineDeps, "clock">,
  run: Run,
  work: (bounded: Run) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const cancel = clock.after(run.task.deadlineAt - clock.now(), () => late.abort());
  try {
    return await work({ ...run, signal: AbortSignal.any([run.signal, late.signal]) });
  } finally {
    cancel();
  }
}

const outlastPauseMs = 1_000;

/**
 * The result of `work`, repeated while our own storage fails or our own parts are overloaded: neither
 * is a reason to give a task up before its deadline. Throws `Fenced` when the run is called off.
 */
export async function outlast<T>(deps: EngineDeps, run: Run, work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof StorageError) {
        deps.log.error({ err: error, task: run.task.id }, "the storage failed; trying again");
        // Others may know that it takes nothing: then it is asked on behalf of all.
        await deps.outage.untilOver(run.signal);
      } else if (!(error instanceof AppError)) {
        throw error;
      }
    }
    await pause(deps, run, jitter(deps.random, outlastPauseMs, 0.5));
  }
}
