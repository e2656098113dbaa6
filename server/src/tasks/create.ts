/**
 * Creates tasks, a list at a time, in one transaction: idempotency rows, the keys' reservations, the
 * holds, the tasks with their references, the queue rows; one multi-row statement a table.
 */
import { reserveMany, resolve as resolveUsage } from "../accounts/key-usage.ts";
import type { AccountLimits } from "../accounts/caller.ts";
import type { ReservationRefusal } from "../accounts/key-usage.ts";
import { holdMany } from "../billing/ledger.ts";
import type { Tx } from "../db/database.ts";
import type { IdempotencyRow } from "../db/schema.ts";
import { insertReferences } from "../images/store.ts";
import type { KeptReference } from "../images/references.ts";
import { AppError, must } from "../lib/errors.ts";
import { groupPlaces } from "../lib/group-places.ts";
import { formatUsd } from "../lib/money.ts";
import type { Micros } from "../lib/money.ts";
import { dayMs, secondMs } from "../lib/time.ts";
import { deleteIdempotency, findIdempotency, insertIdempotency } from "./idempotency-store.ts";
import type { KnownKey } from "./idempotency-store.ts";
import { findLineEnds, insertWaiting } from "./queue-store.ts";
import type { WaitingTask } from "./queue-store.ts";
import { insertTasks } from "./store.ts";
import type { NewTask } from "./task.ts";

export type CreateInput = {
  task: NewTask;
  /** References that were in the body; their bytes are in storage already. */
  references: readonly KeptReference[];
  /** Limits of the key: micro-USD it may spend in all and a UTC day, and tasks it may have under way. */
  cap: number | null;
  tasksInFlight: number | null;
  spendPerDay: number | null;
  accountLimits: AccountLimits | null;
  idempotency: IdempotencyRow | null;
};

export type CreateResult =
  | { kind: "created" }
  /** The key is known: this is the task that its first use made. */
  | { kind: "replayed"; taskId: string }
  | { kind: "refused"; error: AppError };

/** Distance between two tasks of one account in a lane's fair order; an account's weight divides it. */
const tagStep = 1;

export async function createTasks(
  tx: Tx,
  inputs: readonly CreateInput[],
  now: number,
): Promise<CreateResult[]> {
  const results: Results = new Map();
  const twins = findTwins(inputs);
  const first = inputs.filter((input) => !twins.has(input));
  await rememberKeys(tx, first, now, results);
  await reserve(tx, without(first, results), now, results);
  await hold(tx, without(first, results), now, results);
  const accepted = without(first, results);
  await forgetKeys(tx, first, results);
  if (accepted.length > 0) await insertAll(tx, accepted);
  for (const [twin, earlier] of twins) results.set(twin, repeat(twin, earlier, results));
  return inputs.map((input) => results.get(input) ?? { kind: "created" });
}

function without(
  inputs: readonly CreateInput[],
  results: ReadonlyMap<CreateInput, CreateResult>,
): CreateInput[] {
  return inputs.filter((input) => !results.has(input));
}

type Results = Map<CreateInput, CreateResult>;

/** Inputs whose key stands earlier in the list, each with the first that has it. */
function findTwins(inputs: readonly CreateInput[]): Map<CreateInput, CreateInput> {
  const firsts = new Map<string, CreateInput>();
  const twins = new Map<CreateInput, CreateInput>();
  for (const input of inputs) {
    if (input.idempotency === null) continue;
    const { account_id, mode, route, key } = input.idempotency;
    const scope = JSON.stringify([account_id, mode, route, key]);
    const earlier = firsts.get(scope);
    if (earlier === undefined) firsts.set(scope, input);
    else twins.set(input, earlier);
  }
  return twins;
}

/** What a twin gets: the task of the first, or the advice to come again when the first has made none. */
function repeat(twin: CreateInput, earlier: CreateInput, results: Results): CreateResult {
  const first = must(earlier.idempotency, "the key of a twin");
  const result = results.get(earlier) ?? { kind: "created" };
  if (result.kind === "refused") return { kind: "refused", error: inProgress() };
  const taskId = result.kind === "replayed" ? result.taskId : first.task_id;
  return replay({ ...first, task_id: taskId }, must(twin.idempotency, "the key of a twin"));
}

async function rememberKeys(
  tx: Tx,
  inputs: readonly CreateInput[],
  now: number,
  results: Results,
): Promise<void> {
  const rows = inputs.flatMap(({ idempotency }) => idempotency ?? []);
  rows.sort((a, b) => compare(a.account_id, b.account_id) || compare(a.key, b.key));
  const fresh = await insertIdempotency(tx, rows);
  for (const input of inputs) {
    const { idempotency } = input;
    if (idempotency === null || fresh.has(idempotency.task_id)) continue;
    const known = await findInForce(tx, idempotency, now);
    if (known !== null) results.set(input, replay(known, idempotency));
  }
}

/** The earlier use of a key; null when that one had expired, and the key is now remembered anew. */
async function findInForce(tx: Tx, row: IdempotencyRow, now: number): Promise<KnownKey | null> {
  const known = must(await findIdempotency(tx, row), "a key that could not be inserted");
  if (known.expires_at > now) return known;
  await deleteIdempotency(tx, { ...row, task_id: known.task_id });
  const fresh = await insertIdempotency(tx, [row]);
  if (fresh.size > 0) return null;
  // On PostgreSQL a twin in another transaction was faster.
  return must(await findIdempotency(tx, row), "the key of a faster twin");
}

/** A twin of the request has the key and is not decided; nothing was made for this one. */
export function inProgress(cause?: unknown): AppError {
  return new AppError(
    "idempotency_in_progress",
    "a request with this Idempotency-Key is being accepted right now; repeat this one shortly",
    { param: "Idempotency-Key", retryAfterSeconds: 1, cause },
  );
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** What a repeat of a known key gets: the first task again, or a refusal when the body is another one. */
export function replay(
  known: { task_id: string; digest: string },
  repeated: { digest: string },
): CreateResult {
  if (known.digest === repeated.digest) return { kind: "replayed", taskId: known.task_id };
  return {
    kind: "refused",
    error: new AppError(
      "idempotency_key_reused",
      "this Idempotency-Key was used with another body; a new request needs a new key",
      { param: "Idempotency-Key" },
    ),
  };
}

async function reserve(
  tx: Tx,
  inputs: readonly CreateInput[],
  now: number,
  results: Results,
): Promise<void> {
  const refusals = await reserveMany(
    tx,
    inputs.map(({ task, cap, tasksInFlight, spendPerDay, accountLimits }) => ({
      accountId: task.accountId,
      keyId: task.keyId,
      mode: task.mode,
      amount: task.held,
      cap,
      tasksInFlight,
      spendPerDay,
      accountLimits,
    })),
    now,
  );
  for (const [index, input] of inputs.entries()) {
    const refusal = refusals[index] ?? null;
    if (refusal === null) continue;
    const error = limitReached(refusal, { needed: input.task.held, now });
    results.set(input, { kind: "refused", error });
  }
}

function limitReached(
  refusal: ReservationRefusal,
  { needed, now }: { needed: Micros; now: number },
): AppError {
  switch (refusal.reason) {
    case "spend_cap_reached":
      return new AppError(
        "spend_cap_reached",
        `this key's spend cap leaves ${formatUsd(refusal.left)} USD, and this request needs ` +
          `${formatUsd(needed)} USD`,
      );
    case "task_limit_reached":
      return new AppError(
        "task_limit_reached",
        `this ${refusal.whose} may have ${refusal.tasksInFlight} tasks under way at once; ` +
          "wait until one has ended",
        { retryAfterSeconds: 1 },
      );
    case "daily_spend_reached":
      return new AppError(
        "daily_spend_reached",
        `this ${refusal.whose} may spend ${formatUsd(refusal.spendPerDay)} USD a day, of which ` +
          `${formatUsd(refusal.left)} USD are left; a new day begins at 00:00 UTC`,
        { retryAfterSeconds: Math.ceil((dayMs - (now % dayMs)) / secondMs) },
      );
  }
}

async function hold(
  tx: Tx,
  inputs: readonly CreateInput[],
  now: number,
  results: Results,
): Promise<void> {
  const refusals = await holdMany(
    tx,
    inputs.map(({ task }) => ({
      accountId: task.accountId,
      mode: task.mode,
      keyId: task.keyId,
      taskId: task.id,
      amount: task.held,
    })),
    now,
  );
  for (const [index, input] of inputs.entries()) {
    const refusal = refusals[index] ?? null;
    if (refusal === null) continue;
    results.set(input, { kind: "refused", error: insufficientBalance(refusal.missing) });
    const { accountId, keyId, held } = input.task;
    await resolveUsage(tx, { accountId, keyId, held, captured: 0, submittedAt: now });
  }
}

export function insufficientBalance(missing: number): AppError {
  return new AppError(
    "insufficient_balance",
    `the account's balance is short of ${formatUsd(missing)} USD for this request; add credit and submit again`,
  );
}

/** A request that was refused before a task existed is not remembered: its key stays free. */
async function forgetKeys(tx: Tx, inputs: readonly CreateInput[], results: Results): Promise<void> {
  for (const input of inputs) {
    const result = results.get(input);
    const isOurs = result?.kind === "refused" && result.error.param !== "Idempotency-Key";
    if (isOurs && input.idempotency !== null) await deleteIdempotency(tx, input.idempotency);
  }
}

async function insertAll(tx: Tx, accepted: readonly CreateInput[]): Promise<void> {
  const tasks = accepted.map(({ task }) => task);
  await insertTasks(tx, tasks);
  for (const { task, references } of accepted) {
    if (references.length > 0) await insertReferences(tx, task, references);
  }
  await insertWaiting(tx, await takePlaces(tx, tasks));
}

/**
 * Fair order by virtual time: a task stands one step behind the account's last waiting task of the
 * lane, but never before what is next there. One account's thousands do not hide another's one.
 */
async function takePlaces(tx: Tx, tasks: readonly NewTask[]): Promise<WaitingTask[]> {
  const lines = groupPlaces(tasks, {
    keyOf: ({ lane, accountId }) => `${lane} ${accountId}`,
    isSame: (a, b) => a.lane === b.lane && a.accountId === b.accountId,
  });
  const waiting: WaitingTask[] = [];
  for (const line of lines) {
    const { lane, accountId } = must(tasks[line[0] ?? -1], "the first task of a line");
    let tag = await lastPlace(tx, lane, accountId);
    for (const place of line) {
      tag += tagStep;
      const { id } = must(tasks[place], "a task of the line");
      waiting.push({ accountId, id, lane, tag });
    }
  }
  return waiting;
}

async function lastPlace(tx: Tx, lane: string, accountId: string): Promise<number> {
  const { first, last } = await findLineEnds(tx, lane, accountId);
  return Math.max(first ?? 0, last ?? 0);
}
