/**
 * What each key holds, has captured, and how many of its tasks are under way. Every change is one guarded
 * UPDATE in the transaction that writes the ledger entries, so that caps are exact under any concurrency.
 * Locks of these rows come before those of balances; rows are taken in order of account and key. Accounts
 * that have limits of their own are locked before, so that sums over their keys stand still.
 */
import type { Handle, Tx } from "../db/database.ts";
import type { KeyUsageRow, Mode } from "../db/schema.ts";
import { assert, must } from "../lib/errors.ts";
import { groupPlaces } from "../lib/group-places.ts";
import type { Micros } from "../lib/money.ts";
import { assertMicros } from "../lib/money.ts";
import { dayOf, loadAllowances, unlimited } from "./allowance.ts";
import type { Allowance } from "./allowance.ts";
import type { AccountLimits } from "./caller.ts";
import type { KeyRef } from "./store.ts";
import {
  findUsage,
  lockUsage,
  lowerUsage,
  raiseUsage,
  selectUsages,
  sumCaptured,
} from "./usage-store.ts";

export type KeyUsage = { keyId: string; held: Micros; captured: Micros; inFlight: number };

/** One submit's claim on its key and account. */
export type Reservation = KeyRef & {
  mode: Mode;
  /** Micro-USD to hold; 0 for a free model. */
  amount: Micros;
  cap: Micros | null;
  tasksInFlight: number | null;
  spendPerDay: Micros | null;
  /** Null when the account has no limits; which they are is read afresh. */
  accountLimits: AccountLimits | null;
};

/** Why a task may not be taken: `left` is what the cap, or the day's allowance, still allows. */
export type ReservationRefusal =
  | { reason: "spend_cap_reached"; left: Micros }
  | { reason: "task_limit_reached"; whose: "key" | "account"; tasksInFlight: number }
  | { reason: "daily_spend_reached"; whose: "key" | "account"; spendPerDay: Micros; left: Micros };

/**
 * Reserves amount and task for each that fits, in the order of the list; one answer each, null for
 * reserved. A reservation whose submit is refused later in the same transaction is given back with
 * `resolve` and captured 0.
 */
export async function reserveMany(
  tx: Tx,
  reservations: readonly Reservation[],
  now: number,
): Promise<(ReservationRefusal | null)[]> {
  const answers: (ReservationRefusal | null)[] = reservations.map(() => null);
  for (const { amount } of reservations) assertMicros(amount);
  const day = dayOf(now);
  const limited = reservations.filter(({ accountLimits }) => needsAllowance(accountLimits));
  const allowances = limited.length === 0 ? null : await loadAllowances(tx, limited, day);
  for (const places of groupByKey(reservations)) {
    const group = places.map((place) => must(reservations[place], "a reservation"));
    const allowance = allowances?.of(must(group[0], "a reservation")) ?? null;
    const refusals = await reserveForKey(tx, group, { day, allowance });
    places.forEach((place, i) => {
      answers[place] = refusals[i] ?? null;
    });
  }
  return answers;
}

function needsAllowance(limits: AccountLimits | null): boolean {
  return limits !== null && (limits.tasksInFlight !== null || limits.spendPerDay !== null);
}

/** A task's claim at its end; `submittedAt` is the time of its reservation, in unix milliseconds. */
export type Resolution = KeyRef & { held: Micros; captured: Micros; submittedAt: number };

/** Ends one task of a key: what it held is let go, what was captured stays counted. */
export async function resolve(tx: Tx, task: Resolution): Promise<void> {
  assertMicros(task.held);
  assertMicros(task.captured);
  assert(task.captured <= task.held, "a task captures at most what it holds");
  const { accountId, keyId, held, captured, submittedAt } = task;
  const released = held - captured;
  const end = { accountId, keyId, held, captured, released, day: dayOf(submittedAt) };
  assert(await lowerUsage(tx, end), "a key holds what its tasks hold");
}

/** Asserts that the key exists. */
export async function loadUsage(handle: Handle, key: KeyRef): Promise<KeyUsage> {
  return toKeyUsage(must(await findUsage(handle, key), "the usage of a key"));
}

/** The usage of a key as of the last commit; nobody changes it before this transaction ends. */
export async function findLockedUsage(tx: Tx, key: KeyRef): Promise<KeyUsage | null> {
  const row = await lockUsage(tx, key);
  return row === null ? null : toKeyUsage(row);
}

/** The usage of an account's keys, revoked ones too, in order of key id, after the key `after`. */
export async function listUsages(
  handle: Handle,
  accountId: string,
  page: { after: string; limit: number },
): Promise<KeyUsage[]> {
  return (await selectUsages(handle, accountId, page)).map(toKeyUsage);
}

/** Micro-USD that the account's keys of one mode have captured so far. */
export function loadCaptured(handle: Handle, accountId: string, mode: Mode): Promise<Micros> {
  return sumCaptured(handle, accountId, mode);
}

/** Keys stand in the order of locking. */
function groupByKey(reservations: readonly Reservation[]): number[][] {
  return groupPlaces(reservations, {
    keyOf: ({ accountId, keyId }) => `${accountId} ${keyId}`,
    isSame: (a, b) => a.accountId === b.accountId && a.keyId === b.keyId,
  });
}

type Terms = { day: number; allowance: Allowance | null };

async function reserveForKey(
  tx: Tx,
  group: readonly Reservation[],
  { day, allowance }: Terms,
): Promise<(ReservationRefusal | null)[]> {
  const key = must(group[0], "a reservation");
  const amount = sum(group.map((one) => one.amount));
  if (allowance !== null && !isCovered(allowance, group.length, amount)) {
    return reserveOneByOne(tx, group, { day, allowance });
  }
  // Reservations of one key can differ in their limits when its settings changed a moment ago.
  const raise = {
    accountId: key.accountId,
    keyId: key.keyId,
    amount,
    tasks: group.length,
    spentMax: leastOf(group.map((one) => one.cap)) - amount,
    inFlightMax: leastOf(group.map((one) => one.tasksInFlight)) - group.length,
    day,
    daySpentMax: leastOf(group.map((one) => one.spendPerDay)) - amount,
  };
  if (!(await raiseUsage(tx, raise))) return reserveOneByOne(tx, group, { day, allowance });
  if (allowance !== null) lower(allowance, group.length, amount);
  return group.map(() => null);
}

async function reserveOneByOne(
  tx: Tx,
  group: readonly Reservation[],
  { day, allowance }: Terms,
): Promise<(ReservationRefusal | null)[]> {
  const { accountId, keyId } = must(group[0], "a reservation");
  const row = must(await lockUsage(tx, { accountId, keyId }), "the usage of a key");
  const daySpent = row.day < day ? 0 : row.day_spent;
  const taken = { amount: 0, tasks: 0 };
  const answers = group.map((one): ReservationRefusal | null => {
    const refusal =
      refuseForKey(one, {
        spent: row.held + row.captured + taken.amount,
        inFlight: row.in_flight + taken.tasks,
        daySpent: daySpent + taken.amount,
      }) ?? refuseForAccount(one, allowance);
    if (refusal !== null) return refusal;
    taken.amount += one.amount;
    taken.tasks += 1;
    if (allowance !== null) lower(allowance, 1, one.amount);
    return null;
  });
  if (taken.tasks > 0) {
    const limits = { spentMax: unlimited, inFlightMax: unlimited, daySpentMax: unlimited };
    const raised = await raiseUsage(tx, { accountId, keyId, ...taken, day, ...limits });
    assert(raised, "a locked usage row takes what was computed from it");
  }
  return answers;
}

/** What a key has used before a reservation. */
type Used = { spent: Micros; inFlight: number; daySpent: Micros };

function refuseForKey(one: Reservation, used: Used): ReservationRefusal | null {
  const left = (one.cap ?? unlimited) - used.spent;
  if (one.amount > left) return { reason: "spend_cap_reached", left: Math.max(0, left) };
  const { tasksInFlight, spendPerDay } = one;
  if (tasksInFlight !== null && used.inFlight >= tasksInFlight) {
    return { reason: "task_limit_reached", whose: "key", tasksInFlight };
  }
  if (spendPerDay === null || one.amount <= spendPerDay - used.daySpent) return null;
  const leftToday = Math.max(0, spendPerDay - used.daySpent);
  return { reason: "daily_spend_reached", whose: "key", spendPerDay, left: leftToday };
}

function refuseForAccount(
  one: Reservation,
  allowance: Allowance | null,
): ReservationRefusal | null {
  if (allowance === null || isCovered(allowance, 1, one.amount)) return null;
  const { tasksInFlight, spendPerDay } = allowance.limits;
  if (tasksInFlight !== null && allowance.tasksLeft < 1) {
    return { reason: "task_limit_reached", whose: "account", tasksInFlight };
  }
  return {
    reason: "daily_spend_reached",
    whose: "account",
    spendPerDay: must(spendPerDay, "the limit that was reached"),
    left: Math.max(0, allowance.spendLeft),
  };
}

function isCovered(allowance: Allowance, tasks: number, amount: Micros): boolean {
  return tasks <= allowance.tasksLeft && amount <= allowance.spendLeft;
}

function lower(allowance: Allowance, tasks: number, amount: Micros): void {
  allowance.tasksLeft -= tasks;
  allowance.spendLeft -= amount;
}

function leastOf(limits: readonly (number | null)[]): number {
  return Math.min(...limits.map((limit) => limit ?? unlimited));
}

function sum(amounts: readonly Micros[]): Micros {
  const total = amounts.reduce((a, b) => a + b, 0);
  assertMicros(total);
  return total;
}

function toKeyUsage(row: KeyUsageRow): KeyUsage {
  return {
    keyId: row.key_id,
    held: row.held,
    captured: row.captured,
    inFlight: row.in_flight,
  };
}
