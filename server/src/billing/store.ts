import type { ExpressionBuilder } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import type { BalanceRow, LedgerRow, Mode, PriceRow, Tables } from "../db/schema.ts";
import type { Micros } from "../lib/money.ts";
import { insertRows, prepare } from "../db/statements.ts";
import type { BookRef } from "./entries.ts";

// balances

/** Live and test, both with nothing in them. */
export async function insertBooks(tx: Tx, accountId: string): Promise<void> {
  await tx
    .insertInto("balances")
    .values([
      { account_id: accountId, mode: "live", available: 0, held: 0 },
      { account_id: accountId, mode: "test", available: 0, held: 0 },
    ])
    .execute();
}

const bookColumns = ["account_id", "mode", "available", "held"] as const;

const selectBook = prepare((db, p: BookRef) =>
  db
    .selectFrom("balances")
    .select(bookColumns)
    .where("account_id", "=", p.accountId)
    .where("mode", "=", p.mode),
);

export function findBook(handle: Handle, book: BookRef): Promise<BalanceRow | null> {
  return selectBook.first(handle, book);
}

const updateBookToLock = prepare((db, p: BookRef) =>
  db
    .updateTable("balances")
    .set((row) => ({ held: row.ref("held") }))
    .where("account_id", "=", p.accountId)
    .where("mode", "=", p.mode)
    .returning(bookColumns),
);

/** The book, whose row stays locked until the transaction ends; null without such a book. */
export function lockBook(tx: Tx, book: BookRef): Promise<BalanceRow | null> {
  return updateBookToLock.first(tx, book);
}

export type BookHold = BookRef & {
  amount: Micros;
  /** What the hold takes from the available money: less than the amount when it is filled up too. */
  taken: Micros;
  /** Least that is available before. */
  availableMin: Micros;
};

const updateBookForHold = prepare((db, p: BookHold) =>
  db
    .updateTable("balances")
    .set((row) => ({
      available: row("available", "-", p.taken),
      held: row("held", "+", p.amount),
    }))
    .where("account_id", "=", p.accountId)
    .where("mode", "=", p.mode)
    .where("available", ">=", p.availableMin),
);

/** False, and nothing is written, when less is available. */
export async function takeHold(tx: Tx, hold: BookHold): Promise<boolean> {
  return (await updateBookForHold.run(tx, hold)) === 1;
}

export type HoldResolution = BookRef & { holdId: string; held: Micros; released: Micros };

const updateBookForResolution = prepare((db, p: HoldResolution) =>
  db
    .updateTable("balances")
    .set((row) => ({
      available: row("available", "+", p.released),
      held: row("held", "-", p.held),
    }))
    .where("account_id", "=", p.accountId)
    .where("mode", "=", p.mode)
    .where("held", ">=", p.held)
    .where((row) =>
      row.exists(
        row
          .selectFrom("ledger")
          .select("ledger.id")
          .where("ledger.account_id", "=", p.accountId)
          .where("ledger.id", "=", p.holdId)
          .where("ledger.mode", "=", p.mode)
          .where("ledger.held", "=", p.held),
      ),
    ),
);

/** False, and nothing is written, when the book's ledger has no such hold of this amount. */
export async function resolveHold(tx: Tx, hold: HoldResolution): Promise<boolean> {
  return (await updateBookForResolution.run(tx, hold)) === 1;
}

export async function addCredit(tx: Tx, book: BookRef, amount: Micros): Promise<boolean> {
  const result = await tx
    .updateTable("balances")
    .set((row) => ({ available: row("available", "+", amount) }))
    .where("account_id", "=", book.accountId)
    .where("mode", "=", book.mode)
    .executeTakeFirst();
  return result.numUpdatedRows === 1n;
}

// ledger

const ledgerColumns = [
  "account_id",
  "id",
  "mode",
  "kind",
  "available",
  "held",
  "task_id",
  "key_id",
  "note",
  "created_at",
] as const;

const insertLedgerRows = insertRows("ledger", ledgerColumns);

/** Throws a unique violation when one of the entries exists already. */
export async function insertEntries(tx: Tx, entries: readonly LedgerRow[]): Promise<void> {
  await insertLedgerRows(tx, entries);
}

const insertNewLedgerRows = insertRows("ledger", ledgerColumns, {
  onConflict: "ignore",
  returning: ["id"],
});

/** False when the entry exists already. */
export async function insertCredit(tx: Tx, entry: LedgerRow): Promise<boolean> {
  return (await insertNewLedgerRows(tx, [entry])).length === 1;
}

export async function findEntry(
  handle: Handle,
  accountId: string,
  id: string,
): Promise<LedgerRow | null> {
  const row = await handle
    .selectFrom("ledger")
    .select(ledgerColumns)
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .executeTakeFirst();
  return row ?? null;
}

// prices

const priceColumns = ["model", "price_row", "price", "updated_at"] as const;

const selectEveryPrice = prepare((db) =>
  db.selectFrom("prices").select(priceColumns).orderBy("model").orderBy("price_row"),
);

export function selectPrices(handle: Handle): Promise<PriceRow[]> {
  return selectEveryPrice.all(handle, {});
}

export function selectPricesOf(handle: Handle, model: string): Promise<PriceRow[]> {
  return handle
    .selectFrom("prices")
    .select(priceColumns)
    .where("model", "=", model)
    .orderBy("price_row")
    .execute();
}

export async function upsertPrice(tx: Tx, row: PriceRow): Promise<void> {
  await tx
    .insertInto("prices")
    .values(row)
    .onConflict((conflict) =>
      conflict
        .columns(["model", "price_row"])
        .doUpdateSet({ price: row.price, updated_at: row.updated_at }),
    )
    .execute();
}

/** How many rows went: all of the model without `priceRow`. */
export async function deletePrices(tx: Tx, model: string, priceRow?: string): Promise<number> {
  const all = tx.deleteFrom("prices").where("model", "=", model);
  const some = priceRow === undefined ? all : all.where("price_row", "=", priceRow);
  const result = await some.executeTakeFirst();
  return Number(result.numDeletedRows);
}

// what check.ts reads; sums are cast because PostgreSQL adds bigints up to a decimal

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

export type EntryCursor = { created_at: number; id: string };

/** Entries of a book in order of time, after the cursor and up to the time `through`. */
export function selectEntries(
  handle: Handle,
  book: BookRef,
  range: { after: EntryCursor; through: number; limit: number },
): Promise<LedgerRow[]> {
  return handle
    .selectFrom("ledger")
    .select(ledgerColumns)
    .where("account_id", "=", book.accountId)
    .where("mode", "=", book.mode)
    .where((row) =>
      row(row.refTuple("created_at", "id"), ">", row.tuple(range.after.created_at, range.after.id)),
    )
    .where("created_at", "<=", range.through)
    .orderBy("created_at")
    .orderBy("id")
    .limit(range.limit)
    .execute();
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

/** What the entries of each task of the account come to, in order of task id. */
export async function selectTaskSums(
  handle: Handle,
  accountId: string,
  range: IdRange & { limit: number },
): Promise<TaskSums[]> {
  const rows = await inRange(handle, "task_id", accountId, range)
    .select((row) => [
      "task_id",
      countKind(row, "hold").as("holds"),
      countKind(row, "capture").as("captures"),
      countKind(row, "release").as("releases"),
      row.cast<number>(row.fn.sum("held"), "bigint").as("held"),
      row.fn.min("mode").as("first_mode"),
      row.fn.max("mode").as("last_mode"),
      row.fn.min("key_id").as("first_key"),
      row.fn.max("key_id").as("last_key"),
    ])
    .groupBy("task_id")
    .orderBy("task_id")
    .limit(range.limit)
    .$narrowType<{ task_id: string }>()
    .execute();
  return rows;
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
      row(countKind(row, "hold"), "-", countKind(row, "release")).as("in_flight"),
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

function countKind(row: ExpressionBuilder<Tables, "ledger">, kind: LedgerRow["kind"]) {
  return row.fn.count<number>(row.case().when("kind", "=", kind).then(1).end());
}
