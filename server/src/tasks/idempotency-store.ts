/** Every statement on `idempotency`. */
import type { Handle, Tx } from "../db/database.ts";
import type { IdempotencyRow } from "../db/schema.ts";
import { insertRows, prepare } from "../db/statements.ts";

export type IdempotencyScope = Pick<IdempotencyRow, "account_id" | "mode" | "route" | "key">;

export type KnownKey = Pick<IdempotencyRow, "task_id" | "digest" | "expires_at">;

const findRow = prepare((db, p: IdempotencyScope) =>
  db
    .selectFrom("idempotency")
    .select(["task_id", "digest", "expires_at"])
    .where("account_id", "=", p.account_id)
    .where("mode", "=", p.mode)
    .where("route", "=", p.route)
    .where("key", "=", p.key),
);

export function findIdempotency(handle: Handle, scope: IdempotencyScope): Promise<KnownKey | null> {
  return findRow.first(handle, scope);
}

const insertNew = insertRows(
  "idempotency",
  ["account_id", "mode", "route", "key", "digest", "task_id", "expires_at"],
  { onConflict: "ignore", returning: ["task_id"] },
);

/**
 * Remembers keys, one row each; returns the task ids of those that were new. A concurrent twin on
 * PostgreSQL waits here for the first one's commit.
 */
export async function insertIdempotency(
  tx: Tx,
  rows: readonly IdempotencyRow[],
): Promise<Set<string>> {
  const inserted = await insertNew(tx, rows);
  return new Set(inserted.map(({ task_id }) => task_id));
}

/** Forgets one use of a key: not the use that may have followed it. */
export async function deleteIdempotency(
  tx: Tx,
  row: IdempotencyScope & Pick<IdempotencyRow, "task_id">,
): Promise<void> {
  await tx
    .deleteFrom("idempotency")
    .where("account_id", "=", row.account_id)
    .where("mode", "=", row.mode)
    .where("route", "=", row.route)
    .where("key", "=", row.key)
    .where("task_id", "=", row.task_id)
    .execute();
}

/** Removes up to `limit` keys that have expired; returns how many there were. */
export async function deleteExpiredIdempotency(
  tx: Tx,
  now: number,
  limit: number,
): Promise<number> {
  const expired = await tx
    .selectFrom("idempotency")
    .select(["account_id", "mode", "route", "key", "task_id"])
    .where("expires_at", "<=", now)
    .orderBy("expires_at")
    .limit(limit)
    .execute();
  for (const row of expired) await deleteIdempotency(tx, row);
  return expired.length;
}
