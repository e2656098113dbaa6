/** One process of the gateway, as `compose/` puts it together, on a database, a store and vendors that outlive it. */
import { pino } from "pino";

import type { Caller } from "../../src/accounts/caller.ts";
import { createBreakers } from "../../src/channels/breaker.ts";
import type { Channel } from "../../src/channels/channel.ts";
import { createChannels } from "../../src/channels/channels.ts";
import type { Database } from "../../src/db/database.ts";
import { PictureError } from "../../src/images/picture.ts";
import type { PictureProcesses } from "../../src/images/picture.ts";
import { measurePicture } from "../../src/images/measure.ts";
import type { Egress } from "../../src/lib/egress.ts";
import { AppError, must } from "../../src/lib/errors.ts";
import { createGate } from "../../src/lib/gate.ts";
import { createIds } from "../../src/lib/ids.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import type { Log } from "../../src/lib/log.ts";
import { createLoop } from "../../src/lib/loop.ts";
import type { Random } from "../../src/lib/random.ts";
import { dayMs, secondMs } from "../../src/lib/time.ts";
import type { AdjustableClock, Clock } from "../../src/lib/time.ts";
import { createVault } from "../../src/lib/vault.ts";
import type { Catalogue } from "../../src/models/catalogue.ts";
import { createLinks } from "../../src/storage/links.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { cancelTask } from "../../src/tasks/cancel.ts";
import type { EngineDeps } from "../../src/tasks/engine.ts";
import { createTaskEvents } from "../../src/tasks/events.ts";
import { createOverload } from "../../src/tasks/overload.ts";
import { createRescue } from "../../src/tasks/rescue.ts";
import { createSharedWatch } from "../../src/tasks/shared-watch.ts";
import { createSubmitter } from "../../src/tasks/submit.ts";
import type { Submitted } from "../../src/tasks/submit.ts";
import { createWatch } from "../../src/tasks/watch.ts";
import type { Watch } from "../../src/tasks/watch.ts";
import { createWorker } from "../../src/tasks/worker.ts";
import { createDeliverer } from "../../src/webhooks/deliverer.ts";
import type { Deliverer } from "../../src/webhooks/deliverer.ts";
import {
  createMortalAdapter,
  createMortalClock,
  createMortalDatabase,
  createMortalEgress,
  createMortalStorage,
} from "../support/mortal.ts";
import { createMemoryIntake } from "../support/memory-intake.ts";
import type { Life } from "../support/mortal.ts";
import { createNodeClock, keepTime } from "./machine.ts";
import type { Machine } from "./machine.ts";
import type { Notices } from "./notices.ts";
import type { SimulatedVendor } from "./vendor.ts";

/** What there is besides processes. */
export type Surroundings = {
  /** The true time, which is the database's. */
  clock: Clock;
  random: Random;
  db: Database;
  storage: Storage;
  network: Egress;
  notices: Notices;
  vendors: readonly SimulatedVendor[];
  /** What test keys are served by. */
  testVendor: SimulatedVendor;
  catalogue: Catalogue;
  /** True where several nodes share the database: then nobody is dead only because somebody starts. */
  isShared: boolean;
  note(event: string): void;
  /** Called with every line of the log that tells of a mistake of ours. */
  alarm(line: string): void;
};

export type Wish = {
  caller: Caller;
  body: JsonObject;
  idempotency: { route: string; key: string; digest: string } | null;
};

export type SimulatedGateway = {
  readonly life: Life;
  submit(wish: Wish): Promise<Submitted>;
  cancel(caller: Caller, taskId: string): Promise<void>;
  /** Ends in order; resolves when everything is given back. */
  stop(): Promise<void>;
};

export const deadlineMs = 90 * secondMs;
const channelLookMs = 2 * secondMs;
/** A few pictures: further ones are let go of while the store is away. */
const spoolBytesMax = 1_000;
const origin = "http://darkroom.test";

/** Starts a process; what it does at its start goes on after the return, and may be its death. */
export function startSimulatedGateway(
  around: Surroundings,
  machine: Machine,
  life: Life,
): SimulatedGateway {
  const { deps, deliverer } = compose(around, machine, life);
  const { channels, clock, log } = deps;
  const worker = createWorker(deps, { tasksMax: 20 });
  const rescue = createRescue(deps);
  const time = keepTime(deps, around);
  const overload = createOverload({
    ...deps,
    readLoopDelay: () => 0,
    readDiskRoom: () => Promise.resolve(null),
    deadlineMs,
  });
  const refreshing = createLoop({
    clock,
    everyMs: channelLookMs,
    turn: () => channels.refresh(),
    onError: (error) => log.warn({ err: error }, "the channels could not be looked at"),
  });
  const submit = createSubmitter({
    ...deps,
    overload,
    links: createLinks({ secret: Buffer.alloc(32, 9), clock }),
    linkBases: () => [origin],
    deadlineMs,
    idempotencyTtlMs: dayMs,
  });
  // Nobody is listened to before the database has been reached.
  const opened = time.start();
  const started = (async () => {
    await opened;
    await channels.refresh();
    refreshing.start();
    await rescue.start();
    await worker.start();
    overload.start();
    deliverer.start();
  })();
  // A process that cannot start ends, and whoever watches over it starts another.
  started.catch((error: unknown) => {
    life.isDead = true;
    if (!(error instanceof AppError)) around.alarm(`the start failed: ${String(error)}`);
  });
  return {
    life,
    submit: async (wish) => {
      await opened;
      return submit({ ...wish, admit: () => undefined });
    },
    cancel: async (caller, taskId) => {
      await opened;
      await cancelTask(deps, { ...caller, taskId });
    },
    stop: async () => {
      await started;
      for (const part of [worker, rescue, deliverer, overload, refreshing, time]) await part.stop();
    },
  };
}

type Parts = { deps: EngineDeps & { clock: AdjustableClock }; deliverer: Deliverer };

function compose(around: Surroundings, machine: Machine, life: Life): Parts {
  const { random, catalogue, isShared } = around;
  const clock = createNodeClock(createMortalClock(machine.clock, life), around);
  const shared: Database = isShared ? { ...around.db, dialect: "postgres" } : around.db;
  const db = createMortalDatabase(shared, life);
  const egress = createMortalEgress(around.network, life);
  const log = createWatchedLog(around);
  const storage = createMortalStorage(around.storage, life);
  const ids = createIds(clock, random);
  const vault = createVault({ key: Buffer.alloc(32, 5), random });
  const deliverer = createDeliverer({ db, clock, random, ids, log, vault, egress });
  const watch = createNodeWatch(around, clock);
  const deps = {
    db,
    clock,
    random,
    ids,
    log,
    storage,
    pictures: simulatedPictures,
    egress,
    channels: connectChannels(around, { db, clock, log, egress, life }),
    breakers: createBreakers({ clock }),
    catalogue,
    watch,
    resultTtlMs: () => dayMs,
    events: createTaskEvents({
      ids,
      watch,
      catalogue,
      links: createLinks({ secret: Buffer.alloc(32, 9), clock }),
      publicUrl: () => origin,
      nudge: deliverer.nudge,
    }),
    requestBytes: createGate(128 * 2 ** 20),
    ...createMemoryIntake({ storage, clock, random, log }, spoolBytesMax),
  };
  return { deps, deliverer };
}

/** Hears of the other nodes by its own clock, so that the dead hear nothing and the frozen hear it later. */
function createNodeWatch({ isShared, notices, random }: Surroundings, clock: Clock): Watch {
  const local = createWatch();
  if (!isShared) return local;
  const node = random.bytes(8).toString("hex");
  const shared = createSharedWatch(local, { clock, node, send: notices.send });
  notices.listen((text) => void clock.after(0, () => shared.receive(text)));
  return shared.watch;
}

type ChannelParts = Pick<EngineDeps, "db" | "clock" | "log" | "egress"> & { life: Life };

function connectChannels(
  { vendors, testVendor }: Surroundings,
  { egress, life, ...parts }: ChannelParts,
): EngineDeps["channels"] {
  return createChannels({
    ...parts,
    vault: { open: () => "" },
    connector: {
      connect: ({ baseUrl }) => {
        const vendor = vendors.find(({ name }) => baseUrl.endsWith(name));
        const { adapter } = must(vendor, `a vendor at ${baseUrl}`);
        return { adapter: createMortalAdapter(adapter, life), egress };
      },
    },
    builtIn: [createTestChannel(testVendor, life)],
  });
}

function createTestChannel({ name, adapter }: SimulatedVendor, life: Life): Channel {
  return {
    name,
    adapter: createMortalAdapter(adapter, life),
    mode: "test",
    tiers: ["standard", "official"],
    upstreamModel: (model) => model,
    priority: 0,
    weight: 1,
    timeoutMs: Number.POSITIVE_INFINITY,
    costRatioPpm: 0,
    caps: new Map(),
    unknownOutcome: "fail",
    isDisabled: false,
    fault: null,
  };
}

/** Failures that the simulation itself causes; anything else in the log is a mistake of ours. */
const expected = ["AppError", "StorageError", "ProviderError", "OwnFailure", "EgressError"];

function createWatchedLog({ alarm, note }: Surroundings): Log {
  const write = (line: string): void => {
    const { err, msg } = JSON.parse(line) as { err?: { type?: string }; msg?: string };
    note(`a node says: ${msg}`);
    if (err !== undefined && !expected.includes(err.type ?? "")) alarm(line);
  };
  return pino({ level: "warn", base: null, timestamp: false }, { write });
}

/** Pictures of vendors keep their promises, and those of callers are clean or no pictures at all. */
const simulatedPictures = {
  clean: async (bytes, limits) => {
    const { format, contentType, width, height } = measurePicture(bytes, limits);
    return { bytes, info: { format, contentType, width, height, hasAlpha: false } };
  },
  cleanMask: refuse,
  inspectMask: refuse,
  convert: refuse,
  composite: refuse,
  draw: refuse,
  close: () => Promise.resolve(),
} satisfies PictureProcesses;

function refuse(): Promise<never> {
  return Promise.reject(new PictureError("broken", "is not worked on in a simulation"));
}
