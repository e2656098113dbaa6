import { availableParallelism } from "node:os";
import { AppError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { createSemaphore } from "../lib/semaphore.ts";
import type { Semaphore } from "../lib/semaphore.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import { ProcessEnded, startPictureProcess } from "./picture-process.ts";
import type { PictureProcess } from "./picture-process.ts";
import { PictureError } from "./picture.ts";
import type { PictureInfo, PictureProcesses } from "./picture.ts";
import type { Input, OperationName, Output } from "./protocol.ts";
import { checkHeader } from "./sniff.ts";

export type PictureProcessesLimits = {
  processesMax: number;
  /** Jobs that may wait for a process; more are refused as `overloaded`. */
  waitingMax: number;
  /** Drawings wait in a line of their own, so that they do not keep callers' pictures out. */
  drawingsWaitingMax: number;
  /** Vendors' pictures too: they are paid for, and must not wait behind the sandbox's drawings. */
  outputsWaitingMax: number;
  /** An idle process is stopped after this. */
  idleMs: number;
  /** Deadlines: to load the code, to look at a stranger's picture, to make another one of it, to draw one. */
  startMs: number;
  decodeMs: number;
  convertMs: number;
  drawMs: number;
  /** A process is replaced after so many jobs, or when a job leaves it with so much memory. */
  jobsMax: number;
  rssBytesMax: number;
};

export type PictureProcessesDeps = { clock: Clock; log: Log } & Partial<PictureProcessesLimits>;

/** With the ids of the running processes, for diagnosis. */
export type PicturePool = PictureProcesses & { readonly pids: readonly number[] };

type Pool = {
  deps: PictureProcessesDeps;
  limits: PictureProcessesLimits;
  places: Semaphore;
  drawings: Semaphore;
  outputs: Semaphore;
  alive: Set<PictureProcess>;
  /** The one used last is used first, so that the others can become idle for long. */
  idle: { process: PictureProcess; cancelStop: () => void }[];
  isClosing: boolean;
};

export function createPictureProcesses(deps: PictureProcessesDeps): PicturePool {
  const pool = createPool(deps);
  const byCaller = { deadlineMs: pool.limits.decodeMs, tries: 1 };
  // What ends a process may be the machine's doing, and a picture that is paid for cannot be sent again.
  const paid = { deadlineMs: pool.limits.convertMs, tries: 2 };
  return {
    clean: (bytes, limits) => runCleaning(pool, "clean", { bytes, limits }, byCaller),
    cleanMask: (bytes, limits) => runCleaning(pool, "cleanMask", { bytes, limits }, byCaller),
    inspectMask: (bytes, limits) => runStranger(pool, "inspectMask", { bytes, limits }, byCaller),
    convert: (bytes, limits, conversion) =>
      pool.outputs.run(() => runStranger(pool, "convert", { bytes, limits, conversion }, paid)),
    composite: (bytes, limits, composition) =>
      pool.outputs.run(() => runStranger(pool, "composite", { bytes, limits, composition }, paid)),
    draw: (drawing) => pool.drawings.run(() => runDrawing(pool, drawing)),
    close: () => closePool(pool),
    get pids() {
      return [...pool.alive].flatMap(({ pid }) => pid ?? []);
    },
  };
}

function createPool(deps: PictureProcessesDeps): Pool {
  const limits: PictureProcessesLimits = {
    processesMax: Math.max(1, availableParallelism() - 1),
    waitingMax: 64,
    drawingsWaitingMax: 1_000,
    outputsWaitingMax: 10_000,
    idleMs: 15 * secondMs,
    startMs: 30 * secondMs,
    decodeMs: 10 * secondMs,
    convertMs: minuteMs,
    drawMs: minuteMs,
    jobsMax: 500,
    rssBytesMax: 512 * 2 ** 20,
    ...deps,
  };
  const { processesMax, waitingMax, drawingsWaitingMax, outputsWaitingMax } = limits;
  /** Of each line of our own work, so that one process is left for callers' pictures. */
  const ownMax = Math.max(1, processesMax - 1);
  return {
    deps,
    limits,
    // Our own work has waited in its own line already and is not refused in this one.
    places: createSemaphore({
      limit: processesMax,
      waitingMax: waitingMax + 2 * ownMax,
      full: overloaded,
    }),
    drawings: createSemaphore({ limit: ownMax, waitingMax: drawingsWaitingMax, full: overloaded }),
    outputs: createSemaphore({ limit: ownMax, waitingMax: outputsWaitingMax, full: overloaded }),
    alive: new Set(),
    idle: [],
    isClosing: false,
  };
}

/** How long a job may take, and how many processes it may end. */
type Patience = { deadlineMs: number; tries: number };

async function runStranger<Name extends Exclude<OperationName, "draw">>(
  pool: Pool,
  operation: Name,
  input: Input<Name>,
  { deadlineMs, tries }: Patience,
): Promise<Output<Name>> {
  // What the header betrays costs no process.
  checkHeader(input.bytes, input.limits);
  for (let left = tries - 1; ; left -= 1) {
    try {
      return await runJob(pool, operation, input, deadlineMs);
    } catch (error) {
      if (!(error instanceof ProcessEnded)) throw error;
      if (error.isStart || pool.isClosing) throw unavailable(error);
      pool.deps.log.warn({ err: error, operation }, "a picture ended its process");
      if (left > 0) continue;
      throw new PictureError("broken", "cannot be decoded; it is damaged or too complex", {
        cause: error,
      });
    }
  }
}

async function runCleaning(
  pool: Pool,
  operation: "clean" | "cleanMask",
  input: Input<"clean">,
  patience: Patience,
): Promise<{ bytes: Uint8Array; info: PictureInfo }> {
  const { bytes, info } = await runStranger(pool, operation, input, patience);
  return { bytes: bytes ?? input.bytes, info };
}

/** Our own work: a process that ends meanwhile is not the drawing's fault, so it gets another one. */
async function runDrawing(pool: Pool, drawing: Input<"draw">): Promise<Output<"draw">> {
  for (let isRetry = false; ; isRetry = true) {
    try {
      return await runJob(pool, "draw", drawing, pool.limits.drawMs);
    } catch (error) {
      if (!(error instanceof ProcessEnded)) throw error;
      pool.deps.log.warn({ err: error, operation: "draw" }, "a drawing lost its process");
      if (isRetry || error.isStart || pool.isClosing) throw unavailable(error);
    }
  }
}

function runJob<Name extends OperationName>(
  pool: Pool,
  operation: Name,
  input: Input<Name>,
  deadlineMs: number,
): Promise<Output<Name>> {
  return pool.places.run(async () => {
    if (pool.isClosing) throw unavailable(null);
    const process = takeProcess(pool);
    try {
      return await process.run(operation, input, deadlineMs);
    } finally {
      giveBack(pool, process);
    }
  });
}

function takeProcess(pool: Pool): PictureProcess {
  const place = pool.idle.pop();
  if (place !== undefined) {
    place.cancelStop();
    return place.process;
  }
  const { clock, log } = pool.deps;
  const process = startPictureProcess({
    clock,
    startMs: pool.limits.startMs,
    onDetail: (detail) => log.debug({ detail }, "a picture was refused"),
  });
  pool.alive.add(process);
  void process.ended.then(() => forget(pool, process));
  return process;
}

function giveBack(pool: Pool, process: PictureProcess): void {
  if (!process.isAlive) return;
  const { jobsMax, rssBytesMax, idleMs } = pool.limits;
  const isWorn = process.jobs >= jobsMax || process.rssBytes > rssBytesMax;
  if (isWorn || pool.isClosing) {
    process.kill();
    return;
  }
  const cancelStop = pool.deps.clock.after(idleMs, () => {
    forget(pool, process);
    process.kill();
  });
  pool.idle.push({ process, cancelStop });
}

/** No longer offered for work; it stays in `alive` until it is gone. */
function forget(pool: Pool, process: PictureProcess): void {
  pool.idle = pool.idle.filter((place) => {
    if (place.process !== process) return true;
    place.cancelStop();
    return false;
  });
  if (!process.isAlive) pool.alive.delete(process);
}

async function closePool(pool: Pool): Promise<void> {
  pool.isClosing = true;
  for (const process of pool.alive) process.kill();
  await Promise.all([...pool.alive].map((process) => process.ended));
}

function overloaded(): AppError {
  return new AppError("overloaded", "too many pictures are being processed; try again later", {
    retryAfterSeconds: 2,
  });
}

function unavailable(cause: ProcessEnded | null): AppError {
  return new AppError("unavailable", "pictures cannot be processed right now; try again later", {
    retryAfterSeconds: 5,
    cause: cause ?? undefined,
  });
}
