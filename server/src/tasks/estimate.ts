import type { Caller } from "../accounts/caller.ts";
import { AppError, must } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import type { Micros } from "../lib/money.ts";
import type { Warning } from "../models/model.ts";
import { holdOf, likelyOf } from "../models/price.ts";
import { quoteAll } from "./prices-in-force.ts";
import { checkSubmit } from "./submit.ts";
import type { CheckDeps, SubmitDeps } from "./submit.ts";

export type EstimateDeps = CheckDeps & Pick<SubmitDeps, "db">;

export type Estimate = {
  model: string;
  /** Micro-USD that a submit of the same body would hold, with the prices of this moment. */
  hold: Micros;
  /** Micro-USD that it would probably cost. */
  likely: Micros;
  warnings: readonly Warning[];
};

/**
 * Prices a submit and makes nothing: the same refusals, but for those that need its pictures, its
 * money or its key's limits. Throws `AppError`.
 */
export async function estimateTask(
  deps: EstimateDeps,
  { caller, body }: { caller: Caller; body: JsonObject },
): Promise<Estimate> {
  const { model, submit } = await checkSubmit(deps, caller, body);
  const [quoted] = await quoteAll(deps.db.read, [{ caller, submit, model }]);
  const price = must(quoted, "a price for every submit");
  if (price instanceof AppError) throw price;
  const { pictures } = submit.request;
  return {
    model: model.id,
    hold: holdOf(price, pictures),
    likely: likelyOf(price, pictures),
    warnings: submit.warnings,
  };
}
