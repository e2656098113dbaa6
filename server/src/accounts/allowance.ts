/**
 * What accounts with limits of their own may still take, over all their keys of one mode. The account's
 * row is locked first, so no other submit of it moves the sums before this transaction ends; a task that
 * ends meanwhile only lowers them.
 */
import type { Tx } from "../db/database.ts";
import type { Mode } from "../db/schema.ts";
import { must } from "../lib/errors.ts";
import type { Micros } from "../lib/money.ts";
import { dayMs } from "../lib/time.ts";
import type { AccountLimits } from "./caller.ts";
import { lockAccount } from "./store.ts";
import { sumAccountUsage } from "./usage-store.ts";

/** Stands for a limit that is not set. */
export const unlimited = Number.MAX_SAFE_INTEGER;

type AccountBook = { accountId: string; mode: Mode };

/** What is left of an account's limits in this transaction; lowered by what is taken. */
export type Allowance = {
  /** As they stand in the locked row. */
  limits: AccountLimits;
  tasksLeft: number;
  /** Micro-USD that today's tasks may still cost; below 0 when the limit was lowered. */
  spendLeft: Micros;
};

export type Allowances = { of(book: AccountBook): Allowance | null };

/** The UTC day of a time in unix milliseconds, counted from 1970. */
export function dayOf(ms: number): number {
  return Math.floor(ms / dayMs);
}

/** Locks the accounts in order of id, and reads what each book of them has in use. */
export async function loadAllowances(
  tx: Tx,
  books: readonly AccountBook[],
  day: number,
): Promise<Allowances> {
  const limits = new Map<string, AccountLimits>();
  for (const id of new Set(books.map(({ accountId }) => accountId).toSorted())) {
    const row = must(await lockAccount(tx, id), "an account");
    limits.set(id, {
      requestsPerMinute: row.requests_per_minute,
      tasksInFlight: row.tasks_in_flight,
      spendPerDay: row.spend_per_day,
    });
  }
  const allowances = new Map<string, Allowance>();
  for (const { accountId, mode } of books) {
    const name = `${accountId} ${mode}`;
    if (allowances.has(name)) continue;
    const used = await sumAccountUsage(tx, { accountId, mode, day });
    const own = must(limits.get(accountId), "the limits of a locked account");
    allowances.set(name, {
      limits: own,
      tasksLeft: (own.tasksInFlight ?? unlimited) - used.inFlight,
      spendLeft: (own.spendPerDay ?? unlimited) - used.daySpent,
    });
  }
  return { of: ({ accountId, mode }) => allowances.get(`${accountId} ${mode}`) ?? null };
}
