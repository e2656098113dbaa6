/** Models as the API shows them: plain JSON with wire names. */
import type { JsonObject } from "../lib/json.ts";
import { scale, toUsd } from "../lib/money.ts";
import { inputSchema } from "./input-schema.ts";
import { freeRow, priceRows } from "./price-rows.ts";
import type { PriceOverrides } from "./price-rows.ts";
import type { Model } from "./row.ts";

export const submitPath = "/v1/images/generations";
/** Clients sort by this field and show it to nobody; it is the same for every model. */
const createdSeconds = 1_626_777_600;

export type Expansion = {
  parameters?: boolean;
  /** With the prices in force for the caller; the ratio is in millionths. */
  pricing?: { overrides: PriceOverrides; ratioPpm: number };
};

/** An entry of `GET /v1/models`. */
export function presentModel(model: Model, expand: Expansion = {}): JsonObject {
  return {
    id: model.id,
    object: "model",
    created: createdSeconds,
    owned_by: model.ownedBy,
    supported_endpoint_types: ["image-generation", "openai"],
    ...(expand.parameters === true ? { parameters: presentParameters(model) } : {}),
    ...(expand.pricing === undefined ? {} : { pricing: presentPricing(model, expand.pricing) }),
  };
}

/** `GET /v1/models/{id}`: the same and everything there is to say about the model. */
export function presentModelDetail(
  model: Model,
  pricing: NonNullable<Expansion["pricing"]>,
): JsonObject {
  return {
    ...presentModel(model),
    description: model.description,
    modes: model.references === null ? ["text-to-image"] : ["text-to-image", "image-to-image"],
    image_to_image: model.references !== null,
    inpainting: model.mask !== null,
    max_images: model.pictures.max,
    max_references: model.references?.countMax ?? 0,
    billing: model.billing,
    estimated_time: model.estimatedSeconds,
    notes: [...model.notes],
    parameters: presentParameters(model),
    pricing: presentPricing(model, pricing),
  };
}

function presentParameters(model: Model): JsonObject {
  return {
    method: "POST",
    endpoint: submitPath,
    operation: "image_generation",
    input_schema: inputSchema(model),
  };
}

function presentPricing(
  model: Model,
  { overrides, ratioPpm }: NonNullable<Expansion["pricing"]>,
): JsonObject {
  return {
    currency: "USD",
    billing: model.billing,
    rows: priceRows(model).map(({ row, tier, listPrice, unit }) => {
      const price = overrides.get(row) ?? overrides.get(freeRow) ?? listPrice;
      return {
        row,
        tier,
        unit,
        price: price === null ? null : toUsd(scale(price, ratioPpm, 1_000_000)),
      };
    }),
  };
}
