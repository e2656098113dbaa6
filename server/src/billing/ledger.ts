/**
 * The verbs that move money. Each takes the transaction that moves the task, writes its entries and
 * changes the balance by one guarded UPDATE there, and never opens a transaction of its own. The id of
 * an entry is derived from what it is for, so the primary key refuses to hold, capture, release or
 * credit the same thing twice. The house's own side (revenue, waste, the outside world) is the negative
 * sum of the entries and has no row. `check.ts` says what must hold over the whole ledger.
 *
 * Locks: `key_usage` (accounts/) before `balances`; books are taken in order of account and mode.
 */
import type { Tx } from "../db/database.ts";
import type { LedgerRow } from "../db/schema.ts";
import { AppError, assert, must } from "../lib/errors.ts";
import { groupPlaces } from "../lib/group-places.ts";
import { assertMicros, formatUsd, microsPerUsd } from "../lib/money.ts";
import type { Micros } from "../lib/money.ts";
import type { Credit, Hold, Settlement } from "./entries.ts";
import { captureEntry, creditEntry, holdIdOf, releaseEntry } from "./entries.ts";
import {
  addCredit,
  findEntry,
  insertBooks,
  insertCredit,
  insertEntries,
  insertHolds,
  lockBook,
  resolveHold,
  takeHold,
} from "./store.ts";

/** Play money of a test book when it is opened, and after each time it fills up again. */
const testFundsMicros = 1_000 * microsPerUsd;
/** A hold that would leave a test book with less fills it up first. */
const testFloorMicros = 100 * microsPerUsd;

const referenceLengthMax = 200;
const noteLengthMax = 500;

/** Gives a new account its two books: live with nothing, test with play money. */
export async function openBooks(tx: Tx, accountId: string, now: number): Promise<void> {
  await insertBooks(tx, accountId);
  const funds = { accountId, mode: "test", amount: testFundsMicros, now } as const;
  await credit(tx, { ...funds, reference: "opening", note: "play money" });
}

/**
 * Holds money for each submit of the list that the account can pay, in the order of the list: one answer
 * each, null for held, else what is missing. One statement a book when all fit. Test books never run
 * dry: a hold that would leave less than the floor fills them up.
 */
export async function holdMany(
  tx: Tx,
  holds: readonly Hold[],
  now: number,
): Promise<(null | { missing: Micros })[]> {
  const answers: (null | { missing: Micros })[] = holds.map(() => null);
  const taken: (Hold & { now: number })[] = [];
  for (const { amount } of holds) assertMicros(amount);
  for (const places of groupByBook(holds)) {
    const group = places.map((place) => must(holds[place], "a hold"));
    const { missing, refill } = await holdInBook(tx, group, now);
    if (refill !== null) await insertEntries(tx, [refill]);
    places.forEach((place, i) => {
      const short = missing[i] ?? 0;
      if (short > 0) answers[place] = { missing: short };
      else taken.push({ ...must(group[i], "a hold"), now });
    });
  }
  await insertHolds(tx, taken);
  return answers;
}

/**
 * Ends a task's hold: captures what was delivered and releases the rest, at most once. Asserts that the
 * hold exists with exactly this amount and that the captures stay within it.
 */
export async function settle(tx: Tx, settlement: Settlement): Promise<void> {
  const { held, captures } = settlement;
  for (const capture of captures) assertMicros(capture.amount);
  const captured = captures.reduce((total, capture) => total + capture.amount, 0);
  assert(captured <= held, "a task captures at most what it holds");
  const released = held - captured;
  assert(
    await resolveHold(tx, {
      accountId: settlement.accountId,
      mode: settlement.mode,
      holdId: holdIdOf(settlement.taskId),
      held,
      released,
    }),
    `the hold of ${settlement.taskId} exists and has the amount that the task says`,
  );
  await insertEntries(tx, [
    ...captures.map((capture, i) => captureEntry(settlement, capture, i === 0)),
    releaseEntry(settlement, released),
  ]);
}

/**
 * Adds money to a book, once for each account and reference. False when that very credit was there
 * already; throws `AppError` when the reference was used for another one, or a value is out of range.
 */
export async function credit(tx: Tx, wanted: Credit): Promise<boolean> {
  checkCredit(wanted);
  const entry = creditEntry(wanted);
  if (!(await insertCredit(tx, entry))) {
    await checkSameCredit(tx, entry, wanted.reference);
    return false;
  }
  assert(await addCredit(tx, wanted, wanted.amount), "an account has its books");
  return true;
}

type BookHolds = {
  /** For each hold of the group what is missing; 0 when it was taken. */
  missing: Micros[];
  refill: LedgerRow | null;
};

async function holdInBook(tx: Tx, group: readonly Hold[], now: number): Promise<BookHolds> {
  const first = must(group[0], "a hold");
  const floor = first.mode === "test" ? testFloorMicros : 0;
  const total = sum(group.map((hold) => hold.amount));
  const hold = { accountId: first.accountId, mode: first.mode, amount: total, taken: total };
  if (await takeHold(tx, { ...hold, availableMin: floor + total })) {
    return { missing: group.map(() => 0), refill: null };
  }
  const available = must(await lockBook(tx, first), "the book of an account").available;
  return first.mode === "test"
    ? refillAndHold(tx, group, { available, total, now })
    : holdWhatFits(tx, group, available);
}

/** Fills a test book up so that the target is what is left after the holds. */
async function refillAndHold(
  tx: Tx,
  group: readonly Hold[],
  { available, total, now }: { available: Micros; total: Micros; now: number },
): Promise<BookHolds> {
  const first = must(group[0], "a hold");
  // Between the refused statement and the lock another transaction may have filled the book up.
  const isEnough = available - total >= testFloorMicros;
  const added = isEnough ? 0 : testFundsMicros + total - available;
  assert(
    await takeHold(tx, {
      accountId: first.accountId,
      mode: first.mode,
      amount: total,
      taken: total - added,
      availableMin: testFloorMicros + total - added,
    }),
    "a locked test book takes its refill",
  );
  const missing = group.map(() => 0);
  if (isEnough) return { missing, refill: null };
  const reference = `refill:${first.taskId}`;
  const refill = { ...first, amount: added, reference, note: "play money", now };
  return { missing, refill: creditEntry(refill) };
}

async function holdWhatFits(tx: Tx, group: readonly Hold[], available: Micros): Promise<BookHolds> {
  let left = available;
  const missing = group.map(({ amount }) => {
    if (amount > left) return amount - left;
    left -= amount;
    return 0;
  });
  const amount = available - left;
  if (amount > 0) {
    const { accountId, mode } = must(group[0], "a hold");
    assert(
      await takeHold(tx, { accountId, mode, amount, taken: amount, availableMin: amount }),
      "a locked book takes what was computed from it",
    );
  }
  return { missing, refill: null };
}

/** Books stand in the order of locking. */
function groupByBook(holds: readonly Hold[]): number[][] {
  return groupPlaces(holds, {
    keyOf: ({ accountId, mode }) => `${accountId} ${mode}`,
    isSame: (a, b) => a.accountId === b.accountId && a.mode === b.mode,
  });
}

function sum(amounts: readonly Micros[]): Micros {
  const total = amounts.reduce((a, b) => a + b, 0);
  assertMicros(total);
  return total;
}

function checkCredit({ amount, reference, note }: Credit): void {
  if (!Number.isSafeInteger(amount) || amount <= 0) {
    throw new AppError("invalid_parameter", "amount must be more than 0 USD", { param: "amount" });
  }
  if (!/^[\x21-\x7e]+$/.test(reference) || reference.length > referenceLengthMax) {
    throw new AppError(
      "invalid_parameter",
      `reference must be 1 to ${referenceLengthMax} visible ASCII characters`,
      { param: "reference" },
    );
  }
  if (note !== null && (note.length > noteLengthMax || note.includes("\0"))) {
    throw new AppError(
      "invalid_parameter",
      `note must have at most ${noteLengthMax} characters and no NUL`,
      { param: "note" },
    );
  }
}

async function checkSameCredit(tx: Tx, wanted: LedgerRow, reference: string): Promise<void> {
  const existing = must(await findEntry(tx, wanted.account_id, wanted.id), "a credit");
  if (existing.available === wanted.available && existing.mode === wanted.mode) return;
  throw new AppError(
    "invalid_parameter",
    `reference "${reference}" already stands for a ${existing.mode} credit of ` +
      `${formatUsd(existing.available)} USD; use another one`,
    { param: "reference" },
  );
}
