import type { Catalogue } from "../models/catalogue.ts";
import type { ResultTtl } from "./finish.ts";

export type ResultTtlSettings = { ttlMs: number; ttlMsByModel: ReadonlyMap<string, number> };

/** Throws `model_not_found` for a setting of a model that does not exist: it would silently do nothing. */
export function createResultTtl(
  { ttlMs, ttlMsByModel }: ResultTtlSettings,
  catalogue: Pick<Catalogue, "load">,
): ResultTtl {
  for (const model of ttlMsByModel.keys()) catalogue.load(model);
  return (model) => ttlMsByModel.get(model) ?? ttlMs;
}
