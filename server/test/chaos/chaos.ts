/**
 * Three workers and two nodes of the API on one PostgreSQL database and one bucket, callers that use them, and
 * everything that can go wrong between them; then four logs are compared: those of the callers, the database,
 * the vendors and the receiver of webhooks.
 */
import { spawn } from "node:child_process";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";

import { addChannel } from "../../src/channels/add.ts";
import { parseConfig } from "../../src/config.ts";
import { openInstallation } from "../../src/installation.ts";
import { systemClock } from "../../src/lib/time.ts";
import type { Task } from "../../../client/src/tasks.ts";
import { createDice } from "../crash/dice.ts";
import type { Dice } from "../crash/dice.ts";
import { startLoad } from "../crash/load.ts";
import type { Load } from "../crash/load.ts";
import { creditLive } from "../faults/funds.ts";
import { countOpen, findOffences, readBooks } from "./books.ts";
import { connectionsOf, createCluster } from "./cluster.ts";
import type { Cluster } from "./cluster.ts";
import { startFront } from "./front.ts";
import { wreakHavoc } from "./havoc.ts";
import type { DeedName, HavocReport, Progress } from "./havoc.ts";
import { judge } from "./judge.ts";
import { createMenu, markPattern } from "./menu.ts";
import { letTimePass, startWorld } from "./world.ts";
import type { World } from "./world.ts";

export type ChaosOptions = {
  seed: number;
  forMs: number;
  killsMax: number;
  /** Between two deeds, on average. */
  pauseMs: number;
  /** What does not happen in this run. */
  spared?: readonly DeedName[];
  deadlineSeconds: number;
  log(line: string): void;
};

export type ChaosReport = {
  /** Promises that were broken; empty when all is well. */
  problems: string[];
  /** What happened, for people. */
  facts: Record<string, unknown>;
};

/** Orders of one caller that are under way at once. */
const ordersMax = 6;
const callersMax = 8;
/** Some work is under way before anything goes wrong. */
const calmMs = 2_000;
const lookEveryMs = 250;
/** A task's grace after its deadline, the longest lease of a delivery, and the pause of an origin that failed. */
const drainGraceMs = 150_000;
const picturesFetchedMax = 40;
const tellEveryMs = 30_000;

type Run = {
  options: ChaosOptions;
  world: World;
  cluster: Cluster;
  load: Load;
  dice: Dice;
  front: string;
  /** The environment of an operator's command. */
  operator: Readonly<Record<string, string>>;
};

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "darkroom-chaos-")));
  const ending = new AbortController();
  const ends: (() => Promise<unknown>)[] = [];
  let isWell = false;
  try {
    const world = await startWorld();
    ends.push(world.stop);
    const run = await prepare(root, world, { options, ends });
    const passing = letTimePass(world.bfl, ending.signal);
    ends.push(() => passing);
    const report = await runThrough(run);
    isWell = report.problems.length === 0;
    return report;
  } finally {
    ending.abort();
    for (const end of ends.toReversed()) await end();
    if (isWell) await rm(root, { recursive: true, force: true });
    else options.log(`what the nodes have said is kept in ${root}`);
  }
}

async function prepare(
  root: string,
  world: World,
  { options, ends }: { options: ChaosOptions; ends: (() => Promise<unknown>)[] },
): Promise<Run> {
  const nodes: Cluster[] = [];
  const front = await startFront(() => nodes.flatMap((cluster) => cluster.listApiOrigins()));
  ends.push(front.stop);
  const common = {
    DARKROOM_PORT: "0",
    DARKROOM_PUBLIC_URL: front.origin,
    DARKROOM_SECRET_FILE: join(root, "secret"),
    DARKROOM_EGRESS_ALLOW: "127.0.0.0/8",
    DARKROOM_LOG_LEVEL: "warn",
    DARKROOM_TASK_DEADLINE: String(options.deadlineSeconds),
    DARKROOM_PICTURE_PROCESSES: "1",
    DARKROOM_API_CONNECTIONS: "6",
    DARKROOM_ENGINE_CONNECTIONS: "8",
    DARKROOM_DRAIN_SECONDS: "1",
  };
  const { bucket, endpoint, credentials } = world.s3;
  const operator = {
    ...common,
    DARKROOM_DATA: join(root, "operator"),
    DARKROOM_DATABASE_URL: world.postgres.url,
    DARKROOM_STORAGE: `s3://${bucket}?endpoint=${endpoint}`,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey.reveal(),
  };
  const keys = await createKeys(operator, world);
  const cluster = await createCluster(root, world, (member) => ({
    ...common,
    ...connectionsOf(member, world),
  }));
  nodes.push(cluster);
  ends.push(cluster.kill);
  await cluster.start();
  const dice = createDice(options.seed);
  const menu = createMenu(world.receiver.origin);
  const load = startLoad({ origin: front.origin, keys, menu, dice: dice.fork(), ordersMax });
  ends.push(load.abandon);
  return { options, world, cluster, load, dice, front: front.origin, operator };
}

/** An account with money, the channels to the vendors, and the keys of the callers. */
async function createKeys(
  settings: Readonly<Record<string, string>>,
  { channels }: World,
): Promise<string[]> {
  const installation = await openInstallation(parseConfig(settings));
  const { db, clock, vault, catalogue, accounts, keys } = installation;
  try {
    const { id: accountId } = await accounts.createAccount("default");
    await creditLive(installation, 1_000_000_000_000);
    const deps = { db, clock, vault, models: catalogue.list() };
    for (const channel of channels) await addChannel(deps, { ...channel, isReplacing: false });
    const tokens: string[] = [];
    for (let caller = 0; caller < callersMax; caller += 1) {
      const { token } = await keys.createKey({ accountId, mode: "live", name: `caller ${caller}` });
      tokens.push(token);
    }
    return tokens;
  } finally {
    await installation.close();
  }
}

async function runThrough(run: Run): Promise<ChaosReport> {
  const { options, world, cluster, load, dice } = run;
  const begun = systemClock.monotonic();
  await systemClock.sleep(calmMs);
  const progress: Progress = { kills: 0 };
  const over = new AbortController();
  const telling = tellProgress(run, progress, over.signal);
  const site = { world, cluster, dice: dice.fork(), progress };
  const havoc = await wreakHavoc({ spared: [], ...options, ...site });
  over.abort();
  await telling;
  options.log("all is healed");
  await cluster.untilReady();
  await load.stop();
  const healed = systemClock.monotonic();
  const left = await drain(run);
  const drainedMs = Math.round(systemClock.monotonic() - healed);
  options.log(`at rest ${drainedMs} ms after the last reply`);
  for (const order of load.orders) if (order.taskId !== null) await load.poll(order);
  const unreadable = await fetchPictures(run);
  const seconds = Math.round((systemClock.monotonic() - begun) / 1_000);
  await cluster.stop();
  const doctor = await askDoctor(run);
  const { problems, counts } = judge({
    orders: load.orders,
    books: await readBooks(world.postgres.url),
    billed: listBilled(world),
    told: listTold(world),
  });
  return {
    problems: [
      ...left,
      ...cluster.problems,
      ...load.problems,
      ...problems,
      ...unreadable,
      ...(await findOffences(world.postgres.url)),
      ...doctor.problems,
    ],
    facts: {
      seed: options.seed,
      ...describe(run, havoc),
      ...counts,
      ledger: doctor.ledger,
      drainedMs,
      seconds,
    },
  };
}

/** So that a long run shows early whether anything comes of it. */
async function tellProgress(
  { options, cluster, load }: Run,
  progress: Progress,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await systemClock.sleep(tellEveryMs, signal);
    if (signal.aborted) return;
    const told = [
      `${progress.kills} kills`,
      `${load.orders.length} orders`,
      `${countEnded(load)} ended`,
      `${countTakeovers(cluster)} takeovers`,
      `${cluster.problems.length + load.problems.length} problems`,
    ];
    options.log(`so far ${told.join(", ")}`);
  }
}

function countEnded({ orders }: Load): number {
  return orders.filter(({ ended }) => ended !== null).length;
}

function countTakeovers({ members }: Cluster): number {
  return members.reduce(
    (sum, { takeovers, process }) => sum + takeovers + (process?.takeovers() ?? 0),
    0,
  );
}

function describe(
  { cluster, load, world }: Run,
  { kills, killsByKind, deeds }: HavocReport,
): object {
  const { requests, lost, comeBack, replayed } = load.counts;
  const startsMs = cluster.startsMs.toSorted((a, b) => a - b);
  return {
    kills,
    killsByKind,
    deeds,
    lives: cluster.members.map(({ lives }) => lives).join(" "),
    exits: cluster.exits,
    takeovers: countTakeovers(cluster),
    startMs: { median: startsMs[startsMs.length >> 1], longest: startsMs.at(-1) },
    orders: load.orders.length,
    requests,
    withoutReply: lost,
    comeBack,
    replayed,
    webhooks: world.receiver.received.length,
  };
}

/** Waits until everything has ended and been told, and the dead are buried; what did not come to its end. */
async function drain({ world, cluster, options }: Run): Promise<string[]> {
  const end = systemClock.monotonic() + options.deadlineSeconds * 1_000 + drainGraceMs;
  const workers = cluster.members.filter(({ role }) => role === "worker").length;
  for (;;) {
    const open = await countOpen(world.postgres.url);
    if (open.tasks === 0 && open.webhooks === 0 && open.workers === workers) return [];
    if (systemClock.monotonic() > end) return [`left in the end: ${JSON.stringify(open)}`];
    await systemClock.sleep(lookEveryMs);
  }
}

function listBilled({ bfl, openai }: World) {
  return [
    ...bfl.billed.map(({ prompt }) => ({ mark: markOf(prompt), pictures: 1 })),
    ...openai.billed.map(({ prompt, pictures }) => ({ mark: markOf(prompt), pictures })),
  ];
}

function listTold({ receiver }: World) {
  return receiver.received.map(({ path, headers, body }) => ({
    mark: /^\/(\w+)\/callback$/.exec(path)?.[1] ?? path,
    webhookId: String(headers["webhook-id"]),
    body,
  }));
}

function markOf(prompt: string): string {
  return markPattern.exec(prompt)?.[0] ?? prompt;
}

/** Some of the pictures that callers were promised, by their links. */
async function fetchPictures({ load, dice }: Run): Promise<string[]> {
  const images = load.orders.flatMap(({ ended }) => {
    if (ended === null) return [];
    const { data } = JSON.parse(`{"code":200${ended}`) as { data: Task };
    return data.result?.images ?? [];
  });
  const problems: string[] = [];
  for (let fetched = 0; fetched < Math.min(picturesFetchedMax, images.length); fetched += 1) {
    const { url, bytes } = dice.pick(images);
    const reply = await fetch(url[0] ?? "");
    const { byteLength } = await reply.arrayBuffer();
    if (reply.status === 200 && byteLength === bytes) continue;
    problems.push(`${url[0]} answers ${reply.status} with ${byteLength} of ${bytes} bytes`);
  }
  return problems;
}

const program = resolve(import.meta.dirname, "../../src/main.ts");

/** The gateway's own opinion, from the command that operators use. */
async function askDoctor({ operator }: Run): Promise<{ problems: string[]; ledger: unknown }> {
  const child = spawn(process.execPath, [program, "doctor", "--json"], {
    env: { PATH: process.env["PATH"] ?? "", ...operator },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if (output === "") return { problems: [`doctor printed nothing: ${errors}`], ledger: null };
  const told = JSON.parse(output) as {
    ok: boolean;
    ledger: { ok: boolean; entries: number };
    checks: { check: string; state: string; detail: string }[];
  };
  // A count that had to be set right is one that had been wrong.
  const places = told.checks.find(({ check }) => check === "places");
  const isWell = told.ok && told.ledger.ok && told.ledger.entries > 0 && places?.state === "ok";
  const problems = isWell ? [] : [`doctor finds: ${JSON.stringify(told)}`];
  return { problems, ledger: told.ledger };
}
