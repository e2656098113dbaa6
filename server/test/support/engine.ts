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
import type { KeySettings } from "../../src/accounts/key-settings.ts";
import { findLockedUsage, listUsages } from "../../src/accounts/key-usage.ts";
import { createKeys } from "../../src/accounts/keys.ts";
import { loadBook } from "../../src/billing/balance.ts";
import { checkLedger } from "../../src/billing/check.ts";
import { credit, openBooks } from "../../src/billing/ledger.ts";
import type { Database } from "../../src/db/database.ts";
import { createPictureProcesses } from "../../src/images/processes.ts";
import { createEgress } from "../../src/lib/egress.ts";
import { must } from "../../src/lib/errors.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import { createLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { dayMs, hourMs, minuteMs, systemClock } from "../../src/lib/time.ts";
import type { Language } from "../../src/models/model.ts";
import { createDiskStorage } from "../../src/storage/disk.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { loadAttempts } from "../../src/tasks/attempt-store.ts";
import { cancelTask } from "../../src/tasks/cancel.ts";
import type { EngineDeps } from "../../src/tasks/engine.ts";
import { createOverload } from "../../src/tasks/overload.ts";
import { createReader } from "../../src/tasks/read.ts";
import { loadSlots } from "../../src/tasks/slot-store.ts";
import { isFinal, taskTransitions } from "../../src/tasks/state.ts";
import { findTask } from "../../src/tasks/store.ts";
import { createSubmitter } from "../../src/tasks/submit.ts";
import type { SubmitInput, Submitted } from "../../src/tasks/submit.ts";
import { listOpenTaskIds } from "../../src/tasks/sweep-store.ts";
import { sweep } from "../../src/tasks/sweep.ts";
import type { Attempt, Slot, Task } from "../../src/tasks/task.ts";
import { createActivity } from "./activity.ts";
import type { TestClock } from "./clock.ts";
import { onEachDatabase } from "./databases.ts";
import type { TestDatabase } from "./databases.ts";
import { createDeps, createTestLinks, ourOrigin } from "./engine-deps.ts";
import type { EngineOptions } from "./engine-deps.ts";
import { startLife } from "./engine-life.ts";
import type { Life, LifeParts } from "./engine-life.ts";
import { createVendor } from "./vendor.ts";
import type { Vendor } from "./vendor.ts";

/** 0.0387 USD a picture, one to four pictures, references and masks. */
export const testModel = "gemini-2.5-flash-image-preview";
export const testPrice = 38_700;

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

type Parts = LifeParts & { caller: Caller };

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
      linkBases: () => [ourOrigin],
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
    publicUrl: () => ourOrigin,
  });
  const verbs = {
    linkTo: (object: string, expiresAtMs: number) =>
      `${ourOrigin}${links.sign(object, "png", expiresAtMs)}`,
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
    slots: async (taskId: string) => loadSlots(test.db.read, await verbs.find(taskId)),
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

export async function assertLedger(db: Database): Promise<void> {
  const check = await checkLedger({ db, listOpenTaskIds, listUsages, findLockedUsage });
  assert.deepEqual(check.problems, []);
}
