/**
 * Prices that the operator set over the list prices of `models/`. A model has either prices of its rows
 * or the one mark that it is free; the last command wins.
 */
import type { Handle, Tx } from "../db/database.ts";
import type { PriceRow } from "../db/schema.ts";
import { assert } from "../lib/errors.ts";
import { assertMicros } from "../lib/money.ts";
import type { Micros } from "../lib/money.ts";
import { deletePrices, selectPrices, selectPricesOf, upsertPrice } from "./store.ts";

export type PriceOverride = {
  model: string;
  /** A row of the model's price table, or `*` when the whole model is free. */
  row: string;
  /** Micro-USD in the row's unit. */
  price: Micros;
  /** Unix milliseconds. */
  updatedAt: number;
};

/** By model, then by row of its price table. */
export type PriceOverrides = ReadonlyMap<string, ReadonlyMap<string, Micros>>;

/** Stands for all rows of a model that the operator made free. */
export const wholeModel = "*";

/** In order of model and row; of one model when it is given. */
export async function listOverrides(handle: Handle, model?: string): Promise<PriceOverride[]> {
  const rows = await (model === undefined ? selectPrices(handle) : selectPricesOf(handle, model));
  return rows.map(toOverride);
}

/** All prices that the operator set, as of now. One statement, for every submit to read. */
export async function loadOverrides(handle: Handle): Promise<PriceOverrides> {
  const overrides = new Map<string, Map<string, Micros>>();
  for (const row of await selectPrices(handle)) {
    const rows = overrides.get(row.model) ?? new Map<string, Micros>();
    rows.set(row.price_row, row.price);
    overrides.set(row.model, rows);
  }
  return overrides;
}

/** Sets one price; a model that was free no longer is. The caller checks that model and row exist. */
export async function setPrice(
  tx: Tx,
  price: { model: string; row: string; price: Micros; now: number },
): Promise<void> {
  assert(price.row !== wholeModel, "a price belongs to a row");
  assertMicros(price.price);
  await deletePrices(tx, price.model, wholeModel);
  await upsertPrice(tx, {
    model: price.model,
    price_row: price.row,
    price: price.price,
    updated_at: price.now,
  });
}

/** Makes every row of the model free; prices that were set for it are dropped. */
export async function setFree(tx: Tx, model: string, now: number): Promise<void> {
  await deletePrices(tx, model);
  await upsertPrice(tx, { model, price_row: wholeModel, price: 0, updated_at: now });
}

/** Goes back to the list price, of one row or of all; answers how many settings that dropped. */
export function unsetPrice(tx: Tx, model: string, row?: string): Promise<number> {
  return deletePrices(tx, model, row);
}

function toOverride(row: PriceRow): PriceOverride {
  return { model: row.model, row: row.price_row, price: row.price, updatedAt: row.updated_at };
}
