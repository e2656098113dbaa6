import { distance } from "fastest-levenshtein";

import { AppError, assert } from "../lib/errors.ts";
import { findContradictions } from "./check-model.ts";
import { fluxTwo } from "./flux-2.ts";
import { fluxKontext } from "./flux-kontext.ts";
import { geminiTwoFive } from "./gemini-2.5.ts";
import { geminiThree } from "./gemini-3.ts";
import { gptImageOne } from "./gpt-image-1.ts";
import { gptImageTwo } from "./gpt-image-2.ts";
import type { Model } from "./row.ts";
import { show } from "./words.ts";

/** The public models, in the order in which they are listed. */
export type Catalogue = {
  list(): readonly Model[];
  find(id: string): Model | null;
  /** Throws `model_not_found` with the nearest names. */
  load(id: string): Model;
  /** At most three ids, the nearest first. */
  nearest(id: string): string[];
};

export const builtInModels: readonly Model[] = [
  ...geminiTwoFive,
  ...geminiThree,
  ...gptImageOne,
  ...gptImageTwo,
  ...fluxTwo,
  ...fluxKontext,
];

/** Fails an assertion when a row contradicts itself or an id stands twice. */
export function createCatalogue(models: readonly Model[] = builtInModels): Catalogue {
  const byId = new Map<string, Model>();
  for (const model of models) {
    const contradictions = findContradictions(model);
    assert(contradictions.length === 0, `model ${model.id}: ${contradictions.join("; ")}`);
    assert(!byId.has(model.id), `model ${model.id} stands in the catalogue twice`);
    byId.set(model.id, model);
  }
  const ids = [...byId.keys()];
  return {
    list: () => models,
    find: (id) => byId.get(id) ?? null,
    load: (id) => {
      const model = byId.get(id);
      if (model === undefined) throw modelNotFound(id, nearestIds(ids, id));
      return model;
    },
    nearest: (id) => nearestIds(ids, id),
  };
}

/** 404 for an id that is not in the catalogue. */
export function modelNotFound(id: string, nearest: readonly string[]): AppError {
  const advice = nearest.length === 0 ? "" : ` The nearest names are ${nearest.join(", ")}.`;
  return new AppError(
    "model_not_found",
    `model ${show(id)} does not exist here.${advice} GET /v1/models lists all of them.`,
    { param: "model" },
  );
}

/** Ids are short; the bound keeps a caller's long text from costing time. */
const comparedLengthMax = 100;

function nearestIds(ids: readonly string[], wanted: string): string[] {
  const text = wanted.slice(0, comparedLengthMax).toLowerCase();
  return ids
    .map((id) => ({ id, away: distance(id, text), isKin: text !== "" && isPrefix(id, text) }))
    .toSorted((a, b) => Number(b.isKin) - Number(a.isKin) || a.away - b.away)
    .slice(0, 3)
    .map(({ id }) => id);
}

/** A name cut short, or with an ending too many, is nearer than any count of letters says. */
function isPrefix(a: string, b: string): boolean {
  return a.startsWith(b) || b.startsWith(a);
}
