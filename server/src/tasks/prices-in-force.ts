import { loadRatios } from "../accounts/accounts.ts";
import { loadOverrides } from "../billing/prices.ts";
import type { Handle } from "../db/database.ts";
import { must } from "../lib/errors.ts";
import type { Model } from "../models/row.ts";
import type { PriceOverrides } from "../models/price-rows.ts";

/** What prices a model for an account at this moment, over the list prices of the catalogue. */
export type PriceInForce = { overrides: PriceOverrides; ratioPpm: number };

const none: PriceOverrides = new Map();

/** Reads the operator's prices and the accounts' ratios once, for any number of models. */
export async function loadPricesInForce(
  handle: Handle,
  accountIds: readonly string[],
): Promise<(accountId: string, model: Model) => PriceInForce> {
  const [overrides, ratios] = await Promise.all([
    loadOverrides(handle),
    loadRatios(handle, accountIds),
  ]);
  return (accountId, model) => ({
    overrides: overrides.get(model.id) ?? none,
    ratioPpm: must(ratios.get(accountId), `the price ratio of ${accountId}`),
  });
}
