/** List prices in force as anybody may read them: USD, before an account's own ratio. */
import type { MarketplaceModel, PublicPrice } from "../../../client/src/pricing.ts";
import { AppError } from "../lib/errors.ts";
import type { Micros } from "../lib/money.ts";
import { toCredits, toUsd } from "../lib/money.ts";
import type { Tier } from "./model.ts";
import { likelyOf, quote } from "./price.ts";
import { freeRow, priceRows } from "./price-rows.ts";
import type { PriceOverrides, PriceRow } from "./price-rows.ts";
import { pictureRow, referenceRow } from "./row.ts";
import type { Model } from "./row.ts";
import { validateSubmit } from "./validate.ts";

/** `GET /api/pricing/model`. */
export function presentPublicPrice(model: Model, overrides: PriceOverrides): PublicPrice {
  const { standard } = model.prices.tables;
  const rows = priceRows(model);
  const tier: Tier = standard === undefined ? "official" : "standard";
  const own = rows.filter((row) => row.tier === tier);
  const other = rows.filter((row) => row.tier !== tier);
  const byRow = (list: readonly PriceRow[]) =>
    list.map((row) => [row.row, usdOf(row, overrides)] as const);
  const reference = own.find(({ unit }) => unit === "reference");
  const common = {
    model_name: model.id,
    billing_type: billingType(model),
    model_price: usdOrNull(defaultPrice(model, overrides)),
    discount_rate: 1,
    resolution_enabled: valuesOf(model, "resolution").length > 0,
    supported_sizes: valuesOf(model, "size"),
    supported_qualities: valuesOf(model, "quality"),
    ...(reference === undefined ? {} : { reference_price: usdOf(reference, overrides) }),
    ...(other.length === 0 ? {} : { official_prices: Object.fromEntries(byRow(other)) }),
  };
  if (model.prices.billing === "tokens") {
    const prices = Object.fromEntries(byRow(own));
    return { ...common, size_quality_prices: {}, resolution_prices: {}, token_prices: prices };
  }
  const pictures = own.filter(({ row }) => row !== referenceRow && row !== pictureRow);
  const bySize = model.prices.by.join("/") === "size/quality";
  return {
    ...common,
    size_quality_prices: bySize ? nestPrices(byRow(pictures)) : {},
    resolution_prices: bySize ? {} : Object.fromEntries(byRow(pictures)),
  };
}

/** An entry of `GET /api/marketplace/models`. `detailUrl` is the address of the model's page. */
export function presentMarketplaceModel(
  model: Model,
  overrides: PriceOverrides,
  detailUrl: string,
): MarketplaceModel {
  const start = startingPrice(model, overrides);
  const usual = defaultPrice(model, overrides);
  const isToken = model.prices.billing === "tokens";
  return {
    id: model.id,
    model_name: model.id,
    display_name: model.id,
    description: model.description,
    media_type: "image",
    detail_url: detailUrl,
    tags: tagsOf(model),
    vendor: { id: model.ownedBy, name: model.ownedBy, icon: "" },
    pricing: {
      starting_price: usdOrNull(start),
      discount_rate: 1,
      credits_per_generation: usual === null ? null : toCredits(usual),
      billing_type: billingType(model),
      price_unit: isToken ? "million_tokens" : "image",
      has_price: start !== null,
      ...(isToken ? tokenPrices(model, overrides) : {}),
    },
    call_count: 0,
    discount_percent: 0,
  };
}

/** One picture with every parameter at its default; null where a price it needs is not set. */
function defaultPrice(model: Model, overrides: PriceOverrides): Micros | null {
  const { request } = validateSubmit(model, { model: model.id, prompt: typicalPrompt });
  try {
    const promptBytes = typicalPrompt.length;
    const facts = { overrides, ratioPpm: 1_000_000, references: 0, promptBytes };
    return likelyOf(quote(model, request, facts), 1);
  } catch (error) {
    if (error instanceof AppError && error.reason === "price_not_set") return null;
    throw error;
  }
}

/** A prompt of common length, for models that charge its tokens. */
const typicalPrompt = "A lighthouse at dusk, oil on canvas ".repeat(4).trim();

function startingPrice(model: Model, overrides: PriceOverrides): Micros | null {
  if (model.prices.billing === "tokens") return defaultPrice(model, overrides);
  const prices = priceRows(model)
    .filter(({ unit }) => unit === "picture")
    .map((row) => priceOf(row, overrides))
    .filter((price) => price !== null);
  return prices.length === 0 ? null : Math.min(...prices);
}

function tokenPrices(model: Model, overrides: PriceOverrides) {
  if (model.prices.billing !== "tokens") return {};
  const { textInput, imageOutput } = model.prices.rows;
  const rows = priceRows(model);
  const priceAt = (name: string): number | null => {
    const row = rows.find((one) => one.row === name);
    return row === undefined ? null : usdOf(row, overrides);
  };
  return { input_price: priceAt(textInput), output_price: priceAt(imageOutput) };
}

function tagsOf(model: Model): string[] {
  return [
    "text-to-image",
    ...(model.references === null ? [] : ["image-to-image"]),
    ...(model.mask === null ? [] : ["inpainting"]),
  ];
}

function billingType(model: Model): "token" | "per_image" {
  return model.prices.billing === "tokens" ? "token" : "per_image";
}

function valuesOf(model: Model, name: string): readonly string[] {
  const parameter = model.parameters.find((one) => one.name === name && one.offered !== false);
  return parameter?.type === "choice" ? parameter.values : [];
}

/** `1:1/low` as a price under `1:1`, then `low`. */
function nestPrices(
  prices: readonly (readonly [string, number | null])[],
): Record<string, Record<string, number | null>> {
  const nested: Record<string, Record<string, number | null>> = {};
  for (const [row, price] of prices) {
    const [size = "", quality = ""] = row.split("/");
    nested[size] = { ...nested[size], [quality]: price };
  }
  return nested;
}

/** Micro-USD a unit in force for everybody; null where nobody has set a price. */
export function priceOf({ row, listPrice }: PriceRow, overrides: PriceOverrides): Micros | null {
  return overrides.get(row) ?? overrides.get(freeRow) ?? listPrice;
}

function usdOf(row: PriceRow, overrides: PriceOverrides): number | null {
  return usdOrNull(priceOf(row, overrides));
}

function usdOrNull(micros: Micros | null): number | null {
  return micros === null ? null : toUsd(micros);
}
