/** Everything one run is about: what outlives processes, who calls, and what callers have been told. */
import { createAccounts } from "../../src/accounts/accounts.ts";
import type { Caller } from "../../src/accounts/caller.ts";
import type { KeySettings } from "../../src/accounts/key-settings.ts";
import { createKeys } from "../../src/accounts/keys.ts";
import { credit, openBooks } from "../../src/billing/ledger.ts";
import { newRow } from "../../src/channels/add.ts";
import { toColumns } from "../../src/channels/settings.ts";
import type { ChannelSettings } from "../../src/channels/settings.ts";
import { insertChannel } from "../../src/channels/store.ts";
import type { Database } from "../../src/db/database.ts";
import { openDatabase } from "../../src/db/open.ts";
import { must } from "../../src/lib/errors.ts";
import { createIds } from "../../src/lib/ids.ts";
import type { Ids } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import type { Random } from "../../src/lib/random.ts";
import { createAdjustableClock, minuteMs, systemClock } from "../../src/lib/time.ts";
import { createCatalogue } from "../../src/models/catalogue.ts";
import { createDice } from "../crash/dice.ts";
import type { Dice } from "../crash/dice.ts";
import { createTestClock } from "../support/clock.ts";
import type { TestClock } from "../support/clock.ts";
import { testModel } from "../support/engine.ts";
import { startSimulatedGateway } from "./gateway.ts";
import type { SimulatedGateway, Surroundings } from "./gateway.ts";
import { resultHostOf } from "./links.ts";
import type { Machine } from "./machine.ts";
import { createNetwork } from "./network.ts";
import type { Server, Weather } from "./network.ts";
import { createNotices } from "./notices.ts";
import { createReceiver, createReferenceServer, receiverHosts, referenceHost } from "./servers.ts";
import type { SimulatedReceiver } from "./servers.ts";
import { createSimulatedStorage } from "./storage.ts";
import type { SimulatedStorage } from "./storage.ts";
import { createSimulatedVendor } from "./vendor.ts";
import type { SimulatedVendor } from "./vendor.ts";

/** A machine of the gateway, and the process that runs on it, or that has died there last. */
export type Node = {
  machine: Machine;
  gateway: SimulatedGateway;
  /** When the next process starts, on the monotonic clock; null while nobody has seen that one is dead. */
  startsAtMs: number | null;
  /** Whoever runs there cannot reach the database. */
  isCutOff: boolean;
};

export type World = Surroundings & {
  seed: number;
  dice: Dice;
  clock: TestClock;
  db: Database;
  ids: Ids;
  storage: SimulatedStorage;
  vendors: readonly SimulatedVendor[];
  receiver: SimulatedReceiver;
  weather: Weather;
  callers: readonly Caller[];
  /** One, or two that share the database. */
  nodes: readonly Node[];
  /** Tasks whose id a caller was told, with the caller. */
  accepted: Map<string, Caller>;
  /** The task of every idempotency key, as the first reply said. */
  keys: Map<string, string>;
  /** What must not be, as it was found. */
  problems: string[];
  /** What happened, in order: equal for equal seeds. */
  trace: string[];
  /** Since when, on the monotonic clock, tasks past their deadline could have been ended; by task. */
  overdue: Map<string, number>;
  /** Milliseconds in which a process lived and had its database. */
  servedMs: number;
  /** The rows of ended tasks as they were first seen. */
  ended: Map<string, string>;
};

const noSettings = {
  provider: "simulated",
  tiers: ["standard"],
  priority: 0,
  weight: 1,
  costRatioPpm: 1_000_000,
  caps: {},
  timeoutMs: minuteMs,
  unknownOutcome: "fail",
  allow: [],
  settings: {},
} as const satisfies Partial<ChannelSettings>;

/** How each vendor's channel differs from that. */
const channelSettings: Record<string, Partial<ChannelSettings>> = {
  oneshot: { caps: { "*": 6 }, weight: 2 },
  jobs: { caps: { "*": 4, "up-jobs": 3 }, unknownOutcome: "retry_once", timeoutMs: 45_000 },
  graph: { tiers: ["standard", "official"], priority: -1, weight: 1 },
  dear: { tiers: ["official"], caps: { "*": 2 } },
};

/** Keys of one account, each with a limit of its own. */
const keyLimits: readonly Partial<KeySettings>[] = [
  {},
  { cap: 500_000 },
  { tasksInFlight: 3 },
  { spendPerDay: 900_000 },
  { mode: "test" },
];

/** Nothing in a simulation waits for a file or a socket: what goes on, goes on in these turns. */
const turns = 4;
/** A machine that nobody has set the clock of. */
const skewMsMax = 5 * minuteMs;

export async function createWorld(seed: number): Promise<World> {
  const dice = createDice(seed);
  const clock = createTestClock(undefined, { turns });
  const random = createRandom(dice.fork());
  const ids = createIds(clock, random);
  const problems: string[] = [];
  const trace: string[] = [];
  const note = (event: string): void => void trace.push(`${clock.monotonic()} ${event}`);
  const weather: Weather = { isCalm: false };
  const db = await openDatabase(
    { kind: "sqlite", path: ":memory:" },
    // Its patience with locks is in real time; nobody else has this database.
    {
      clock: systemClock,
      random,
      log: createLog("silent"),
      onFatal: (error) => problems.push(String(error)),
    },
  );
  const createVendor = (name: string, traits: Partial<SimulatedVendor>): SimulatedVendor =>
    createSimulatedVendor(
      { ...noTraits, name, ...traits },
      { clock, dice: dice.fork(), weather, note },
    );
  const vendors = [
    createVendor("oneshot", { picturesMax: 4 }),
    createVendor("jobs", { hasJobs: true, hasLinks: true }),
    createVendor("graph", { hasJobs: true, resend: "safe", canCancel: true, picturesMax: 2 }),
    createVendor("dear", { hasLinks: true }),
  ];
  const receiver = createReceiver({ dice: dice.fork(), weather });
  const around = {
    clock,
    random,
    ids,
    db,
    weather,
    receiver,
    storage: createSimulatedStorage(),
    network: createNetwork({
      clock,
      servers: new Map<string, Server>([
        ...vendors.map(({ name, server }) => [resultHostOf(name), server] as const),
        ...receiverHosts.map((host) => [host, receiver.server] as const),
        [referenceHost, createReferenceServer({ dice: dice.fork(), weather })],
      ]),
    }),
    notices: createNotices({ clock, dice: dice.fork() }),
    vendors,
    testVendor: createVendor("playground", { picturesMax: 4, resend: "safe" }),
    catalogue: createCatalogue(),
    isShared: dice.isLucky(0.6),
    note,
    alarm: (line: string) => void problems.push(`the log tells of a mistake: ${line}`),
  } satisfies Surroundings & Partial<World>;
  const callers = await prepare(around);
  const names = around.isShared ? ["first", "second"] : ["only"];
  return {
    ...around,
    seed,
    dice,
    callers,
    nodes: names.map((name) => startNode(around, name, dice)),
    accepted: new Map(),
    keys: new Map(),
    problems,
    trace,
    overdue: new Map(),
    servedMs: 0,
    ended: new Map(),
  };
}

const noTraits = {
  picturesMax: 1,
  resend: "never",
  hasJobs: false,
  canCancel: false,
  hasLinks: false,
} as const;

function startNode(around: Surroundings, name: string, dice: Dice): Node {
  const clock = createAdjustableClock(around.clock);
  if (around.isShared) clock.adjustBy(dice.between(-skewMsMax, skewMsMax));
  const machine = { name, clock };
  const gateway = startSimulatedGateway(around, machine, { isDead: false, isCutOff: false });
  return { machine, gateway, startsAtMs: null, isCutOff: false };
}

/** Two accounts with keys and money, and a channel for every vendor. */
async function prepare({
  db,
  clock,
  ids,
  random,
  vendors,
}: Surroundings & { ids: Ids }): Promise<Caller[]> {
  const now = clock.now();
  await db.transaction(async (tx) => {
    for (const { name } of vendors) {
      const settings: ChannelSettings = {
        ...noSettings,
        baseUrl: `https://${name}`,
        models: [{ model: testModel, upstreamModel: `up-${name}` }],
        ...channelSettings[name],
      };
      const columns = { ...newRow(name, now), ...toColumns(settings) };
      await insertChannel(tx, { ...columns, source: "operator", updated_at: now });
    }
  });
  const accounts = createAccounts({ db, clock, ids, openBooks });
  const keys = createKeys({ db, clock, random, ids, pepper: Buffer.alloc(32, 7) });
  const callers: Caller[] = [];
  for (const [name, funds] of [
    ["large", 20_000_000],
    ["small", 700_000],
  ] as const) {
    const { id: accountId } = await accounts.createAccount(name);
    await db.transaction((tx) =>
      credit(tx, { accountId, mode: "live", amount: funds, reference: "first", note: null, now }),
    );
    for (const limits of keyLimits) {
      const made = await keys.createKey({ accountId, mode: "live", name: "key", ...limits });
      callers.push(must(await keys.verify(made.token), "a caller"));
    }
  }
  return callers;
}

/** Not unpredictable, and not to be: a seed says everything. */
function createRandom(dice: Dice): Random {
  return {
    bytes: (size) => Buffer.from(Array.from({ length: size }, () => dice.between(0, 255))),
    fraction: dice.fraction,
  };
}
