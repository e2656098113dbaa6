import type { Insertable } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import { prepare } from "../db/statements.ts";
import type { AccountRow, ApiKeyRow, KeyUsageRow } from "../db/schema.ts";

/** Names one row of `key_usage`. */
export type KeyRef = { accountId: string; keyId: string };

/** A page in order of id: the rows after `after` (empty for the first page). */
export type Page = { after: string; limit: number };

export type KeyAndAccountRow = ApiKeyRow & {
  account_name: string;
  ratio_ppm: number;
  account_requests_per_minute: number | null;
  account_tasks_in_flight: number | null;
  account_spend_per_day: number | null;
};

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
  "api_keys.spend_per_day",
] as const;

// accounts

const accountColumns = [
  "id",
  "name",
  "ratio_ppm",
  "created_at",
  "requests_per_minute",
  "tasks_in_flight",
  "spend_per_day",
] as const;

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
    .select(accountColumns)
    .where("name", "=", name)
    .executeTakeFirst();
  return row ?? null;
}

export function selectAccounts(handle: Handle, page: Page): Promise<AccountRow[]> {
  return handle
    .selectFrom("accounts")
    .select(accountColumns)
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

export type AccountChange = Partial<Omit<AccountRow, "id" | "name" | "created_at">>;

/** Changes at least one column; null when no account has the name. */
export async function updateAccount(
  tx: Tx,
  name: string,
  change: AccountChange,
): Promise<AccountRow | null> {
  const row = await tx
    .updateTable("accounts")
    .set(change)
    .where("name", "=", name)
    .returning(accountColumns)
    .executeTakeFirst();
  return row ?? null;
}

const updateAccountToLock = prepare((db, p: { id: string }) =>
  db
    .updateTable("accounts")
    .set((row) => ({ created_at: row.ref("created_at") }))
    .where("id", "=", p.id)
    .returning(accountColumns),
);

/** The account, whose row stays locked until the transaction ends; null without such an account. */
export function lockAccount(tx: Tx, id: string): Promise<AccountRow | null> {
  return updateAccountToLock.first(tx, { id });
}

// keys

/** Writes the key and its usage row, which starts at nothing. */
export async function insertKey(tx: Tx, row: Insertable<ApiKeyRow>): Promise<void> {
  await tx.insertInto("api_keys").values(row).execute();
  await tx
    .insertInto("key_usage")
    .values({
      account_id: row.account_id,
      key_id: row.id,
      held: 0,
      captured: 0,
      in_flight: 0,
      day: 0,
      day_spent: 0,
    })
    .execute();
}

const selectKeyByDigest = prepare((db, p: { digest: string }) =>
  db
    .selectFrom("api_keys")
    .innerJoin("accounts", "accounts.id", "api_keys.account_id")
    .select(keyColumns)
    .select([
      "accounts.name as account_name",
      "accounts.ratio_ppm",
      "accounts.requests_per_minute as account_requests_per_minute",
      "accounts.tasks_in_flight as account_tasks_in_flight",
      "accounts.spend_per_day as account_spend_per_day",
    ])
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
