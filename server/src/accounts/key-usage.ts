/**
 * What each key holds, has captured, and how many of its tasks are under way. Every change is one guarded
 * UPDATE in the transaction that writes the ledger entries, so that caps are exact under any concurrency.
 * Locks of these rows come before those of balances; rows are taken in order of account and key.
 */
import type { Handle, Tx } from "../db/database.ts";
import type { KeyUsageRow, Mode } from "../db/schema.ts";
import { assert, must } from "../lib/errors.ts";
import type { Micros } from "../lib/money.ts";
import { assertMicros } from "../lib/money.ts";
import type { KeyRef } from "./store.ts";
import {
  findUsage,
  lockUsage,
  lowerUsage,
  raiseUsage,
  selectUsages,
  sumCaptured,
} from "./store.ts";

export type KeyUsage = { keyId: string; held: Micros; captured: Micros; inFlight: number };

/** One submit's claim on its key. */
export type Reservation = KeyRef & {
  /** Micro-USD to hold; 0 for a free model. */
  amount: Micros;
  cap: Micros | null;
  tasksInFlight: number | null;
};

/** Why a key may not take a task: `left` is what its cap still allows. */
export type ReservationRefusal =
  | { reason: "spend_cap_reached"; left: Micros }
  | { reason: "rate_limited"; tasksInFlight: number };

const unlimited = Number.MAX_SAFE_INTEGER;

/**
 * Reserves amount and task for each that fits, in the order of the list; one answer each, null for
 * reserved. A reservation whose submit is refused later in the same transaction is given back with
 * `resolve` and captured 0.
 */
export async function reserveMany(
  tx: Tx,
  reservations: readonly Reservation[],
): Promise<(ReservationRefusal | null)[]> {
  const answers: (ReservationRefusal | null)[] = reservations.map(() => null);
  for (const places of groupByKey(reservations)) {
    const group = places.map((place) => must(reservations[place], "a reservation"));
    const refusals = await reserveForKey(tx, group);
    places.forEach((place, i) => {
      answers[place] = refusals[i] ?? null;
    });
  }
  return answers;
}

/** Ends one task of a key: what it held is let go, what was captured stays counted. */
export async function resolve(
  tx: Tx,
  task: KeyRef & { held: Micros; captured: Micros },
): Promise<void> {
  assertMicros(task.held);
  assertMicros(task.captured);
  assert(task.captured <= task.held, "a task captures at most what it holds");
  assert(await lowerUsage(tx, task), "a key holds what its tasks hold");
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

/** Places in the list by key, keys in the order of locking, places in the order of the list. */
function groupByKey(reservations: readonly Reservation[]): number[][] {
  const groups = new Map<string, number[]>();
  reservations.forEach((one, place) => {
    assertMicros(one.amount);
    const key = `${one.accountId} ${one.keyId}`;
    const places = groups.get(key);
    if (places === undefined) groups.set(key, [place]);
    else places.push(place);
  });
  return [...groups].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, places]) => places);
}

async function reserveForKey(
  tx: Tx,
  group: readonly Reservation[],
): Promise<(ReservationRefusal | null)[]> {
  const key = must(group[0], "a reservation");
  // Reservations of one key can differ in their limits when its settings changed a moment ago.
  const amount = sum(group.map((one) => one.amount));
  const raise = {
    accountId: key.accountId,
    keyId: key.keyId,
    amount,
    tasks: group.length,
    spentMax: Math.min(...group.map((one) => one.cap ?? unlimited)) - amount,
    inFlightMax: Math.min(...group.map((one) => one.tasksInFlight ?? unlimited)) - group.length,
  };
  if (await raiseUsage(tx, raise)) return group.map(() => null);
  return reserveOneByOne(tx, key, group);
}

async function reserveOneByOne(
  tx: Tx,
  key: KeyRef,
  group: readonly Reservation[],
): Promise<(ReservationRefusal | null)[]> {
  const usage = must(await findLockedUsage(tx, key), "the usage of a key");
  let spent = usage.held + usage.captured;
  let inFlight = usage.inFlight;
  const answers = group.map((one): ReservationRefusal | null => {
    const left = (one.cap ?? unlimited) - spent;
    if (one.amount > left) return { reason: "spend_cap_reached", left: Math.max(0, left) };
    if (one.tasksInFlight !== null && inFlight >= one.tasksInFlight) {
      return { reason: "rate_limited", tasksInFlight: one.tasksInFlight };
    }
    spent += one.amount;
    inFlight += 1;
    return null;
  });
  if (inFlight > usage.inFlight) {
    const raise = {
      accountId: key.accountId,
      keyId: key.keyId,
      amount: spent - usage.held - usage.captured,
      tasks: inFlight - usage.inFlight,
      spentMax: unlimited,
      inFlightMax: unlimited,
    };
    assert(await raiseUsage(tx, raise), "a locked usage row takes what was computed from it");
  }
  return answers;
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
