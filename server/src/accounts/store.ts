import type { Insertable } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import { prepare } from "../db/statements.ts";
import type { AccountRow, ApiKeyRow, KeyUsageRow, Mode } from "../db/schema.ts";
import type { Micros } from "../lib/money.ts";

/** Names one row of `key_usage`. */
export type KeyRef = { accountId: string; keyId: string };

/** A page in order of id: the rows after `after` (empty for the first page). */
export type Page = { after: string; limit: number };

export type KeyAndAccountRow = ApiKeyRow & { account_name: string; ratio_ppm: number };

export type KeyAndUsageRow = ApiKeyRow & Pick<KeyUsageRow, "held" | "captured" | "in_flight">;

const keyColumns = [
  "api_keys.account_id",
  "api_keys.id",
  "api_keys.mode",
  "api_keys.name",
  "api_keys.digest",
  "api_keys.hint",
  "api_keys.cap",
  "api_keys.models_json",
  "api_keys.ips_json",
  "api_keys.requests_per_minute",
  "api_keys.tasks_in_flight",
  "api_keys.expires_at",
  "api_keys.revoked_at",
  "api_keys.created_at",
] as const;

// accounts

/** False when the name is taken. */
export async function insertAccount(tx: Tx, row: Insertable<AccountRow>): Promise<boolean> {
  const inserted = await tx
    .insertInto("accounts")
    .values(row)
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("id")
    .executeTakeFirst();
  return inserted !== undefined;
}

export async function findAccountRow(handle: Handle, name: string): Promise<AccountRow | null> {
  const row = await handle
    .selectFrom("accounts")
    .select(["id", "name", "ratio_ppm", "created_at"])
    .where("name", "=", name)
    .executeTakeFirst();
  return row ?? null;
}

export function selectAccounts(handle: Handle, page: Page): Promise<AccountRow[]> {
  return handle
    .selectFrom("accounts")
    .select(["id", "name", "ratio_ppm", "created_at"])
    .where("id", ">", page.after)
    .orderBy("id")
    .limit(page.limit)
    .execute();
}

type RatioRow = Pick<AccountRow, "id" | "ratio_ppm">;

const selectRatio = prepare((db, p: { id: string }) =>
  db.selectFrom("accounts").select(["id", "ratio_ppm"]).where("id", "=", p.id),
);

export function selectRatios(handle: Handle, accountIds: readonly string[]): Promise<RatioRow[]> {
  const [first, ...rest] = accountIds;
  if (first !== undefined && rest.length === 0) return selectRatio.all(handle, { id: first });
  return handle
    .selectFrom("accounts")
    .select(["id", "ratio_ppm"])
    .where("id", "in", accountIds)
    .execute();
}

/** Null when no account has the name. */
export async function updateRatio(
  tx: Tx,
  name: string,
  ratioPpm: number,
): Promise<AccountRow | null> {
  const row = await tx
    .updateTable("accounts")
    .set({ ratio_ppm: ratioPpm })
    .where("name", "=", name)
    .returning(["id", "name", "ratio_ppm", "created_at"])
    .executeTakeFirst();
  return row ?? null;
}

// keys

/** Writes the key and its usage row, which starts at nothing. */
export async function insertKey(tx: Tx, row: Insertable<ApiKeyRow>): Promise<void> {
  await tx.insertInto("api_keys").values(row).execute();
  await tx
    .insertInto("key_usage")
    .values({ account_id: row.account_id, key_id: row.id, held: 0, captured: 0, in_flight: 0 })
    .execute();
}

const selectKeyByDigest = prepare((db, p: { digest: string }) =>
  db
    .selectFrom("api_keys")
    .innerJoin("accounts", "accounts.id", "api_keys.account_id")
    .select(keyColumns)
    .select(["accounts.name as account_name", "accounts.ratio_ppm"])
    .where("api_keys.digest", "=", p.digest)
    .where("api_keys.revoked_at", "is", null),
);

/** The key with this digest, unless it was revoked. */
export function findKeyByDigest(handle: Handle, digest: string): Promise<KeyAndAccountRow | null> {
  return selectKeyByDigest.first(handle, { digest });
}

/** Looks through all accounts, for operators who know nothing but the id. */
export async function findKeyById(handle: Handle, keyId: string): Promise<KeyAndUsageRow | null> {
  const row = await selectKeysAndUsage(handle).where("api_keys.id", "=", keyId).executeTakeFirst();
  return row ?? null;
}

export function selectKeys(
  handle: Handle,
  accountId: string,
  page: Page,
): Promise<KeyAndUsageRow[]> {
  return selectKeysAndUsage(handle)
    .where("api_keys.account_id", "=", accountId)
    .where("api_keys.id", ">", page.after)
    .orderBy("api_keys.id")
    .limit(page.limit)
    .execute();
}

/** The digest of the key when this call revoked it; null when there is no such key or it was revoked before. */
export async function revokeKeyRow(tx: Tx, key: KeyRef, now: number): Promise<string | null> {
  const row = await tx
    .updateTable("api_keys")
    .set({ revoked_at: now })
    .where("account_id", "=", key.accountId)
    .where("id", "=", key.keyId)
    .where("revoked_at", "is", null)
    .returning("digest")
    .executeTakeFirst();
  return row?.digest ?? null;
}

// usage

const usageColumns = ["account_id", "key_id", "held", "captured", "in_flight"] as const;

export type UsageRaise = KeyRef & {
  amount: Micros;
  tasks: number;
  /** Most of held + captured before the raise. */
  spentMax: Micros;
  /** Most tasks in flight before the raise. */
  inFlightMax: number;
};

const updateUsageUp = prepare((db, p: UsageRaise) =>
  db
    .updateTable("key_usage")
    .set((row) => ({
      held: row("held", "+", p.amount),
      in_flight: row("in_flight", "+", p.tasks),
    }))
    .where("account_id", "=", p.accountId)
    .where("key_id", "=", p.keyId)
    .where((row) => row(row("held", "+", row.ref("captured")), "<=", p.spentMax))
    .where("in_flight", "<=", p.inFlightMax),
);

/** False, and nothing is written, when the key is above one of the limits. */
export async function raiseUsage(tx: Tx, raise: UsageRaise): Promise<boolean> {
  return (await updateUsageUp.run(tx, raise)) === 1;
}

export type UsageLower = KeyRef & { held: Micros; captured: Micros };

const updateUsageDown = prepare((db, p: UsageLower) =>
  db
    .updateTable("key_usage")
    .set((row) => ({
      held: row("held", "-", p.held),
      captured: row("captured", "+", p.captured),
      in_flight: row("in_flight", "-", 1),
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

function selectKeysAndUsage(handle: Handle) {
  return handle
    .selectFrom("api_keys")
    .innerJoin("key_usage", (join) =>
      join
        .onRef("key_usage.account_id", "=", "api_keys.account_id")
        .onRef("key_usage.key_id", "=", "api_keys.id"),
    )
    .select(keyColumns)
    .select(["key_usage.held", "key_usage.captured", "key_usage.in_flight"]);
}
