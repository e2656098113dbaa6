import type { Catalogue } from "../../models/catalogue.ts";
import type { Model } from "../../models/row.ts";

/** Endings by which our names of a model differ from its vendor's. */
const endings = ["", "-official", "-preview"];

/**
 * The model that a client of a vendor's own API means: our name or the vendor's, which clients have built
 * in (`gpt-image-1`, `gemini-2.5-flash-image`). Throws `model_not_found`.
 */
export function loadNamedModel(catalogue: Pick<Catalogue, "find" | "load">, name: string): Model {
  for (const ending of endings) {
    const model = catalogue.find(`${name}${ending}`);
    if (model !== null) return model;
  }
  return catalogue.load(name);
}
