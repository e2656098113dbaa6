import { loadRatios } from "../accounts/accounts.ts";
import type { Caller } from "../accounts/caller.ts";
import { loadOverrides } from "../billing/prices.ts";
import type { Handle } from "../db/database.ts";
import { AppError, must } from "../lib/errors.ts";
import type { FrozenPrice, Submit } from "../models/model.ts";
import { quote } from "../models/price.ts";
import type { Model } from "../models/row.ts";
import type { PriceOverrides } from "../models/price-rows.ts";

type Priceable = { caller: Caller; submit: Submit; model: Model };

/** A price, or why there is none. */
export type Quoted = FrozenPrice | AppError;

/** A price for each, with the prices and ratios of this moment. */
export async function quoteAll(handle: Handle, list: readonly Priceable[]): Promise<Quoted[]> {
  const priceFor = await loadPricesInForce(
    handle,
    list.map(({ caller }) => caller.accountId),
  );
  return list.map(({ caller, submit, model }) => {
    try {
      return quote(model, submit.request, {
        references: submit.references.length,
        promptBytes: Buffer.byteLength(submit.request.prompt),
        ...priceFor(caller.accountId, model),
      });
    } catch (error) {
      if (error instanceof AppError) return error;
      throw error;
    }
  });
}

/** What prices a model for an account at this moment, over the list prices of the catalogue. */
type PriceInForce = { overrides: PriceOverrides; ratioPpm: number };

const none: PriceOverrides = new Map();

/** Reads the operator's prices and the accounts' ratios once, for any number of models. */
async function loadPricesInForce(
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
