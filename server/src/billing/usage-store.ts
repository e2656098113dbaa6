import { sql } from "kysely";

import type { Handle } from "../db/database.ts";
import type { LedgerRow } from "../db/schema.ts";
import { prepare } from "../db/statements.ts";
import type { BookRef } from "./entries.ts";

export type CaptureRow = Pick<
  LedgerRow,
  "id" | "created_at" | "held" | "task_id" | "key_id" | "model" | "input_tokens" | "output_tokens"
>;

/** A part of a book in order of time: after this entry, and before the time `end`. */
export type CaptureRange = { createdAt: number; id: string; end: number; limit: number };

const selectCaptures = prepare((db, p: BookRef & CaptureRange) =>
  db
    .selectFrom("ledger")
    .select([
      "id",
      "created_at",
      "held",
      "task_id",
      "key_id",
      "model",
      "input_tokens",
      "output_tokens",
    ])
    .where("account_id", "=", p.accountId)
    .where("mode", "=", p.mode)
    // The same as the next line says, in words that both databases use the index for.
    .where("created_at", ">=", p.createdAt)
    .where((row) => row(row.refTuple("created_at", "id"), ">", row.tuple(p.createdAt, p.id)))
    .where("created_at", "<", p.end)
    .where("kind", "=", "capture")
    // Written out, or the database would not see that the index without holds has them.
    .where(sql<boolean>`kind <> 'hold'`)
    .orderBy("created_at")
    .orderBy("id")
    .limit(p.limit),
);

/** What was charged in a book, one row a picture; those of a task stand together. */
export function loadCaptures(
  handle: Handle,
  book: BookRef,
  range: CaptureRange,
): Promise<CaptureRow[]> {
  return selectCaptures.all(handle, { ...book, ...range });
}
