/** Every statement that changes `key_usage`, or reads it alone. */
import type { ExpressionBuilder } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import { prepare } from "../db/statements.ts";
import type { KeyUsageRow, Mode, Tables } from "../db/schema.ts";
import type { Micros } from "../lib/money.ts";
import type { KeyRef, Page } from "./store.ts";

const usageColumns = [
  "account_id",
  "key_id",
  "held",
  "captured",
  "in_flight",
  "day",
  "day_spent",
] as const;

export type UsageRaise = KeyRef & {
  amount: Micros;
  tasks: number;
  /** Most of held + captured before the raise. */
  spentMax: Micros;
  /** Most tasks in flight before the raise. */
  inFlightMax: number;
  /** The UTC day of the submits, counted from 1970. */
  day: number;
  /** Most spent on that day before the raise. */
  daySpentMax: Micros;
};

const updateUsageUp = prepare((db, p: UsageRaise) =>
  db
    .updateTable("key_usage")
    .set((row) => ({
      held: row("held", "+", p.amount),
      in_flight: row("in_flight", "+", p.tasks),
      // Of two clocks at midnight the one that is ahead decides which day it is.
      day: row.case().when("day", "<", p.day).then(p.day).else(row.ref("day")).end(),
      day_spent: row
        .case()
        .when("day", "<", p.day)
        .then(p.amount)
        .else(row("day_spent", "+", p.amount))
        .end(),
    }))
    .where("account_id", "=", p.accountId)
    .where("key_id", "=", p.keyId)
    .where((row) => row(row("held", "+", row.ref("captured")), "<=", p.spentMax))
    .where("in_flight", "<=", p.inFlightMax)
    .where((row) => row(spentOn(row, p.day), "<=", p.daySpentMax)),
);

/** False, and nothing is written, when the key is above one of the limits. */
export async function raiseUsage(tx: Tx, raise: UsageRaise): Promise<boolean> {
  return updateUsageUp.changes(tx, raise, { isContended: true });
}

export type UsageLower = KeyRef & {
  held: Micros;
  captured: Micros;
  released: Micros;
  /** The UTC day on which the task was submitted. */
  day: number;
};

const updateUsageDown = prepare((db, p: UsageLower) =>
  db
    .updateTable("key_usage")
    .set((row) => ({
      held: row("held", "-", p.held),
      captured: row("captured", "+", p.captured),
      in_flight: row("in_flight", "-", 1),
      day_spent: row
        .case()
        .when(row.and([row("day", "=", p.day), row("day_spent", ">=", p.released)]))
        .then(row("day_spent", "-", p.released))
        .else(row.ref("day_spent"))
        .end(),
    }))
    .where("account_id", "=", p.accountId)
    .where("key_id", "=", p.keyId)
    .where("held", ">=", p.held)
    .where("in_flight", ">=", 1),
);

/** Ends one task of the key. False when the key does not hold that much. */
export async function lowerUsage(tx: Tx, lower: UsageLower): Promise<boolean> {
  return (await updateUsageDown.run(tx, lower)) === 1;
}

const updateUsageToLock = prepare((db, p: KeyRef) =>
  db
    .updateTable("key_usage")
    .set((row) => ({ held: row.ref("held") }))
    .where("account_id", "=", p.accountId)
    .where("key_id", "=", p.keyId)
    .returning(usageColumns),
);

/** The usage of a key, whose row stays locked until the transaction ends; null without such a key. */
export function lockUsage(tx: Tx, key: KeyRef): Promise<KeyUsageRow | null> {
  return updateUsageToLock.first(tx, key);
}

const selectUsage = prepare((db, p: KeyRef) =>
  db
    .selectFrom("key_usage")
    .select(usageColumns)
    .where("account_id", "=", p.accountId)
    .where("key_id", "=", p.keyId),
);

export function findUsage(handle: Handle, key: KeyRef): Promise<KeyUsageRow | null> {
  return selectUsage.first(handle, key);
}

export function selectUsages(
  handle: Handle,
  accountId: string,
  page: Page,
): Promise<KeyUsageRow[]> {
  return handle
    .selectFrom("key_usage")
    .select(usageColumns)
    .where("account_id", "=", accountId)
    .where("key_id", ">", page.after)
    .orderBy("key_id")
    .limit(page.limit)
    .execute();
}

const selectCaptured = prepare((db, p: { accountId: string; mode: Mode }) =>
  db
    .selectFrom("api_keys")
    .innerJoin("key_usage", (join) =>
      join
        .onRef("key_usage.account_id", "=", "api_keys.account_id")
        .onRef("key_usage.key_id", "=", "api_keys.id"),
    )
    // PostgreSQL adds bigints up to a decimal.
    .select((row) => row.cast<number | null>(row.fn.sum("captured"), "bigint").as("captured"))
    .where("api_keys.account_id", "=", p.accountId)
    .where("api_keys.mode", "=", p.mode),
);

/** What all keys of the account in this mode have captured, revoked keys too. */
export async function sumCaptured(handle: Handle, accountId: string, mode: Mode): Promise<Micros> {
  const row = await selectCaptured.first(handle, { accountId, mode });
  return row?.captured ?? 0;
}

const selectAccountUsage = prepare((db, p: { accountId: string; mode: Mode; day: number }) =>
  db
    .selectFrom("api_keys")
    .innerJoin("key_usage", (join) =>
      join
        .onRef("key_usage.account_id", "=", "api_keys.account_id")
        .onRef("key_usage.key_id", "=", "api_keys.id"),
    )
    .select((row) => [
      row.cast<number | null>(row.fn.sum("in_flight"), "bigint").as("in_flight"),
      row.cast<number | null>(row.fn.sum(spentOn(row, p.day)), "bigint").as("day_spent"),
    ])
    .where("api_keys.account_id", "=", p.accountId)
    .where("api_keys.mode", "=", p.mode),
);

/** What all keys of the account in this mode have in flight, and have spent on the day. */
export async function sumAccountUsage(
  handle: Handle,
  account: { accountId: string; mode: Mode; day: number },
): Promise<{ inFlight: number; daySpent: Micros }> {
  const row = await selectAccountUsage.first(handle, account);
  return { inFlight: row?.in_flight ?? 0, daySpent: row?.day_spent ?? 0 };
}

/** What stands in `day_spent` for a day: nothing while the row is still about an earlier one. */
function spentOn(row: ExpressionBuilder<Tables, "key_usage">, day: number) {
  return row.case().when("day", "<", day).then(0).else(row.ref("day_spent")).end();
}
