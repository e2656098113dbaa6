/**
 * The lives of one server: started on the same folder and port again and again, each ended at a moment
 * that dice choose. What is asked of every life: it becomes ready, a stop in order succeeds in time, and
 * nothing that it started outlives it.
 */
import { systemClock } from "../../src/lib/time.ts";
import { until } from "../support/client.ts";
import { countSuspects } from "./audit.ts";
import type { Dice } from "./dice.ts";
import { placeOf, startServer } from "./server-process.ts";
import type { Ending, ServerProcess } from "./server-process.ts";

/** How a life ends. Times are milliseconds. */
export type Death =
  /** SIGKILL, counted from the start of the process: while it opens, recovers and begins to listen. */
  | { kind: "killed while starting"; afterMs: number }
  /** SIGKILL, counted from the ready line: among the first claims. */
  | { kind: "killed when ready"; afterMs: number }
  | { kind: "killed under load"; afterMs: number }
  /** SIGKILL at the first acknowledgement after that time: what is told to a caller must be kept. */
  | { kind: "killed when acknowledging"; afterMs: number }
  /** SIGTERM, and SIGKILL before the stop is over. */
  | { kind: "killed while stopping"; afterMs: number; thenMs: number }
  /** SIGTERM, counted from the start of the process. */
  | { kind: "stopped while starting"; afterMs: number }
  | { kind: "stopped"; afterMs: number };

export type LivesOptions = {
  root: string;
  folder: string;
  port: number;
  kills: number;
  dice: Dice;
  /** Resolves when a caller is being told of its task. */
  nextAcknowledgement(): Promise<void>;
  /** Told of every death. */
  onDeath(life: number, death: Death): void;
};

export type LivesReport = {
  kills: number;
  stops: number;
  /** From start to ready line, of the lives that got there. */
  readyMs: number[];
  stopMs: number[];
  problems: string[];
};

/** Longest time to the ready line; a second is what it takes on a machine with nothing else to do. */
const readyMsMax = 30_000;
const stopMsMax = 15_000;
const relativesMsMax = 10_000;
/** Callers whose orders are all under way submit nothing for a while. */
const acknowledgementMsMax = 5_000;

type State = LivesOptions & {
  life: number;
  report: LivesReport;
  burials: Promise<void>[];
  running: ServerProcess | null;
};

export type Lives = {
  /** Starts and ends servers until `kills` have been killed; the one that then runs is left running. */
  run(): Promise<void>;
  /** Stops the running server in order, and waits until nothing of any life is left. */
  stop(): Promise<LivesReport>;
  /** Ends by force what still runs. */
  abandon(): Promise<void>;
};

export function createLives(options: LivesOptions): Lives {
  const report: LivesReport = { kills: 0, stops: 0, readyMs: [], stopMs: [], problems: [] };
  const state: State = { ...options, life: 0, report, burials: [], running: null };
  return {
    run: async () => {
      while (report.kills < options.kills) {
        await liveAndDie(state, drawDeath(options.dice, state.life));
      }
      await awaitReady(state, await begin(state));
    },
    stop: async () => {
      if (state.running !== null) await stop(state, state.running);
      await Promise.all(state.burials);
      return report;
    },
    abandon: async () => {
      state.running?.signal("SIGKILL");
      await state.running?.ended;
    },
  };
}

/** `drawn` deaths have been drawn before. */
function drawDeath(dice: Dice, drawn: number): Death {
  // The first ten meet every kind; after them chance decides.
  const share = drawn < 10 ? drawn / 10 : dice.fraction();
  if (share < 0.15) return { kind: "killed while starting", afterMs: dice.between(20, 900) };
  if (share < 0.3) return { kind: "killed when ready", afterMs: dice.between(0, 150) };
  if (share < 0.5) return { kind: "killed under load", afterMs: dice.between(150, 1_600) };
  if (share < 0.7) return { kind: "killed when acknowledging", afterMs: dice.between(0, 800) };
  const afterMs = dice.between(50, 1_000);
  if (share < 0.8) return { kind: "killed while stopping", afterMs, thenMs: dice.between(0, 120) };
  return { kind: share < 0.9 ? "stopped" : "stopped while starting", afterMs };
}

async function liveAndDie(state: State, death: Death): Promise<void> {
  const server = await begin(state);
  state.onDeath(state.life, death);
  if (death.kind === "killed while starting" || death.kind === "stopped while starting") {
    await systemClock.sleep(death.afterMs);
    return death.kind === "killed while starting" ? kill(state, server) : stop(state, server);
  }
  await awaitReady(state, server);
  await systemClock.sleep(death.afterMs);
  await untilNobodyIsSuspect(state);
  if (death.kind === "stopped") return stop(state, server);
  if (death.kind === "killed while stopping") {
    server.signal("SIGTERM");
    await systemClock.sleep(death.thenMs);
  }
  if (death.kind === "killed when acknowledging") {
    await Promise.race([state.nextAcknowledgement(), systemClock.sleep(acknowledgementMsMax)]);
  }
  return kill(state, server);
}

async function begin(state: State): Promise<ServerProcess> {
  state.life += 1;
  const { folder, port, root, life } = state;
  state.running = await startServer({ folder, port, place: placeOf(root, life) });
  return state.running;
}

async function awaitReady({ report, life }: State, server: ServerProcess): Promise<void> {
  const late = new AbortController();
  const giveUp = systemClock.sleep(readyMsMax, late.signal).then(() => null);
  const readyMs = await Promise.race([server.ready, giveUp]);
  late.abort();
  if (readyMs === null) report.problems.push(`life ${life} was never ready: ${server.errors()}`);
  else report.readyMs.push(readyMs);
}

async function kill(state: State, server: ServerProcess): Promise<void> {
  server.signal("SIGKILL");
  const ending = await server.ended;
  if (ending.signal === "SIGKILL") state.report.kills += 1;
  // A stop that was over before the kill is as good; any other end was not ours.
  const isOurs = ending.signal === "SIGKILL" || ending.signal === "SIGTERM" || ending.code === 0;
  bury(state, server, isOurs ? null : ending);
}

async function stop(state: State, server: ServerProcess): Promise<void> {
  const begun = systemClock.monotonic();
  server.signal("SIGTERM");
  const inTime = new AbortController();
  void systemClock.sleep(stopMsMax, inTime.signal).then(() => {
    if (!inTime.signal.aborted) server.signal("SIGKILL");
  });
  const ending = await server.ended;
  inTime.abort();
  state.report.stops += 1;
  state.report.stopMs.push(systemClock.monotonic() - begun);
  // Before it listens to signals a process ends by them, as any other does.
  const isYoung = ending.signal === "SIGTERM" && !server.isReady();
  bury(state, server, ending.code === 0 || isYoung ? null : ending);
}

/** The next life begins at once; meanwhile what the last one started must be gone soon. */
function bury(state: State, server: ServerProcess, wrong: Ending | null): void {
  const { life, report } = state;
  state.running = null;
  if (wrong !== null) {
    report.problems.push(`life ${life} ended with ${JSON.stringify(wrong)}: ${server.errors()}`);
  }
  for (const line of server.errors().split("\n")) {
    if (isError(line)) report.problems.push(`life ${life} logged: ${line.slice(0, 2_000)}`);
  }
  state.burials.push(findRelatives(server).then((left) => void report.problems.push(...left)));
}

/** What a dead server left running, once it has had its time to notice. */
async function findRelatives(server: ServerProcess): Promise<string[]> {
  const end = systemClock.monotonic() + relativesMsMax;
  for (;;) {
    const left = await server.listRelatives();
    if (left.length === 0) return [];
    if (systemClock.monotonic() > end) return left.map((words) => `outlived its server: ${words}`);
    await systemClock.sleep(50);
  }
}

/** Errors and worse in the log; whatever is no line of the log at all is one too. */
function isError(line: string): boolean {
  if (line === "") return false;
  try {
    return (JSON.parse(line) as { level: number }).level >= 50;
  } catch {
    // A line that the kill cut in two.
    return !line.startsWith('{"level":');
  }
}

/**
 * By design a task that was claimed five times without one committed step is taken for the cause of the
 * crashes and ended. Kills that follow each other faster than a reference can be fetched would make any
 * task look so: a life that holds one with three such claims lasts until that task has made its step.
 */
async function untilNobodyIsSuspect({ folder }: State): Promise<void> {
  await until(
    async () => countSuspects(folder),
    (suspects) => suspects === 0,
  );
}
