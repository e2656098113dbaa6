/**
 * The real task engine on a test database, with scripted vendors, for tests of `tasks/`: real storage
 * in a temporary folder, real picture processes, a real way out to loopback servers. Time moves only
 * when nothing else can: `run` waits until all work under way has come to rest before it advances the
 * clock, so a slow database never looks like a slow vendor.
 */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

import type { Task as WireTask } from "../../../client/src/tasks.ts";
import { createAccounts } from "../../src/accounts/accounts.ts";
import type { Caller } from "../../src/accounts/caller.ts";
import { findLockedUsage, listUsages } from "../../src/accounts/key-usage.ts";
import type { KeySettings } from "../../src/accounts/key-settings.ts";
import { createKeys } from "../../src/accounts/keys.ts";
import { checkLedger } from "../../src/billing/check.ts";
import { loadBook } from "../../src/billing/balance.ts";
import { credit, openBooks } from "../../src/billing/ledger.ts";
import { createBreakers } from "../../src/channels/breaker.ts";
import { createChannels } from "../../src/channels/channels.ts";
import { createConnector } from "../../src/channels/connect.ts";
import type { Database } from "../../src/db/database.ts";
import { lockFolder } from "../../src/db/folder-lock.ts";
import type { Mode } from "../../src/db/schema.ts";
import { createPictureProcesses } from "../../src/images/processes.ts";
import type { PictureProcesses } from "../../src/images/picture.ts";
import { createEgress } from "../../src/lib/egress.ts";
import type { Egress } from "../../src/lib/egress.ts";
import { must } from "../../src/lib/errors.ts";
import { createGate } from "../../src/lib/gate.ts";
import { createIds } from "../../src/lib/ids.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import { createLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/lib/random.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Clock } from "../../src/lib/time.ts";
import { dayMs, hourMs, minuteMs, systemClock } from "../../src/lib/time.ts";
import { createVault } from "../../src/lib/vault.ts";
import { createCatalogue } from "../../src/models/catalogue.ts";
import type { Language } from "../../src/models/model.ts";
import { createDiskStorage } from "../../src/storage/disk.ts";
import { createLinks } from "../../src/storage/links.ts";
import type { Links } from "../../src/storage/links.ts";
import { createOutage } from "../../src/storage/outage.ts";
import { createSpool } from "../../src/storage/spool.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { loadAttempts } from "../../src/tasks/attempt-store.ts";
import { cancelTask } from "../../src/tasks/cancel.ts";
import type { EngineDeps } from "../../src/tasks/engine.ts";
import { createTaskEvents } from "../../src/tasks/events.ts";
import { createReader } from "../../src/tasks/read.ts";
import { createRescue } from "../../src/tasks/rescue.ts";
import type { Rescue } from "../../src/tasks/rescue.ts";
import { loadSlots } from "../../src/tasks/slot-store.ts";
import { isFinal, taskTransitions } from "../../src/tasks/state.ts";
import { findTask } from "../../src/tasks/store.ts";
import { createOverload } from "../../src/tasks/overload.ts";
import type { Overload } from "../../src/tasks/overload.ts";
import { createSubmitter } from "../../src/tasks/submit.ts";
import type { SubmitInput, Submitted } from "../../src/tasks/submit.ts";
import { sweep } from "../../src/tasks/sweep.ts";
import { listOpenTaskIds } from "../../src/tasks/sweep-store.ts";
import type { Attempt, Slot, Task } from "../../src/tasks/task.ts";
import { createWatch } from "../../src/tasks/watch.ts";
import { createWorker } from "../../src/tasks/worker.ts";
import type { Worker } from "../../src/tasks/worker.ts";
import { countSyncs, createActivity, trackAll, trackDatabase, trackEgress } from "./activity.ts";
import type { Activity, SyncCounts } from "./activity.ts";
import type { TestClock } from "./clock.ts";
import { onEachDatabase } from "./databases.ts";
import type { TestDatabase } from "./databases.ts";
import { createMortalClock, createMortalDatabase } from "./mortal.ts";
import { createVendor } from "./vendor.ts";
import type { Vendor } from "./vendor.ts";

/** 0.0387 USD a picture, one to four pictures, references and masks. */
export const testModel = "gemini-2.5-flash-image-preview";
export const testPrice = 38_700;

export type EngineOptions = {
  vendors?: readonly Vendor[];
  /** Of the key that submits. */
  mode?: Mode;
  key?: Partial<KeySettings>;
  /** Micro-USD on the live book. */
  funds?: number;
  deadlineMs?: number;
  retentionMs?: number;
  random?: Random;
  /** What refuses submits; one that never does without it. */
  overload?: Pick<Overload, "assertAccepting" | "checkBacklog">;
  /** Bounds the reference bytes in memory. */
  requestBytesMax?: number;
  /** Where pictures are kept; a folder without it. Closed by the test. */
  storage?: Storage;
  /** Bounds the pictures on their way into the storage. */
  storeBytesMax?: number;
  /** Bounds the pictures that wait for the storage, in files and in memory. */
  spoolBytesMax?: number;
  spoolMemoryBytesMax?: number;
  pictures?: PictureProcesses;
};

/** A worker with its rescue, as one process would run them. */
export type Life = {
  deps: EngineDeps;
  worker: Worker;
  rescue: Rescue;
  /** Ends as a process that is killed does: nothing more is written, sent, slept or cleaned up. */
  crash(): void;
  /** Takes the database away from this process, or gives it back. */
  cutOff(isCutOff: boolean): void;
  stop(): Promise<void>;
};

export type SubmitWishes = Partial<SubmitInput> & { body: JsonObject };

export type TestEngine = AsyncDisposable & {
  db: Database;
  clock: TestClock;
  vendor: Vendor;
  storage: Storage;
  /** Folder of the storage; not made before its first object. */
  folder: string;
  /** Folder of what waits for the storage; not made before the first picture waits. */
  spoolFolder: string;
  caller: Caller;
  /** An absolute link of our own to a stored PNG. */
  linkTo(object: string, expiresAtMs: number): string;
  /** Parts of the engine without a worker, for tests of a single verb. */
  deps: EngineDeps;
  /** Commits of the engine so far, and how many of them no sync has covered yet. */
  commits(): number;
  unsynced(): number;
  createCaller(settings?: Partial<KeySettings>): Promise<Caller>;
  addFunds(amount: number, accountId?: string): Promise<void>;
  submitTask(input: SubmitWishes): Promise<Submitted>;
  /** A submitter with a list of its own, as in another process. */
  createSubmit(): (input: SubmitWishes) => Promise<Submitted>;
  /** Submits the test model; resolves with the task's id. */
  submit(body?: JsonObject, caller?: Caller): Promise<string>;
  cancel(taskId: string, caller?: Caller): Promise<void>;
  /** The task as its caller sees it. */
  read(taskId: string, language?: Language, caller?: Caller): Promise<WireTask>;
  find(taskId: string): Promise<Task>;
  attempts(taskId: string): Promise<Attempt[]>;
  slots(taskId: string): Promise<Slot[]>;
  start(options?: { tasksMax?: number; another?: boolean }): Promise<Life>;
  sweep(): Promise<boolean>;
  /** Resolves when nothing is under way but waits. */
  rest(): Promise<void>;
  /** Moves time until `until` holds; fails when it does not within `withinMs`. */
  run(until: () => boolean | Promise<boolean>, withinMs?: number): Promise<void>;
  /** Moves time by `ms`, letting all work come to rest on the way. */
  pass(ms: number): Promise<void>;
  untilEnded(taskId: string, withinMs?: number, by?: Caller): Promise<void>;
  /** Fails when an invariant of the ledger does not hold. */
  checkLedger(): Promise<void>;
  balance(): Promise<{ available: number; held: number }>;
};

export type OpenEngine = (options?: EngineOptions) => Promise<TestEngine>;

/** Declares the tests of `suite` on SQLite and on PostgreSQL; `open` gives each test an engine of its own. */
export function onEachEngine(suite: (name: Database["dialect"], open: OpenEngine) => void): void {
  onEachDatabase((name, setup) => {
    const log = createLog("silent");
    const pictures = createPictureProcesses({ clock: systemClock, log });
    after(() => pictures.close());
    suite(name, async (options = {}) => openEngine(await setup(), { pictures, ...options }));
  });
}

type Parts = {
  options: EngineOptions;
  test: TestDatabase;
  activity: Activity;
  deps: EngineDeps;
  lives: Set<Life>;
  caller: Caller;
  spoolFolder: string;
};

async function openEngine(test: TestDatabase, options: EngineOptions): Promise<TestEngine> {
  const activity = createActivity();
  const folder = await mkdtemp(join(tmpdir(), "darkroom-engine-"));
  const [vendor = createVendor()] = options.vendors ?? [];
  const vendors = options.vendors ?? [vendor];
  for (const each of vendors) each.track = activity.track;
  const egress = createEgress({
    allow: ["127.0.0.0/8"],
    resolve: () => Promise.reject(new Error("no names in tests")),
    clock: systemClock,
  });
  const spoolFolder = `${folder}.spool`;
  const storage = options.storage ?? createDiskStorage({ folder, random: systemRandom });
  const { deps, unsynced, commits } = createDeps({
    test,
    activity,
    storage,
    egress,
    vendors,
    options,
    spoolFolder,
  });
  const createCaller = createCallers(deps);
  const caller = await createCaller({ mode: options.mode ?? "live", ...options.key });
  const parts: Parts = { options, test, activity, deps, lives: new Set(), caller, spoolFolder };
  const funds = options.funds ?? 100_000_000;
  if (funds > 0) await addFunds(deps, caller.accountId, funds);
  return {
    db: test.db,
    clock: test.clock,
    vendor,
    storage,
    folder,
    spoolFolder,
    caller,
    deps,
    commits,
    unsynced,
    createCaller,
    addFunds: (amount, accountId = caller.accountId) => addFunds(deps, accountId, amount),
    ...createVerbs(parts),
    ...createTime(parts),
    start: (begin = {}) => startLife(parts, begin),
    sweep: () => sweep({ ...deps, retentionMs: options.retentionMs ?? 30 * dayMs }),
    checkLedger: () => assertLedger(test.db),
    balance: () => loadBook(test.db.read, caller),
    [Symbol.asyncDispose]: async () => {
      for (const life of parts.lives) life.crash();
      await activity.rest();
      await egress.close();
      await rm(folder, { recursive: true, force: true });
      await rm(spoolFolder, { recursive: true, force: true });
    },
  };
}

type DepsParts = {
  test: TestDatabase;
  activity: Activity;
  storage: Storage;
  egress: Egress;
  vendors: readonly Vendor[];
  options: EngineOptions;
  spoolFolder: string;
};

function createDeps(parts: DepsParts): { deps: EngineDeps } & SyncCounts {
  const { test, activity, storage, egress, vendors, options } = parts;
  const random = options.random ?? systemRandom;
  const synced = countSyncs(trackDatabase(activity, test.db));
  const ids = createIds(test.clock, random);
  const watch = createWatch();
  const catalogue = createCatalogue();
  const deps: EngineDeps = {
    db: synced.db,
    clock: test.clock,
    random,
    ids,
    log: createLog("silent"),
    storage: trackAll(activity, storage),
    pictures: trackAll(activity, must(options.pictures, "picture processes")),
    egress: trackEgress(activity, egress),
    channels: createChannels({
      db: synced.db,
      clock: test.clock,
      log: createLog("silent"),
      vault: createVault({ key: Buffer.alloc(32, 9), random }),
      connector: createConnector({ openEgress: () => egress, allow: [], models: [] }),
      builtIn: vendors.map(({ channel }) => channel),
    }),
    breakers: createBreakers({ clock: test.clock }),
    catalogue,
    watch,
    resultTtlMs: () => dayMs,
    events: createTaskEvents({
      ids,
      watch,
      catalogue,
      links: createTestLinks(test.clock),
      publicUrl: () => base,
      nudge: () => undefined,
    }),
    requestBytes: createGate(options.requestBytesMax ?? 128 * 2 ** 20),
    ...createIntake(parts, test.clock),
  };
  return { deps, commits: synced.commits, unsynced: synced.unsynced };
}

type IntakeParts = Pick<DepsParts, "activity" | "storage" | "options" | "spoolFolder">;

/** What a process has of its own between vendors and the storage. */
function createIntake({ activity, storage, options, spoolFolder }: IntakeParts, clock: Clock) {
  const log = createLog("silent");
  const spool = createSpool({
    folder: spoolFolder,
    bytesMax: options.spoolBytesMax ?? 2 ** 30,
    memoryBytesMax: options.spoolMemoryBytesMax ?? 0,
    random: systemRandom,
    log,
    readDiskRoom: () => Promise.resolve(null),
    lock: lockFolder,
  });
  return {
    storeBytes: createGate(options.storeBytesMax ?? 128 * 2 ** 20),
    spool: trackAll(activity, spool),
    outage: createOutage({ storage: trackAll(activity, storage), clock, log }),
  };
}

const base = "http://darkroom.test";

function createTestLinks(clock: TestClock): Links {
  return createLinks({ secret: Buffer.alloc(32, 9), clock });
}

function createCallers(deps: EngineDeps): TestEngine["createCaller"] {
  const pepper = Buffer.alloc(32, 7);
  const keys = createKeys({ ...deps, pepper });
  const accounts = createAccounts({ ...deps, openBooks });
  let accountsMade = 0;
  return async (settings = {}) => {
    accountsMade += 1;
    const accountId =
      settings.accountId ?? (await accounts.createAccount(`account ${accountsMade}`)).id;
    const made = await keys.createKey({ mode: "live", name: "key", ...settings, accountId });
    return must(await keys.verify(made.token), "a caller");
  };
}

async function addFunds({ db, clock, ids }: EngineDeps, accountId: string, amount: number) {
  const reference = ids("request");
  const now = clock.now();
  await db.transaction((tx) =>
    credit(tx, { accountId, mode: "live", amount, reference, note: null, now }),
  );
}

function createVerbs({ options, test, deps, caller }: Parts) {
  const links = createTestLinks(test.clock);
  const createSubmit = () => {
    const submitTask = createSubmitter({
      ...deps,
      overload:
        options.overload ??
        createOverload({
          ...deps,
          readLoopDelay: () => 0,
          readDiskRoom: () => Promise.resolve(null),
          deadlineMs: options.deadlineMs ?? 30 * minuteMs,
        }),
      links,
      linkBases: () => [base],
      deadlineMs: options.deadlineMs ?? 30 * minuteMs,
      idempotencyTtlMs: 24 * hourMs,
    });
    return (input: SubmitWishes) =>
      submitTask({ caller, idempotency: null, admit: () => undefined, ...input });
  };
  const readTask = createReader({
    ...deps,
    links,
    retentionMs: options.retentionMs ?? 30 * dayMs,
    publicUrl: () => base,
  });
  const verbs = {
    linkTo: (object: string, expiresAtMs: number) =>
      `${base}${links.sign(object, "png", expiresAtMs)}`,
    createSubmit,
    submitTask: createSubmit(),
    submit: async (body: JsonObject = {}, by = caller) => {
      const whole = { model: testModel, prompt: "a lighthouse", ...body };
      return (await verbs.submitTask({ body: whole, caller: by })).taskId;
    },
    cancel: (taskId: string, by = caller) => cancelTask(deps, { ...by, taskId }),
    read: async (taskId: string, language: Language = "en", by = caller) => {
      const text = must(await readTask({ ...by, taskId, language }), `task ${taskId}`);
      return JSON.parse(text.json) as WireTask;
    },
    find: async (taskId: string) =>
      must(await findTask(test.db.read, caller.accountId, taskId), `task ${taskId}`),
    attempts: (taskId: string) => loadAttempts(test.db.read, caller.accountId, taskId),
    slots: (taskId: string) => loadSlots(test.db.read, caller.accountId, taskId),
  };
  return verbs;
}

/** Small enough that a poll is seen at its time, large enough that a minute passes quickly. */
const stepMs = 50;

function createTime({ test, activity, caller }: Parts) {
  const { clock } = test;
  async function pass(ms: number): Promise<void> {
    const end = clock.now() + ms;
    await activity.rest();
    while (clock.now() < end) {
      await clock.advance(Math.min(stepMs, end - clock.now()));
      await activity.rest();
    }
  }
  async function run(
    until: () => boolean | Promise<boolean>,
    withinMs = 5 * minuteMs,
  ): Promise<void> {
    const end = clock.now() + withinMs;
    await activity.rest();
    while (!(await until())) {
      assert.ok(clock.now() < end, `it has not happened within ${withinMs} ms`);
      await pass(stepMs);
    }
  }
  return {
    rest: activity.rest,
    pass,
    run,
    untilEnded: async (taskId: string, withinMs?: number, by = caller) => {
      await run(async () => {
        const task = await findTask(test.db.read, by.accountId, taskId);
        return isFinal(taskTransitions, must(task, `task ${taskId}`).state);
      }, withinMs);
    },
  };
}

type Begin = { tasksMax?: number; another?: boolean };

async function startLife(parts: Parts, { tasksMax = 100, another = false }: Begin): Promise<Life> {
  const mortal = { isDead: false, isCutOff: false };
  const clock = createMortalClock(parts.test.clock, mortal);
  const { spool, ...intake } = createIntake({ ...parts, storage: parts.deps.storage }, clock);
  await spool.sweep();
  const deps: EngineDeps = {
    ...parts.deps,
    ...intake,
    spool,
    clock,
    db: createMortalDatabase(parts.deps.db, mortal),
    watch: another ? createWatch() : parts.deps.watch,
  };
  const worker = createWorker(deps, { tasksMax });
  const rescue = createRescue(deps);
  const life: Life = {
    deps,
    worker,
    rescue,
    crash: () => {
      mortal.isDead = true;
    },
    cutOff: (isCutOff) => {
      mortal.isCutOff = isCutOff;
    },
    stop: async () => {
      await worker.stop();
      await rescue.stop();
      await spool.close();
    },
  };
  parts.lives.add(life);
  // At its start on SQLite a rescue takes over every worker it finds: one process, one rescue.
  if (!another) await rescue.start();
  await worker.start();
  return life;
}

export async function assertLedger(db: Database): Promise<void> {
  const check = await checkLedger({ db, listOpenTaskIds, listUsages, findLockedUsage });
  assert.deepEqual(check.problems, []);
}
