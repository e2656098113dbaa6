/** Every statement on `costs`. */
import type { Handle } from "../db/database.ts";
import { insertRows } from "../db/statements.ts";

/** Leaves an attempt that has its row as it is. */
export const insertCosts = insertRows(
  "costs",
  [
    "account_id",
    "attempt_id",
    "task_id",
    "channel",
    "upstream_model",
    "amount",
    "fate",
    "created_at",
  ],
  { onConflict: "ignore" },
);

export function selectWaste(
  handle: Handle,
  since: number,
): Promise<{ attempts: number; amount: number | null }> {
  return handle
    .selectFrom("costs")
    .select((row) => [
      row.fn.countAll<number>().as("attempts"),
      row.cast<number | null>(row.fn.sum("amount"), "bigint").as("amount"),
    ])
    .where("fate", "=", "wasted")
    .where("created_at", ">=", since)
    .executeTakeFirstOrThrow();
}
