/** One process of the gateway, as `compose/` puts it together, on a database, a store and vendors that outlive it. */
import { pino } from "pino";

import type { Caller } from "../../src/accounts/caller.ts";
import { createBreakers } from "../../src/channels/breaker.ts";
import type { Channel } from "../../src/channels/channel.ts";
import { createChannels } from "../../src/channels/channels.ts";
import type { Database } from "../../src/db/database.ts";
import type { Egress } from "../../src/lib/egress.ts";
import { AppError, must } from "../../src/lib/errors.ts";
import { createGate } from "../../src/lib/gate.ts";
import type { Ids } from "../../src/lib/ids.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import type { Log } from "../../src/lib/log.ts";
import { createLoop } from "../../src/lib/loop.ts";
import type { Random } from "../../src/lib/random.ts";
import { dayMs, secondMs } from "../../src/lib/time.ts";
import type { Clock } from "../../src/lib/time.ts";
import type { PictureProcesses } from "../../src/images/picture.ts";
import type { Catalogue } from "../../src/models/catalogue.ts";
import { createLinks } from "../../src/storage/links.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { cancelTask } from "../../src/tasks/cancel.ts";
import type { EngineDeps } from "../../src/tasks/engine.ts";
import { createTaskEvents } from "../../src/tasks/events.ts";
import { createOverload } from "../../src/tasks/overload.ts";
import { createRescue } from "../../src/tasks/rescue.ts";
import { createSubmitter } from "../../src/tasks/submit.ts";
import type { Submitted } from "../../src/tasks/submit.ts";
import { createWatch } from "../../src/tasks/watch.ts";
import { createWorker } from "../../src/tasks/worker.ts";
import { endangerAdapter, endangerClock, endangerDatabase, endangerStorage } from "./death.ts";
import type { Life } from "./death.ts";
import type { SimulatedVendor } from "./vendor.ts";

/** What there is besides processes. */
export type Surroundings = {
  clock: Clock;
  random: Random;
  ids: Ids;
  db: Database;
  storage: Storage;
  vendors: readonly SimulatedVendor[];
  /** What test keys are served by. */
  testVendor: SimulatedVendor;
  catalogue: Catalogue;
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
const origin = "http://darkroom.test";

/** Starts a process; what it does at its start goes on after the return, and may be its death. */
export function startSimulatedGateway(around: Surroundings, pointsLeft: number): SimulatedGateway {
  const life: Life = { isDead: false, isCutOff: false, pointsLeft };
  const deps = composeDeps(around, life);
  const { channels, clock, log } = deps;
  const worker = createWorker(deps, { tasksMax: 20 });
  const rescue = createRescue(deps);
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
  const started = (async () => {
    await channels.refresh();
    refreshing.start();
    await rescue.start();
    await worker.start();
    overload.start();
  })();
  // A process that cannot start ends, and whoever watches over it starts another.
  started.catch((error: unknown) => {
    life.isDead = true;
    if (!(error instanceof AppError)) around.alarm(`the start failed: ${String(error)}`);
  });
  return {
    life,
    submit: (wish) => submit({ ...wish, admit: () => undefined }),
    cancel: (caller, taskId) => cancelTask(deps, { ...caller, taskId }),
    stop: async () => {
      await started;
      await worker.stop();
      await rescue.stop();
      await overload.stop();
      await refreshing.stop();
    },
  };
}

function composeDeps(around: Surroundings, life: Life): EngineDeps {
  const { random, ids, catalogue, vendors, testVendor } = around;
  const clock = endangerClock(around.clock, life);
  const db = endangerDatabase(around.db, life);
  const log = createAlarmedLog(around.alarm);
  const watch = createWatch();
  const channels = createChannels({
    db,
    clock,
    log,
    vault: { open: () => "" },
    connector: {
      connect: ({ baseUrl }) => {
        const vendor = vendors.find(({ name }) => baseUrl.endsWith(name));
        const { adapter } = must(vendor, `a vendor at ${baseUrl}`);
        return { adapter: endangerAdapter(adapter, life), egress: noEgress };
      },
    },
    builtIn: [createTestChannel(testVendor, life)],
  });
  return {
    db,
    clock,
    random,
    ids,
    log,
    storage: endangerStorage(around.storage, life),
    pictures: noPictures,
    egress: noEgress,
    channels,
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
      nudge: () => undefined,
    }),
    requestBytes: createGate(128 * 2 ** 20),
  };
}

function createTestChannel({ name, adapter }: SimulatedVendor, life: Life): Channel {
  return {
    name,
    adapter: endangerAdapter(adapter, life),
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
const expected = ["AppError", "StorageError", "ProviderError", "OwnFailure"];

function createAlarmedLog(alarm: (line: string) => void): Log {
  const write = (line: string): void => {
    const { err } = JSON.parse(line) as { err?: { type?: string } };
    if (err !== undefined && !expected.includes(err.type ?? "")) alarm(line);
  };
  return pino({ level: "warn", base: null, timestamp: false }, { write });
}

/** Pictures here keep their promises, and none is fetched: neither is ever asked. */
const noPictures = refuseAll<PictureProcesses>("picture processes");
const noEgress = {
  ...refuseAll<Egress>("the network"),
  // Webhook addresses are looked at when they are submitted.
  checkUrl: (url: string) => new URL(url),
} as unknown as Egress;

function refuseAll<T extends object>(what: string): T {
  const refuse = (): never => {
    throw new TypeError(`a simulation has no use for ${what}`);
  };
  return new Proxy({}, { get: () => refuse }) as T;
}
