/** What `check.ts` reads of the ledger. Sums are cast because PostgreSQL adds bigints up to a decimal. */
import { sql } from "kysely";

import type { Handle } from "../db/database.ts";
import type { BalanceRow, LedgerRow, Mode } from "../db/schema.ts";
import type { BookRef } from "./entries.ts";
import { ledgerColumns } from "./store.ts";

export function selectAccountIds(
  handle: Handle,
  after: string,
  limit: number,
): Promise<{ account_id: string }[]> {
  return handle
    .selectFrom("balances")
    .select("account_id")
    .distinct()
    .where("account_id", ">", after)
    .orderBy("account_id")
    .limit(limit)
    .execute();
}

export type BookSums = Pick<BalanceRow, "mode" | "available" | "held"> & {
  entries: number;
  entered_available: number | null;
  entered_held: number | null;
  last_at: number | null;
};

/** Each book of the account beside the sums of its entries, all as of one moment. */
export function selectBookSums(handle: Handle, accountId: string): Promise<BookSums[]> {
  return handle
    .selectFrom("balances")
    .leftJoin("ledger", (join) =>
      join
        .onRef("ledger.account_id", "=", "balances.account_id")
        .onRef("ledger.mode", "=", "balances.mode"),
    )
    .select((row) => [
      "balances.mode",
      "balances.available",
      "balances.held",
      row.fn.count<number>("ledger.id").as("entries"),
      row.cast<number | null>(row.fn.sum("ledger.available"), "bigint").as("entered_available"),
      row.cast<number | null>(row.fn.sum("ledger.held"), "bigint").as("entered_held"),
      row.fn.max("ledger.created_at").as("last_at"),
    ])
    .where("balances.account_id", "=", accountId)
    .groupBy(["balances.mode", "balances.available", "balances.held"])
    .orderBy("balances.mode")
    .execute();
}

/** Books that have entries but no balance; at most `limit`. */
export function selectBooksWithoutBalance(
  handle: Handle,
  limit: number,
): Promise<Pick<BalanceRow, "account_id" | "mode">[]> {
  return handle
    .selectFrom("ledger")
    .select(["account_id", "mode"])
    .distinct()
    .where((row) =>
      row.not(
        row.exists(
          row
            .selectFrom("balances")
            .select("balances.account_id")
            .whereRef("balances.account_id", "=", "ledger.account_id")
            .whereRef("balances.mode", "=", "ledger.mode"),
        ),
      ),
    )
    .limit(limit)
    .execute();
}

/** An entry's place in the order of time. */
export type EntryCursor = { created_at: number; id: string };

type EntryRange = { after: EntryCursor; through: number; limit: number };

/**
 * Holds of a book after the cursor and up to the time `through`, in order of id. The id of a hold has the
 * time of its task in it, so that this is their order in time too, as exactly as clocks are.
 */
export function selectHolds(
  handle: Handle,
  book: BookRef,
  { after, through, limit }: EntryRange,
): Promise<LedgerRow[]> {
  const { above, below } = idsOf("hold", { after: "", through: null });
  return handle
    .selectFrom("ledger")
    .select(ledgerColumns)
    .where("account_id", "=", book.accountId)
    .where("id", ">", after.id > above ? after.id : above)
    .where("id", "<", below)
    .where("mode", "=", book.mode)
    .where("created_at", "<=", through)
    .orderBy("id")
    .limit(limit)
    .execute();
}

/** Everything else in a book, in order of time, after the cursor and up to the time `through`. */
export function selectMoves(
  handle: Handle,
  book: BookRef,
  { after, through, limit }: EntryRange,
): Promise<LedgerRow[]> {
  return (
    handle
      .selectFrom("ledger")
      .select(ledgerColumns)
      .where("account_id", "=", book.accountId)
      .where("mode", "=", book.mode)
      // Written out, or the database would not see that the index of exactly these rows has them.
      .where(sql<boolean>`kind <> 'hold'`)
      .where((row) =>
        row(row.refTuple("created_at", "id"), ">", row.tuple(after.created_at, after.id)),
      )
      .where("created_at", "<=", through)
      .orderBy("created_at")
      .orderBy("id")
      .limit(limit)
      .execute()
  );
}

/** A part of a list in order of id: after `after` and up to `through`, or to the end when that is null. */
export type IdRange = { after: string; through: string | null };

/** Such a part, or one id alone. */
type IdChoice = IdRange | { only: string };

export type TaskSums = {
  task_id: string;
  holds: number;
  captures: number;
  releases: number;
  held: number;
  first_mode: Mode;
  last_mode: Mode;
  first_key: string | null;
  last_key: string | null;
};

/** What the entries of each task of the account come to, in order of task id: of about `limit` tasks. */
export async function selectTaskSums(
  handle: Handle,
  accountId: string,
  range: IdRange & { limit: number },
): Promise<{ sums: TaskSums[]; through: string | null }> {
  const through = (await findPageEnd(handle, accountId, range)) ?? range.through;
  const part = { after: range.after, through };
  const entries = entriesOf(handle, accountId, "hold", part)
    .unionAll(entriesOf(handle, accountId, "capture", part))
    .unionAll(entriesOf(handle, accountId, "release", part));
  const sums = await handle
    .selectFrom(entries.as("entries"))
    .select((row) => [
      "task_id",
      countKind("hold").as("holds"),
      countKind("capture").as("captures"),
      countKind("release").as("releases"),
      row.cast<number>(row.fn.sum("held"), "bigint").as("held"),
      row.fn.min("mode").as("first_mode"),
      row.fn.max("mode").as("last_mode"),
      row.fn.min("key_id").as("first_key"),
      row.fn.max("key_id").as("last_key"),
    ])
    .groupBy("task_id")
    .orderBy("task_id")
    .$narrowType<{ task_id: string }>()
    .execute();
  return { sums, through };
}

/** The task at which a page of holds ends, or null when the range ends before. */
async function findPageEnd(
  handle: Handle,
  accountId: string,
  range: IdRange & { limit: number },
): Promise<string | null> {
  const row = await entriesOf(handle, accountId, "hold", range)
    .orderBy("id")
    .offset(range.limit - 1)
    .limit(1)
    .executeTakeFirst();
  return row?.task_id ?? null;
}

/** Entries of one kind of the tasks in the range. Entry ids begin with the kind and the task, so no index is needed. */
function entriesOf(handle: Handle, accountId: string, kind: TaskEntryKind, range: IdRange) {
  const { above, below } = idsOf(kind, range);
  return handle
    .selectFrom("ledger")
    .select(["task_id", "kind", "held", "mode", "key_id"])
    .where("account_id", "=", accountId)
    .where("id", ">", above)
    .where("id", "<", below);
}

type TaskEntryKind = Exclude<LedgerRow["kind"], "credit">;

/** Bounds of the entry ids of tasks after `after` and up to `through`: `;` comes right after `:`. */
function idsOf(kind: TaskEntryKind, { after, through }: IdRange): { above: string; below: string } {
  return {
    above: after === "" ? `${kind}:` : `${kind}:${after};`,
    below: through === null ? `${kind};` : `${kind}:${through};`,
  };
}

export type KeySums = { key_id: string; held: number; captured: number; in_flight: number };

/** What the entries of each key of the account come to, in order of key id. */
export function selectKeySums(
  handle: Handle,
  accountId: string,
  range: IdChoice,
): Promise<KeySums[]> {
  return inRange(handle, "key_id", accountId, range)
    .select((row) => [
      "key_id",
      row.cast<number>(row.fn.sum("held"), "bigint").as("held"),
      row
        .cast<number>(
          row.fn.sum(
            row
              .case()
              .when("kind", "=", "capture")
              .then(row.neg(row.ref("held")))
              .else(0)
              .end(),
          ),
          "bigint",
        )
        .as("captured"),
      sql<number>`${countKind("hold")} - ${countKind("release")}`.as("in_flight"),
    ])
    .groupBy("key_id")
    .orderBy("key_id")
    .$narrowType<{ key_id: string; in_flight: number }>()
    .execute();
}

function inRange(handle: Handle, column: "task_id" | "key_id", accountId: string, range: IdChoice) {
  const all = handle.selectFrom("ledger").where("account_id", "=", accountId);
  if ("only" in range) return all.where(column, "=", range.only);
  const rest = all.where(column, ">", range.after);
  return range.through === null ? rest : rest.where(column, "<=", range.through);
}

function countKind(kind: LedgerRow["kind"]) {
  return sql<number>`count(case when kind = ${kind} then 1 end)`;
}
