import { AppError } from "../lib/errors.ts";
import type { Micros } from "../lib/money.ts";
import type { Tier } from "./model.ts";
import { referenceRow } from "./row.ts";
import type { Model } from "./row.ts";

/** What an operator set for one model, by row; `freeRow` stands for every row that is not set itself. */
export type PriceOverrides = ReadonlyMap<string, Micros>;

export const freeRow = "*";

export type PriceRow = {
  /** Name in `prices set MODEL ROW`, for example `1K`, `1:1/low` or `official/1K`. */
  row: string;
  tier: Tier;
  /** Micro-USD a unit; null where nobody has set a price. */
  listPrice: Micros | null;
  unit: PriceUnit;
};

export type PriceUnit = "picture" | "reference" | "million tokens";

/** Every row that sets a price of the model: the standard tier first. */
export function priceRows(model: Model): PriceRow[] {
  const { billing, tables } = model.prices;
  const tiers: readonly Tier[] = ["standard", "official"];
  return tiers.flatMap((tier) =>
    Object.entries(tables[tier] ?? {}).map(([row, listPrice]) => ({
      row: nameRow(model, tier, row),
      tier,
      listPrice,
      unit: unitOf(billing, row),
    })),
  );
}

/** Micro-USD a unit in force. Throws `price_not_set` when neither a list price nor an override says one. */
export function loadPrice(
  model: Model,
  tier: Tier,
  row: string,
  overrides: PriceOverrides,
): Micros {
  const name = nameRow(model, tier, row);
  const listPrice = model.prices.tables[tier]?.[row] ?? null;
  const price = overrides.get(name) ?? overrides.get(freeRow) ?? listPrice;
  if (price !== null) return price;
  throw new AppError(
    "price_not_set",
    `model ${model.id} has no price for ${name} yet; its operator sets one, or says that it is free`,
    { param: "model" },
  );
}

/** Only a model with both tiers needs the prefix to tell them apart. */
function nameRow(model: Model, tier: Tier, row: string): string {
  const hasBoth = model.prices.tables.standard !== undefined;
  return tier === "official" && hasBoth ? `official/${row}` : row;
}

function unitOf(billing: Model["prices"]["billing"], row: string): PriceUnit {
  if (billing === "tokens") return "million tokens";
  return row === referenceRow ? "reference" : "picture";
}
