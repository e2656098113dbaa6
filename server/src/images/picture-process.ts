/**
 * One child process that works on pictures, seen from the main process. It keeps nothing between jobs,
 * so it is always ended by SIGKILL: at a deadline, when it is idle, when the parent closes.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { assert } from "../lib/errors.ts";
import type { Clock } from "../lib/time.ts";
import { drawingEnvironment } from "./fonts.ts";
import { PictureError } from "./picture.ts";
import type { Answer, Input, OperationName, Output } from "./protocol.ts";

export type PictureProcess = {
  readonly pid: number | undefined;
  readonly isAlive: boolean;
  /** Jobs done so far, and the resident memory after the last of them. */
  readonly jobs: number;
  readonly rssBytes: number;
  /** Resolves when the process is gone. */
  readonly ended: Promise<void>;
  /**
   * One job at a time. Throws `PictureError` for a picture at fault, `ProcessEnded` when the process
   * ends before it answers (at the deadline it is killed), `Error` for a fault of ours.
   */
  run<Name extends OperationName>(
    operation: Name,
    input: Input<Name>,
    deadlineMs: number,
  ): Promise<Output<Name>>;
  kill(): void;
};

export type PictureProcessOptions = {
  clock: Clock;
  /** Given to a process to load its code, before its first job. */
  startMs: number;
  /** Whatever the decoder had to say about a picture that it refused. */
  onDetail(detail: string): void;
};

/** The process is gone and the job with it. */
export class ProcessEnded extends Error {
  /** True when it never took jobs: the installation is at fault, not the picture. */
  readonly isStart: boolean;

  constructor(isStart: boolean, message: string) {
    super(message);
    this.name = "ProcessEnded";
    this.isStart = isStart;
  }
}

type Waiting = { resolve(answer: Answer): void; reject(error: ProcessEnded): void };

type State = {
  child: ChildProcess;
  isReady: boolean;
  isAlive: boolean;
  /** Why we killed it; empty when it died by itself. */
  verdict: string;
  /** The last words on standard error. */
  lastWords: string;
  waiting: Waiting | null;
  jobs: number;
  rssBytes: number;
};

const program = fileURLToPath(new URL("./child.ts", import.meta.url));
const lastWordsMax = 2_000;

export function startPictureProcess(options: PictureProcessOptions): PictureProcess {
  const state: State = {
    child: spawnChild(),
    isReady: false,
    isAlive: true,
    verdict: "",
    lastWords: "",
    waiting: null,
    jobs: 0,
    rssBytes: 0,
  };
  const ready = waitForAnswer(state);
  // The first job reports it; a start that nobody waits for is not an unhandled rejection.
  ready.catch(() => {});
  const cancelStart = options.clock.after(options.startMs, () => kill(state, "start too slow"));
  const ended = listen(state).finally(cancelStart);
  return {
    run: async (operation, input, deadlineMs) => {
      setReferenced(state.child, true);
      try {
        if (!state.isReady) await ready;
        cancelStart();
        return await runJob(state, options, { operation, input, deadlineMs });
      } finally {
        setReferenced(state.child, false);
      }
    },
    kill: () => {
      setReferenced(state.child, true);
      kill(state, "no longer needed");
    },
    ended,
    get pid() {
      return state.child.pid;
    },
    get isAlive() {
      return state.isAlive;
    },
    get jobs() {
      return state.jobs;
    },
    get rssBytes() {
      return state.rssBytes;
    },
  };
}

function spawnChild(): ChildProcess {
  return fork(program, [], {
    execPath: process.execPath,
    // The parent's own flags (an inspector port, a test runner's) are not for the child.
    execArgv: ["--max-old-space-size=256"],
    // Nothing else of the environment: it holds the operator's secrets. A second arena of glibc's
    // allocator is enough for one job at a time and keeps freed memory from piling up.
    env: { UV_THREADPOOL_SIZE: "4", MALLOC_ARENA_MAX: "2", ...drawingEnvironment() },
    serialization: "advanced",
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
}

/** Resolves when the process has ended and its last message has been read. */
function listen(state: State): Promise<void> {
  const { child } = state;
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    state.lastWords = (state.lastWords + text).slice(-lastWordsMax);
  });
  // The sender is `child.ts` of this very version, so the type holds.
  child.on("message", (message) => takeAnswer(state, message as Answer));
  return new Promise((resolve) => {
    const end = (how: string): void => {
      state.isAlive = false;
      const words = [state.verdict || how, state.lastWords.trim()].filter((word) => word !== "");
      const waiting = state.waiting;
      state.waiting = null;
      waiting?.reject(new ProcessEnded(!state.isReady, `picture process: ${words.join(": ")}`));
      resolve();
    };
    child.on("close", (code, signal) => end(`ended with ${signal ?? `code ${code}`}`));
    child.on("error", (error) => {
      // Only a process that never came to life has no "close" of its own.
      if (child.pid === undefined) end(error.message);
    });
  });
}

function takeAnswer(state: State, answer: Answer): void {
  if (answer.kind === "ready") state.isReady = true;
  const waiting = state.waiting;
  state.waiting = null;
  waiting?.resolve(answer);
}

function waitForAnswer(state: State): Promise<Answer> {
  assert(state.waiting === null, "a picture process does one job at a time");
  return new Promise((resolve, reject) => {
    state.waiting = { resolve, reject };
  });
}

async function runJob<Name extends OperationName>(
  state: State,
  options: PictureProcessOptions,
  job: { operation: Name; input: Input<Name>; deadlineMs: number },
): Promise<Output<Name>> {
  if (!state.isAlive) throw new ProcessEnded(false, "picture process: ended before its job");
  const answering = waitForAnswer(state);
  const cancel = options.clock.after(job.deadlineMs, () => kill(state, "too slow"));
  // A failed send is followed by the end of the process, which answers for both.
  state.child.send({ operation: job.operation, input: job.input }, () => {});
  try {
    return readOutput(state, options, await answering);
  } finally {
    cancel();
  }
}

function readOutput<Name extends OperationName>(
  state: State,
  options: PictureProcessOptions,
  answer: Answer,
): Output<Name> {
  assert(answer.kind !== "ready", "a picture process is ready once");
  state.jobs += 1;
  state.rssBytes = answer.rssBytes;
  // The answer to this very job, so it has this job's shape.
  if (answer.kind === "done") return answer.output;
  if (answer.detail !== "") options.onDetail(answer.detail);
  if (answer.problem !== null) throw new PictureError(answer.problem, answer.message);
  throw new Error(`picture process: ${answer.message}`);
}

function kill(state: State, verdict: string): void {
  state.verdict ||= verdict;
  state.child.kill("SIGKILL");
}

/** An idle process does not keep ours alive; one with a job does. */
function setReferenced(child: ChildProcess, isReferenced: boolean): void {
  const change = isReferenced ? "ref" : "unref";
  child[change]();
  child.channel?.[change]();
  if (child.stderr instanceof Socket) child.stderr[change]();
}
