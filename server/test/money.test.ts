/**
 * The rooms of money together, as tasks/ uses them: keys are reserved, books are held, tasks are settled.
 * Random commands run against the real database and against a model of a few lines; after every step both
 * must agree and every invariant of the ledger must hold. DARKROOM_TEST_RUNS makes the walk longer.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { createAccounts } from "../src/accounts/accounts.ts";
import {
  findLockedUsage,
  listUsages,
  loadCaptured,
  loadUsage,
  reserveMany,
  resolve,
} from "../src/accounts/key-usage.ts";
import { createKeys } from "../src/accounts/keys.ts";
import { createBalances, loadBook } from "../src/billing/balance.ts";
import { checkLedger } from "../src/billing/check.ts";
import { credit, holdMany, openBooks, settle } from "../src/billing/ledger.ts";
import type { Database } from "../src/db/database.ts";
import { isUniqueViolation } from "../src/db/errors.ts";
import type { Mode } from "../src/db/schema.ts";
import { must } from "../src/lib/errors.ts";
import { createIds } from "../src/lib/ids.ts";
import { microsPerUsd as usd } from "../src/lib/money.ts";
import { systemRandom } from "../src/lib/random.ts";
import { onEachDatabase } from "./support/databases.ts";
import type { TestDatabase } from "./support/databases.ts";

type Key = {
  accountId: string;
  keyId: string;
  mode: Mode;
  cap: number | null;
  tasksInFlight: number | null;
};
type Task = { id: string; key: Key; held: number; captured: number; isOpen: boolean };
type Submit = { taskId: string; key: Key; amount: number };
type Answer = "held" | "capped" | "limited" | "short";

/** What the database should hold, kept the simplest way. */
type Model = {
  keys: Key[];
  credits: Map<string, number>;
  refills: Map<string, number>;
  tasks: Map<string, Task>;
};

type Real = { db: Database; now(): number };

const openingTestFunds = 1_000 * usd;

function availableIn(model: Model, accountId: string, mode: Mode): number {
  const book = `${accountId} ${mode}`;
  const opening = mode === "test" ? openingTestFunds : 0;
  let total = opening + (model.refills.get(book) ?? 0);
  for (const [id, amount] of model.credits) if (id.startsWith(`${book} `)) total += amount;
  for (const task of tasksOf(model, (key) => key.accountId === accountId && key.mode === mode)) {
    total -= task.isOpen ? task.held : task.captured;
  }
  return total;
}

function tasksOf(model: Model, isWanted: (key: Key) => boolean): Task[] {
  return [...model.tasks.values()].filter((task) => isWanted(task.key));
}

function usageOf(model: Model, key: Key) {
  const tasks = tasksOf(model, ({ keyId }) => keyId === key.keyId);
  const open = tasks.filter((task) => task.isOpen);
  return {
    keyId: key.keyId,
    held: open.reduce((sum, task) => sum + task.held, 0),
    captured: tasks.reduce((sum, task) => sum + task.captured, 0),
    inFlight: open.length,
  };
}

/** Limits of the keys first, for the whole list; then the money, book by book, in the list's order. */
function submitToModel(model: Model, submits: readonly Submit[]): Answer[] {
  const usages = new Map(model.keys.map((key) => [key.keyId, usageOf(model, key)]));
  const answers = submits.map(({ key, amount }): Answer => {
    const usage = must(usages.get(key.keyId), "the usage of a key");
    if (key.cap !== null && usage.held + usage.captured + amount > key.cap) return "capped";
    if (key.tasksInFlight !== null && usage.inFlight >= key.tasksInFlight) return "limited";
    usage.held += amount;
    usage.inFlight += 1;
    return "held";
  });
  refillInModel(
    model,
    submits.filter((_submit, i) => answers[i] === "held"),
  );
  submits.forEach((submit, i) => {
    if (answers[i] !== "held") return;
    const { key, amount, taskId: id } = submit;
    if (availableIn(model, key.accountId, key.mode) < amount) answers[i] = "short";
    else model.tasks.set(id, { id, key, held: amount, captured: 0, isOpen: true });
  });
  return answers;
}

function refillInModel(model: Model, submits: readonly Submit[]): void {
  for (const accountId of new Set(model.keys.map((key) => key.accountId))) {
    const own = submits.filter(({ key }) => key.mode === "test" && key.accountId === accountId);
    const left =
      availableIn(model, accountId, "test") - own.reduce((sum, { amount }) => sum + amount, 0);
    if (own.length === 0 || left >= 100 * usd) continue;
    const book = `${accountId} test`;
    model.refills.set(book, (model.refills.get(book) ?? 0) + openingTestFunds - left);
  }
}

function submitToDatabase({ db, now }: Real, submits: readonly Submit[]): Promise<Answer[]> {
  return db.transaction(async (tx) => {
    const reserved = await reserveMany(
      tx,
      submits.map(({ key, amount }) => ({
        ...key,
        spendPerDay: null,
        accountLimits: null,
        amount,
      })),
      now(),
    );
    const passed = submits.filter((_submit, i) => reserved[i] === null);
    const held = await holdMany(
      tx,
      passed.map(({ key, taskId, amount }) => ({ ...key, taskId, amount })),
      now(),
    );
    for (const [i, { key, amount }] of passed.entries()) {
      if (held[i] !== null)
        await resolve(tx, { ...key, held: amount, captured: 0, submittedAt: now() });
    }
    const short = new Set(passed.filter((_submit, i) => held[i] !== null));
    return submits.map((submit, i) => {
      const refusal = reserved[i] ?? null;
      if (refusal !== null) return refusal.reason === "spend_cap_reached" ? "capped" : "limited";
      return short.has(submit) ? "short" : "held";
    });
  });
}

type Captures = { slot: number; amount: number }[];

async function finishInDatabase({ db, now }: Real, task: Task, captures: Captures): Promise<void> {
  const captured = captures.reduce((sum, { amount }) => sum + amount, 0);
  await db.transaction(async (tx) => {
    await resolve(tx, { ...task.key, held: task.held, captured, submittedAt: now() });
    const { key, id: taskId, held } = task;
    await settle(tx, { ...key, taskId, held, captures, now: now() });
  });
}

type Command = fc.AsyncCommand<Model, Real>;

/** Compares everything a caller could see, and checks the ledger. */
async function agree(model: Model, { db }: Real): Promise<void> {
  const balances = createBalances({ read: db.read, loadUsage, loadCaptured });
  for (const key of model.keys) {
    const available = availableIn(model, key.accountId, key.mode);
    const own = tasksOf(
      model,
      ({ accountId, mode }) => accountId === key.accountId && mode === key.mode,
    );
    const held = own.reduce((sum, task) => sum + (task.isOpen ? task.held : 0), 0);
    assert.deepEqual(await loadBook(db.read, key), { available, held });
    const usage = usageOf(model, key);
    assert.deepEqual(await loadUsage(db.read, key), usage);
    const used = own.reduce((sum, task) => sum + task.captured, 0);
    assert.deepEqual(await balances.readAccountBalance(key), { remain: available, used });
    const left = key.cap === null ? null : key.cap - usage.held - usage.captured;
    const remain = left === null ? null : Math.min(left, available);
    assert.deepEqual(await balances.readKeyBalance(key), { remain, used: usage.captured });
  }
  const check = await checkLedger({
    db,
    listUsages,
    findLockedUsage,
    listOpenTaskIds: (_handle, accountId, { after, limit }) => {
      const open = tasksOf(model, (key) => key.accountId === accountId);
      const ids = open.filter((task) => task.isOpen).map((task) => task.id);
      return Promise.resolve(
        ids
          .filter((id) => id > after)
          .toSorted()
          .slice(0, limit),
      );
    },
  });
  assert.deepEqual(check.problems, []);
}

/** A command that says what happened, and compares afterwards. */
function command(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return {
    check: () => true,
    run: async (model, real) => {
      await run(model, real);
      await agree(model, real);
    },
    toString: () => name,
  };
}

function pick<T>(rows: readonly T[], index: number): T | null {
  return rows[index % Math.max(1, rows.length)] ?? null;
}

function creditCommand(book: number, amount: number, reference: string): Command {
  return command(`credit ${reference} ${amount} to book ${book}`, async (model, { db, now }) => {
    const { accountId, mode } = must(pick(model.keys, book), "a key");
    const id = `${accountId} ${mode} ${reference}`;
    const twin = `${accountId} ${mode === "live" ? "test" : "live"} ${reference}`;
    const known = model.credits.get(id);
    const adding = db.transaction((tx) =>
      credit(tx, { accountId, mode, amount, reference, note: null, now: now() }),
    );
    if (model.credits.has(twin) || (known !== undefined && known !== amount)) {
      await assert.rejects(adding, /already stands for/);
      return;
    }
    assert.equal(await adding, known === undefined);
    model.credits.set(id, amount);
  });
}

function submitCommand(wanted: readonly { key: number; amount: number }[]): Command {
  const name = wanted.map(({ key, amount }) => `${amount} by ${key}`).join(", ");
  return command(`submit ${name}`, async (model, real) => {
    const submits = wanted.map(({ key, amount }, i) => ({
      taskId: `task_${String(model.tasks.size).padStart(5, "0")}_${i}`,
      key: must(pick(model.keys, key), "a key"),
      amount,
    }));
    const answers = await submitToDatabase(real, submits);
    assert.deepEqual(answers, submitToModel(model, submits));
  });
}

function repeatSubmitCommand(task: number): Command {
  return command(`submit task ${task} again`, async (model, real) => {
    const old = pick([...model.tasks.values()], task);
    if (old === null) return;
    // Free, so that nothing but the repeated id can refuse it.
    const key = { ...old.key, cap: null, tasksInFlight: null };
    const again = submitToDatabase(real, [{ taskId: old.id, key, amount: 0 }]);
    await assert.rejects(again, isUniqueViolation);
  });
}

function finishCommand(task: number, shares: readonly number[]): Command {
  return command(`finish task ${task} with ${shares.join("+")}%`, async (model, real) => {
    const old = pick([...model.tasks.values()], task);
    if (old === null) return;
    let left = old.held;
    const captures = shares.map((share, slot) => {
      const amount = Math.floor((left * share) / 100);
      left -= amount;
      return { slot, amount };
    });
    if (!old.isOpen) {
      await assert.rejects(finishInDatabase(real, old, captures));
      return;
    }
    await finishInDatabase(real, old, captures);
    model.tasks.set(old.id, { ...old, captured: old.held - left, isOpen: false });
  });
}

function crashCommand(task: number): Command {
  return command(`crash while task ${task} ends`, async (model, real) => {
    const old = pick(
      [...model.tasks.values()].filter(({ isOpen }) => isOpen),
      task,
    );
    if (old === null) return;
    const crashing = real.db.transaction(async (tx) => {
      await resolve(tx, { ...old.key, held: old.held, captured: 0, submittedAt: real.now() });
      const end = { ...old.key, taskId: old.id, held: old.held, captures: [], now: real.now() };
      await settle(tx, end);
      throw new Error("crash");
    });
    await assert.rejects(crashing, /crash/);
  });
}

const amounts = fc.oneof(
  fc.constant(0),
  fc.integer({ min: 1, max: 1_000 }),
  fc.integer({ min: 1, max: 3 * usd }),
  fc.integer({ min: 100 * usd, max: 1_200 * usd }),
);
const places = fc.nat({ max: 30 });
const submit = fc.record({ key: places, amount: amounts });
const commands = [
  fc
    .tuple(places, fc.integer({ min: 1, max: 900 * usd }), fc.constantFrom("a", "b", "c"))
    .map(([book, amount, reference]) => creditCommand(book, amount, reference)),
  fc.array(submit, { minLength: 1, maxLength: 5 }).map(submitCommand),
  fc.array(submit, { minLength: 1, maxLength: 1 }).map(submitCommand),
  places.map(repeatSubmitCommand),
  fc
    .tuple(places, fc.array(fc.nat({ max: 100 }), { maxLength: 4 }))
    .map(([task, shares]) => finishCommand(task, shares)),
  places.map((task) => finishCommand(task, [])),
  places.map(crashCommand),
];

async function createWorld({ db, clock }: TestDatabase): Promise<{ model: Model; real: Real }> {
  const ids = createIds(clock, systemRandom);
  const accounts = createAccounts({ db, clock, ids, openBooks });
  const keys = createKeys({ db, clock, random: systemRandom, ids, pepper: Buffer.from("pepper") });
  const model: Model = { keys: [], credits: new Map(), refills: new Map(), tasks: new Map() };
  for (const name of ["one", "two"]) {
    const { id: accountId } = await accounts.createAccount(name);
    for (const limits of [
      { mode: "live", cap: null, tasksInFlight: null },
      { mode: "live", cap: 2 * usd, tasksInFlight: null },
      { mode: "live", cap: null, tasksInFlight: 2 },
      { mode: "test", cap: null, tasksInFlight: null },
      { mode: "test", cap: 1_500 * usd, tasksInFlight: 3 },
    ] as const) {
      const { key } = await keys.createKey({ accountId, name: "key", ...limits });
      model.keys.push({ accountId, keyId: key.id, ...limits });
    }
  }
  return { model, real: { db, now: () => clock.now() } };
}

/** Clones of PostgreSQL databases take half a second each. */
const runsOf = { sqlite: 25, postgres: 3 };

onEachDatabase((name, setup) => {
  test("whatever is submitted, settled, repeated or interrupted, every account is charged exactly", async () => {
    const numRuns = Number(process.env["DARKROOM_TEST_RUNS"] ?? runsOf[name]);
    await fc.assert(
      fc.asyncProperty(fc.commands(commands, { maxCommands: 40, size: "max" }), async (steps) => {
        const world = await createWorld(await setup());
        await fc.asyncModelRun(() => world, steps);
      }),
      { numRuns, endOnFailure: true },
    );
  });

  test("many submits and endings at once leave a sound ledger and exact caps", async () => {
    const { model, real } = await createWorld(await setup());
    const [, capped] = model.keys;
    const key = must(capped, "the capped key");
    await real.db.transaction((tx) =>
      credit(tx, { ...key, amount: 5 * usd, reference: "funds", note: null, now: real.now() }),
    );
    model.credits.set(`${key.accountId} ${key.mode} funds`, 5 * usd);
    const amount = usd / 4;
    await Promise.all(
      Array.from({ length: 30 }, async (_run, i) => {
        const task = { id: `task_${i}`, key, held: amount, captured: 0, isOpen: true };
        const [answer] = await submitToDatabase(real, [{ taskId: task.id, key, amount }]);
        if (answer !== "held") return assert.equal(answer, "capped");
        model.tasks.set(task.id, task);
        if (i % 2 === 0) return undefined;
        await finishInDatabase(real, task, [{ slot: 0, amount: amount / 2 }]);
        model.tasks.set(task.id, { ...task, captured: amount / 2, isOpen: false });
        return undefined;
      }),
    );
    await agree(model, real);
    const { held, captured } = await loadUsage(real.db.read, key);
    assert.ok(held + captured <= 2 * usd);
  });
});
