import type { Handle, Tx } from "../db/database.ts";
import type { BalanceRow, LedgerRow, PriceRow } from "../db/schema.ts";
import type { Micros } from "../lib/money.ts";
import { insertRows, insertValues, prepare } from "../db/statements.ts";
import type { BookRef, Hold } from "./entries.ts";
import { holdIdOf, minus } from "./entries.ts";

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
  return updateBookForHold.changes(tx, hold, { isContended: true });
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

export const ledgerColumns = [
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
  "model",
  "input_tokens",
  "output_tokens",
] as const;

const insertLedgerRows = insertRows("ledger", ledgerColumns);

/** Throws a unique violation when one of the entries exists already. */
export async function insertEntries(tx: Tx, entries: readonly LedgerRow[]): Promise<void> {
  await insertLedgerRows(tx, entries);
}

/** Throws a unique violation when one of the holds exists already. */
export const insertHolds = insertValues(
  "ledger",
  ["account_id", "id", "mode", "available", "held", "task_id", "key_id", "created_at"],
  ({ accountId, mode, keyId, taskId, amount, now }: Hold & { now: number }) => [
    accountId,
    holdIdOf(taskId),
    mode,
    minus(amount),
    amount,
    taskId,
    keyId,
    now,
  ],
  { constants: { kind: "hold" } },
);

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
