import type { Handle } from "../db/database.ts";
import type { Mode } from "../db/schema.ts";
import { must } from "../lib/errors.ts";
import type { Micros } from "../lib/money.ts";
import type { BookRef } from "./entries.ts";
import { findBook } from "./store.ts";

/** What a key or an account can spend and has spent, in one mode. */
export type Balance = {
  /** Spendable now, holds deducted; null for a key without a cap. */
  remain: Micros | null;
  /** Captured so far. */
  used: Micros;
};

/** The money in one book. */
export type Book = { available: Micros; held: Micros };

type BalanceCaller = { accountId: string; keyId: string; mode: Mode; cap: Micros | null };

export type BalancesDeps = {
  read: Handle;
  /** What the key has used so far, of any mode. */
  loadUsage(
    handle: Handle,
    key: { accountId: string; keyId: string },
  ): Promise<{ held: Micros; captured: Micros }>;
  /** What all keys of the account in this mode have captured. */
  loadCaptured(handle: Handle, accountId: string, mode: Mode): Promise<Micros>;
};

export type Balances = {
  /** The calling key: with a cap, the smaller of what the cap and the account leave. */
  readKeyBalance(caller: BalanceCaller): Promise<Balance>;
  /** The caller's account in the caller's mode. */
  readAccountBalance(caller: BalanceCaller): Promise<Balance>;
};

export function createBalances(deps: BalancesDeps): Balances {
  return {
    readKeyBalance: (caller) => readKeyBalance(deps, caller),
    readAccountBalance: (caller) => readAccountBalance(deps, caller),
  };
}

/** Asserts that the account exists. */
export async function loadBook(handle: Handle, book: BookRef): Promise<Book> {
  const row = must(await findBook(handle, book), "the book of an account");
  return { available: row.available, held: row.held };
}

async function readKeyBalance(deps: BalancesDeps, caller: BalanceCaller): Promise<Balance> {
  const usage = await deps.loadUsage(deps.read, caller);
  if (caller.cap === null) return { remain: null, used: usage.captured };
  const book = await loadBook(deps.read, caller);
  const left = caller.cap - usage.held - usage.captured;
  return { remain: Math.max(0, Math.min(left, book.available)), used: usage.captured };
}

async function readAccountBalance(deps: BalancesDeps, caller: BalanceCaller): Promise<Balance> {
  const book = await loadBook(deps.read, caller);
  const used = await deps.loadCaptured(deps.read, caller.accountId, caller.mode);
  return { remain: book.available, used };
}
