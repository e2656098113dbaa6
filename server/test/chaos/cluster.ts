/** The nodes of a run, each behind proxies of its own, and their supervisor, which starts again whatever has died. */
import { mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";

import { systemClock } from "../../src/lib/time.ts";
import { startFaultProxy } from "../support/fault-proxy.ts";
import type { FaultProxy } from "../support/fault-proxy.ts";
import { startNode } from "./node-process.ts";
import type { NodeProcess, Role } from "./node-process.ts";
import { originOf } from "./world.ts";
import type { World } from "./world.ts";

export type Member = {
  readonly name: string;
  readonly role: Role;
  readonly database: FaultProxy;
  readonly storage: FaultProxy;
  /** Null between two lives. */
  process: NodeProcess | null;
  lives: number;
  /** Of its lives that have ended. */
  takeovers: number;
};

export type Cluster = {
  readonly members: readonly Member[];
  readonly problems: readonly string[];
  /** Processes that ended by themselves, as when they could not start without a database. */
  readonly exits: number;
  /** Milliseconds from the start of a process to its ready line, for each that came so far. */
  readonly startsMs: readonly number[];
  listApiOrigins(): readonly string[];
  start(): Promise<void>;
  untilReady(): Promise<void>;
  /** Stops every node in order. */
  stop(): Promise<void>;
  /** Ends whatever still runs. */
  kill(): Promise<void>;
};

const roles: readonly Role[] = ["worker", "worker", "worker", "api", "api"];
const readyMsMax = 60_000;
const stopMsMax = 40_000;
const lookEveryMs = 50;
/** After an end of its own: starting again at once would take the machine while a database is away. */
const restartPauseMs = 300;

type State = {
  root: string;
  settingsOf: (member: Member) => Readonly<Record<string, string>>;
  problems: string[];
  exits: number;
  startsMs: number[];
  /** Looks for what dead processes have left behind. */
  looks: Set<Promise<void>>;
  isStopping: boolean;
};

/** `settingsOf` gives a node's environment, but for its data folder. */
export async function createCluster(
  root: string,
  world: World,
  settingsOf: State["settingsOf"],
): Promise<Cluster> {
  const state: State = {
    root,
    settingsOf,
    problems: [],
    exits: 0,
    startsMs: [],
    looks: new Set(),
    isStopping: false,
  };
  const members: Member[] = [];
  for (const [index, role] of roles.entries()) {
    const database = await startFaultProxy(world.postgres.url);
    const storage = await startFaultProxy(world.s3.endpoint);
    members.push({
      name: `${role}-${index + 1}`,
      role,
      database,
      storage,
      process: null,
      lives: 0,
      takeovers: 0,
    });
  }
  let supervisors: Promise<void>[] = [];
  const kill = async (): Promise<void> => {
    state.isStopping = true;
    for (const { process } of members) process?.signal("SIGKILL");
    await Promise.all(supervisors);
    await Promise.all(state.looks);
    for (const { database, storage } of members) {
      await database[Symbol.asyncDispose]();
      await storage[Symbol.asyncDispose]();
    }
  };
  return {
    members,
    problems: state.problems,
    startsMs: state.startsMs,
    get exits() {
      return state.exits;
    },
    listApiOrigins: () =>
      members.flatMap(({ role, process }) => (role === "api" ? (process?.origin() ?? []) : [])),
    start: async () => {
      await mkdir(join(root, "compile-cache"));
      supervisors = members.map((member) => supervise(state, member));
      await untilReady(members);
    },
    untilReady: () => untilReady(members),
    stop: async () => {
      state.isStopping = true;
      await Promise.all(members.map((member) => stopInOrder(state, member)));
      await Promise.all(supervisors);
      await Promise.all(state.looks);
    },
    kill,
  };
}

/** Whatever ends is started again: at once after a kill. */
async function supervise(state: State, member: Member): Promise<void> {
  const folder = join(state.root, member.name);
  await mkdir(folder, { recursive: true });
  // One cache for all: the stripping of types would take most of a short run.
  await symlink(join(state.root, "compile-cache"), join(folder, "compile-cache")).catch(() => {});
  while (!state.isStopping) {
    const begun = systemClock.monotonic();
    const place = join(folder, `life-${member.lives}`);
    const environment = { DARKROOM_DATA: folder, ...state.settingsOf(member) };
    const node = await startNode({ role: member.role, place, environment });
    member.process = node;
    member.lives += 1;
    // Whoever ends the run meanwhile has not seen it.
    if (state.isStopping) node.signal("SIGKILL");
    const ready = untilFirst(() => node.origin() !== null, node.ended).then((wasReady) => {
      if (wasReady) state.startsMs.push(Math.round(systemClock.monotonic() - begun));
      return wasReady;
    });
    const code = await node.ended;
    member.process = null;
    member.takeovers += node.takeovers();
    const look = findRelatives(state, member, node).finally(() => state.looks.delete(look));
    state.looks.add(look);
    if (code === null || code === 0) continue;
    state.exits += 1;
    // A start may fail, as while the database is away; what runs outlasts everything but a signal.
    const isCrash = (await ready) || /^Node\.js v\d/m.test(node.errors());
    const told = node.errors().slice(-1_500);
    if (isCrash) state.problems.push(`${member.name} ended with code ${code}: ${told}`);
    await systemClock.sleep(restartPauseMs);
  }
}

async function findRelatives(state: State, { name }: Member, node: NodeProcess): Promise<void> {
  const left = await waitForNone(() => node.listRelatives());
  if (left.length > 0) state.problems.push(`${name} has left ${left.join(", ")}`);
}

/** True when the condition held before the end came. */
async function untilFirst(isTrue: () => boolean, end: Promise<unknown>): Promise<boolean> {
  for (;;) {
    if (isTrue()) return true;
    const look = systemClock.sleep(lookEveryMs).then(() => "look" as const);
    if ((await Promise.race([end, look])) !== "look") return isTrue();
  }
}

/** Picture processes notice within a moment that their parent is gone. */
async function waitForNone(list: () => Promise<string[]>): Promise<string[]> {
  for (let look = 0; look < 40; look += 1) {
    const found = await list();
    if (found.length === 0) return found;
    await systemClock.sleep(lookEveryMs);
  }
  return list();
}

async function untilReady(members: readonly Member[]): Promise<void> {
  const end = systemClock.monotonic() + readyMsMax;
  for (;;) {
    const late = members.filter(({ process }) => (process?.origin() ?? null) === null);
    if (late.length === 0) return;
    if (systemClock.monotonic() > end) {
      const told = late.map(({ name, process }) => `${name}: ${process?.errors().slice(-600)}`);
      throw new Error(`not ready after ${readyMsMax} ms: ${told.join("; ")}`);
    }
    await systemClock.sleep(lookEveryMs);
  }
}

async function stopInOrder(state: State, { name, process }: Member): Promise<void> {
  if (process === null) return;
  process.signal("SIGTERM");
  const over = new AbortController();
  const late = systemClock.sleep(stopMsMax, over.signal).then(() => "late" as const);
  const ending = await Promise.race([process.ended, late]);
  // A timer that nobody waits for would keep the test alive.
  over.abort();
  if (ending !== 0) {
    state.problems.push(`${name} was asked to stop and ended ${ending}: ${process.errors()}`);
    process.signal("SIGKILL");
  }
}

/** Where a node finds its database and its storage. */
export function connectionsOf({ database, storage }: Member, world: World): Record<string, string> {
  const { bucket, credentials } = world.s3;
  return {
    DARKROOM_DATABASE_URL: database.url,
    DARKROOM_STORAGE: `s3://${bucket}?endpoint=${originOf(storage)}`,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey.reveal(),
  };
}
