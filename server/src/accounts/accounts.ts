import type { Database, Handle, Tx } from "../db/database.ts";
import type { AccountRow } from "../db/schema.ts";
import { AppError, assert } from "../lib/errors.ts";
import { idPrefixes } from "../lib/ids.ts";
import type { Ids } from "../lib/ids.ts";
import type { Clock } from "../lib/time.ts";
import type { AccountLimits } from "./caller.ts";
import { checkLimits } from "./key-settings.ts";
import {
  findAccountRow,
  insertAccount,
  selectAccounts,
  selectRatios,
  updateAccount,
} from "./store.ts";
import type { AccountChange } from "./store.ts";

export type Account = {
  id: string;
  name: string;
  /** Price ratio in millionths: 1_000_000 charges list prices as they are. */
  ratioPpm: number;
  limits: AccountLimits;
  /** Unix milliseconds. */
  createdAt: number;
};

/** What is left out stays as it is. */
export type AccountSettings = Partial<AccountLimits> & { ratioPpm?: number };

export type AccountsDeps = {
  db: Database;
  clock: Clock;
  ids: Ids;
  /** Gives a new account its live and test books, in the transaction that makes the account. */
  openBooks(tx: Tx, accountId: string, now: number): Promise<void>;
};

/** What operators do with accounts. Every verb resolves when its change is durable. */
export type Accounts = {
  /** Throws `AppError` when the name is ill-formed or taken. */
  createAccount(name: string): Promise<Account>;
  findAccountByName(name: string): Promise<Account | null>;
  /** In the order they were made, after the account `after`; at most `limit`, which is at most 1,000. */
  listAccounts(page?: { after?: string; limit?: number }): Promise<Account[]>;
  /** Holds for the next submit on; tasks keep the ratio they were submitted under. */
  setRatio(name: string, ratioPpm: number): Promise<Account>;
  /**
   * Changes at least one setting. Limits hold on every node within a second; tasks that were taken stay.
   * Throws `AppError` when the account does not exist or a limit is out of range.
   */
  setAccount(name: string, settings: AccountSettings): Promise<Account>;
};

export const listPriceRatioPpm = 1_000_000;
const ratioPpmMax = 1_000 * listPriceRatioPpm;
const nameLengthMax = 64;
const namePattern = /^[\p{L}\p{N}][\p{L}\p{N} ._@-]*$/u;
const pageSizeMax = 1_000;

export function createAccounts(deps: AccountsDeps): Accounts {
  return {
    createAccount: (name) => createAccount(deps, name),
    findAccountByName: async (name) => {
      const row = await findAccountRow(deps.db.read, name);
      return row === null ? null : toAccount(row);
    },
    listAccounts: async ({ after = "", limit = pageSizeMax } = {}) => {
      assert(limit >= 1 && limit <= pageSizeMax, "a page of accounts has 1 to 1,000 rows");
      return (await selectAccounts(deps.db.read, { after, limit })).map(toAccount);
    },
    setRatio: (name, ratioPpm) => setAccount(deps, name, { ratioPpm }),
    setAccount: (name, settings) => setAccount(deps, name, settings),
  };
}

/**
 * The price ratios of accounts as they stand now, in millionths. Asserts that every account exists.
 * Every list of submits reads them afresh, so that no cached ratio sets a price.
 */
export async function loadRatios(
  handle: Handle,
  accountIds: readonly string[],
): Promise<Map<string, number>> {
  const wanted = [...new Set(accountIds)];
  if (wanted.length === 0) return new Map();
  const rows = await selectRatios(handle, wanted);
  assert(rows.length === wanted.length, "an account is missing");
  return new Map(rows.map((row) => [row.id, row.ratio_ppm]));
}

/** Reads an operator's ratio (`0.8`, at most six decimals, 0 to 1000) into millionths; throws `AppError` with `param`. */
export function parseRatio(text: string, param = "ratio"): number {
  const [, whole = "", fraction = ""] = /^(\d{1,4})(?:\.(\d{1,6}))?$/.exec(text.trim()) ?? [];
  const ratioPpm = Number(whole) * listPriceRatioPpm + Number(fraction.padEnd(6, "0"));
  if (whole === "" || ratioPpm > ratioPpmMax) {
    throw new AppError(
      "invalid_parameter",
      `${param} ${JSON.stringify(text.slice(0, 40))} is not a number from 0 to 1000 with at most six decimals`,
      { param },
    );
  }
  return ratioPpm;
}

async function createAccount(deps: AccountsDeps, name: string): Promise<Account> {
  checkName(name);
  const now = deps.clock.now();
  const row = {
    id: deps.ids("account"),
    name,
    ratio_ppm: listPriceRatioPpm,
    created_at: now,
    requests_per_minute: null,
    tasks_in_flight: null,
    spend_per_day: null,
  };
  await deps.db.transaction(async (tx) => {
    if (!(await insertAccount(tx, row))) {
      throw new AppError("invalid_parameter", `name "${name}" is taken by another account`, {
        param: "name",
      });
    }
    await deps.openBooks(tx, row.id, now);
  });
  await deps.db.durable();
  return toAccount(row);
}

async function setAccount(
  deps: AccountsDeps,
  name: string,
  settings: AccountSettings,
): Promise<Account> {
  const { ratioPpm } = settings;
  assert(
    ratioPpm === undefined ||
      (Number.isSafeInteger(ratioPpm) && ratioPpm >= 0 && ratioPpm <= ratioPpmMax),
    "a ratio is a whole number of millionths up to 1,000",
  );
  checkLimits(settings);
  const change = toChange(settings);
  assert(Object.keys(change).length > 0, "a change of an account changes something");
  const row = await deps.db.transaction((tx) => updateAccount(tx, name, change));
  if (row === null) throw accountNotFound(name);
  await deps.db.durable();
  return toAccount(row);
}

function toChange(settings: AccountSettings): AccountChange {
  const { ratioPpm, requestsPerMinute, tasksInFlight, spendPerDay } = settings;
  return {
    ...(ratioPpm === undefined ? {} : { ratio_ppm: ratioPpm }),
    ...(requestsPerMinute === undefined ? {} : { requests_per_minute: requestsPerMinute }),
    ...(tasksInFlight === undefined ? {} : { tasks_in_flight: tasksInFlight }),
    ...(spendPerDay === undefined ? {} : { spend_per_day: spendPerDay }),
  };
}

function accountNotFound(name: string): AppError {
  const shown = JSON.stringify(name.slice(0, nameLengthMax));
  return new AppError("invalid_parameter", `name ${shown} is not an account; see accounts list`, {
    param: "name",
  });
}

function checkName(name: string): void {
  // An operator who gives an id would be answered with the account of that name.
  if (name.toLowerCase().startsWith(idPrefixes.account)) {
    throw new AppError(
      "invalid_parameter",
      `name ${JSON.stringify(name.slice(0, nameLengthMax))} looks like an id; ` +
        `use one that does not begin with ${idPrefixes.account}`,
      { param: "name" },
    );
  }
  if (name.length > nameLengthMax || !namePattern.test(name)) {
    throw new AppError(
      "invalid_parameter",
      `name ${JSON.stringify(name.slice(0, nameLengthMax))} is not allowed; use 1 to ${nameLengthMax} ` +
        "letters, digits, spaces or . _ @ -, beginning with a letter or digit",
      { param: "name" },
    );
  }
}

function toAccount(row: AccountRow): Account {
  return {
    id: row.id,
    name: row.name,
    ratioPpm: row.ratio_ppm,
    limits: {
      requestsPerMinute: row.requests_per_minute,
      tasksInFlight: row.tasks_in_flight,
      spendPerDay: row.spend_per_day,
    },
    createdAt: row.created_at,
  };
}
