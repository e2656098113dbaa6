/** What goes wrong during a run: deeds in a shuffled order, so that a short run has met each of them. */
import type { Dice } from "../crash/dice.ts";
import { systemClock } from "../../src/lib/time.ts";
import { reply } from "../support/receiver.ts";
import type { Cluster, Member } from "./cluster.ts";
import { setUsualPace } from "./world.ts";
import type { World } from "./world.ts";

export type HavocOptions = {
  world: World;
  cluster: Cluster;
  dice: Dice;
  /** Ends when that long has passed or so many nodes have been killed, whichever comes first. */
  forMs: number;
  killsMax: number;
  /** Between the beginnings of two deeds, on average. */
  pauseMs: number;
  /** What does not happen in this run. */
  spared: readonly DeedName[];
  /** Told of every deed. */
  log(line: string): void;
  /** Kept up to date. */
  progress: Progress;
};

export type HavocReport = {
  kills: number;
  /** By what was killed: `worker`, or `worker at its start`. */
  killsByKind: Readonly<Record<string, number>>;
  deeds: Readonly<Record<string, number>>;
};

/** What has happened so far, for whoever watches a long run. */
export type Progress = { kills: number };

/** Deeds that last may overlap, but one cause of trouble must not hide all others. */
const underWayMax = 4;
/** A run that is behind its number of kills, or ahead by little, does not pause for so long between two deeds. */
const hurriedShare = 0.5;
const aheadShare = 0.05;

type Deed = (site: Site) => Promise<void>;
type Site = HavocOptions & {
  signal: AbortSignal;
  killsByKind: Record<string, number>;
  /** Members that are stopped or being stopped, which nothing else befalls. */
  busy: Set<Member>;
};

/** Runs to its end and leaves everything healed; nodes may still be starting. */
export async function wreakHavoc(options: HavocOptions): Promise<HavocReport> {
  const { dice, forMs, killsMax, pauseMs, log, progress } = options;
  const ending = new AbortController();
  const site: Site = { ...options, signal: ending.signal, killsByKind: {}, busy: new Set() };
  const counts: Record<string, number> = {};
  const underWay = new Set<Promise<void>>();
  const end = systemClock.monotonic() + forMs;
  let deck: string[] = [];
  try {
    while (systemClock.monotonic() < end && progress.kills < killsMax) {
      if (deck.length === 0) deck = shuffle(dice, Object.entries(weights), options.spared);
      const name = deck.pop() as DeedName; // the deck holds nothing else
      counts[name] = (counts[name] ?? 0) + 1;
      log(`${Math.round(systemClock.monotonic() - end + forMs)} ms: ${name}`);
      const work = deeds[name](site).finally(() => underWay.delete(work));
      underWay.add(work);
      // What a deed could not do is told by whoever waits for all of them.
      work.catch(() => undefined);
      const passed = 1 - (end - systemClock.monotonic()) / forMs;
      const wanted = Number.isFinite(killsMax) ? killsMax * passed * (1 + aheadShare) : 0;
      const meanMs = progress.kills < wanted ? pauseMs * hurriedShare : pauseMs;
      await systemClock.sleep(dice.between(meanMs / 2, meanMs * 1.5));
      if (underWay.size >= underWayMax) await Promise.race(underWay);
    }
  } finally {
    ending.abort();
    await Promise.all(underWay);
    heal(site);
  }
  return { kills: progress.kills, killsByKind: site.killsByKind, deeds: counts };
}

function heal({ world, cluster }: Site): void {
  for (const { database, storage, process } of cluster.members) {
    for (const proxy of [database, storage]) {
      proxy.refuse(false);
      proxy.stall(false);
    }
    process?.signal("SIGCONT");
  }
  for (const proxy of world.vendorProxies) {
    proxy.refuse(false);
    proxy.stall(false);
  }
  world.s3.fault.choose = () => null;
  world.bfl.set({ submit: null, poll: null, sample: null });
  setUsualPace(world.openai);
  world.receiver.answerWith(reply(204));
}

const deeds = {
  "kill a worker": (site) => kill(site, pickOf(site, "worker")),
  "kill an API node": (site) => kill(site, pickOf(site, "api")),
  "kill two nodes": async (site) => {
    await Promise.all([kill(site, pickOf(site, "worker")), kill(site, pickOf(site, "api"))]);
  },
  "kill a worker again and again": (site) => killOften(site, pickOf(site, "worker")),
  "freeze a worker": (site) => freeze(site, pickOf(site, "worker"), 500, 6_000),
  "freeze a worker until it is given up": (site) =>
    freeze(site, pickOf(site, "worker"), 20_000, 27_000),
  "freeze an API node": (site) => freeze(site, pickOf(site, "api"), 200, 4_000),
  "stop a node in order": (site) => stopInOrder(site, pickAny(site)),

  "cut a node's database": async (site) => pickAny(site)?.database.cut(),
  "cut all databases": async ({ cluster }) => {
    for (const { database } of cluster.members) database.cut();
  },
  "stall a node's database": async (site) => {
    const member = pickAny(site);
    if (member === null) return;
    member.database.stall(true);
    await rest(site, site.dice.between(300, 7_000));
    member.database.stall(false);
  },
  "take the database away": async (site) => {
    for (const { database } of site.cluster.members) {
      database.refuse(true);
      database.cut();
    }
    await rest(site, site.dice.between(500, 8_000));
    for (const { database } of site.cluster.members) database.refuse(false);
  },
  "restart the database": async ({ world }) => world.postgres.restart(),

  "cut a node's storage": async (site) => pickAny(site)?.storage.cut(),
  "slow the storage": async (site) => {
    for (const { storage } of site.cluster.members) storage.stall(true);
    await rest(site, site.dice.between(300, 4_000));
    for (const { storage } of site.cluster.members) storage.stall(false);
  },
  "let the storage fail": async (site) => {
    const { world, dice } = site;
    const kinds = [
      { kind: "refuse", status: 503, code: "SlowDown" },
      { kind: "cut" },
      { kind: "lose reply" },
      { kind: "cut body" },
    ] as const;
    world.s3.fault.choose = () => (dice.isLucky(0.4) ? dice.pick(kinds) : null);
    await rest(site, dice.between(500, 4_000));
    world.s3.fault.choose = () => null;
  },

  "cut the vendors": async ({ world }) => {
    for (const proxy of world.vendorProxies) proxy.cut();
  },
  "stall a vendor": async (site) => {
    const proxy = site.dice.pick(site.world.vendorProxies);
    proxy.stall(true);
    await rest(site, site.dice.between(300, 5_000));
    proxy.stall(false);
  },
  "let the vendors refuse": async (site) => {
    const { bfl, openai } = site.world;
    const refusal = { status: 503, body: { detail: "The service is overloaded." } };
    bfl.set({
      submit: { kind: "refuse", reply: refusal },
      poll: { kind: "refuse", reply: refusal },
    });
    openai.set({ refusal });
    await rest(site, site.dice.between(300, 3_000));
    bfl.set({ submit: null, poll: null });
    setUsualPace(openai);
  },
  "lose replies of the vendors": async (site) => {
    const { bfl, openai } = site.world;
    bfl.set({
      submit: [{ kind: "reset" }],
      poll: [{ kind: "reset" }, { kind: "cut", share: 0.5 }],
      sample: [{ kind: "cut", share: 0.5 }, { kind: "reset" }],
    });
    openai.set({ reply: site.dice.pick([{ kind: "reset" }, { kind: "cut", share: 0.5 }]) });
    await rest(site, site.dice.between(200, 800));
    setUsualPace(openai);
  },

  "let the receiver fail": async (site) => {
    const { receiver } = site.world;
    // One that has taken the event in, and says that it has not.
    receiver.answerWith(reply(503));
    await rest(site, site.dice.between(200, 2_000));
    receiver.answerWith(reply(204));
  },
} as const satisfies Record<string, Deed>;

export type DeedName = keyof typeof deeds;

/** How many of each are in one deck. */
const weights: Record<DeedName, number> = {
  "kill a worker": 4,
  "kill an API node": 3,
  "kill two nodes": 1,
  "kill a worker again and again": 2,
  "freeze a worker": 1,
  "freeze a worker until it is given up": 1,
  "freeze an API node": 1,
  "stop a node in order": 1,
  "cut a node's database": 2,
  "cut all databases": 1,
  "stall a node's database": 1,
  "take the database away": 1,
  "restart the database": 1,
  "cut a node's storage": 1,
  "slow the storage": 1,
  "let the storage fail": 1,
  "cut the vendors": 1,
  "stall a vendor": 1,
  "let the vendors refuse": 1,
  "lose replies of the vendors": 1,
  "let the receiver fail": 1,
};

function shuffle(
  dice: Dice,
  entries: readonly [string, number][],
  spared: readonly string[],
): string[] {
  const cards = entries.flatMap(([name, count]) =>
    spared.includes(name) ? [] : Array<string>(count).fill(name),
  );
  return cards
    .map((card) => ({ card, place: dice.fraction() }))
    .toSorted((a, b) => a.place - b.place)
    .map(({ card }) => card);
}

function pickOf({ cluster, dice, busy }: Site, role: Member["role"]): Member | null {
  const free = cluster.members.filter((member) => member.role === role && !busy.has(member));
  return free.length === 0 ? null : dice.pick(free);
}

function pickAny(site: Site): Member | null {
  return pickOf(site, site.dice.isLucky(0.6) ? "worker" : "api");
}

/**
 * At any moment of its life, its start included. The last node of the API is mostly left alone: while there is
 * none, nothing is asked of the others either.
 */
async function kill(site: Site, member: Member | null): Promise<void> {
  const process = member?.process ?? null;
  if (member === null || process === null) return;
  const isLast = member.role === "api" && site.cluster.listApiOrigins().length < 2;
  if (isLast && site.dice.isLucky(0.8)) return;
  const kind = process.origin() === null ? `${member.role} at its start` : member.role;
  site.killsByKind[kind] = (site.killsByKind[kind] ?? 0) + 1;
  site.progress.kills += 1;
  process.signal("SIGKILL");
  await process.ended;
}

/**
 * One worker that never lives for long: it dies at its start, with its first claims, or in the middle of its
 * work, while the others live long enough to take over what it held.
 */
async function killOften(site: Site, member: Member | null): Promise<void> {
  if (member === null) return;
  const { dice, signal } = site;
  site.busy.add(member);
  for (let kills = dice.between(3, 6); kills > 0 && !signal.aborted; kills -= 1) {
    await kill(site, member);
    await rest(site, dice.between(300, 4_000));
  }
  site.busy.delete(member);
}

async function freeze(
  site: Site,
  member: Member | null,
  leastMs: number,
  mostMs: number,
): Promise<void> {
  const process = member?.process ?? null;
  if (member === null || process === null) return;
  site.busy.add(member);
  process.signal("SIGSTOP");
  await rest(site, site.dice.between(leastMs, mostMs));
  process.signal("SIGCONT");
  site.busy.delete(member);
}

async function stopInOrder(site: Site, member: Member | null): Promise<void> {
  const process = member?.process ?? null;
  if (member === null || process?.origin() === null || process === null) return;
  site.busy.add(member);
  process.signal("SIGTERM");
  await Promise.race([process.ended, rest(site, 20_000)]);
  // A supervisor's patience ends.
  process.signal("SIGKILL");
  await process.ended;
  site.busy.delete(member);
}

/** Ends early when the run does. */
async function rest({ signal }: Pick<Site, "signal">, ms: number): Promise<void> {
  await systemClock.sleep(ms, signal);
}
