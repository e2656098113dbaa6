/**
 * The one pricer of every model. A price is frozen at submit for the dearest outcome (`holdEach`), and
 * each delivered picture is captured by what it turned out to be, never above that. Amounts before the
 * ratio are exact; the ratio is applied and half a micro-USD rounded up once a picture.
 */
import { assert, must } from "../lib/errors.ts";
import { assertMicros } from "../lib/money.ts";
import type { Micros } from "../lib/money.ts";
import type {
  Delivered,
  FrozenPrice,
  ImageRequest,
  Tier,
  TierPrice,
  TokenCounts,
} from "./model.ts";
import { loadPrice } from "./price-rows.ts";
import type { PriceOverrides } from "./price-rows.ts";
import { pictureRow, referenceRow } from "./row.ts";
import type { Model, PriceRule } from "./row.ts";
import { boundTokens, estimateTokens } from "./tokens.ts";
import type { PromptFacts } from "./tokens.ts";
import { unsupported } from "./words.ts";

export type PriceFacts = PromptFacts & {
  overrides: PriceOverrides;
  /** The account's price ratio in millionths. */
  ratioPpm: number;
};

/**
 * The price of a checked request as it stands now. Throws `AppError`: `price_not_set` when a row it
 * needs has no price, `unsupported_parameter` for official_fallback where no official price exists.
 */
export function quote(model: Model, request: ImageRequest, facts: PriceFacts): FrozenPrice {
  const tiers: FrozenPrice["tiers"] = {};
  for (const tier of tiersOf(model, request)) tiers[tier] = tierPrice(model, tier, request, facts);
  const { ratioPpm } = facts;
  const holds = Object.values(tiers).map((price) => charge(dearestCost(price), ratioPpm));
  const likely = must(tiers.standard ?? tiers.official, "a tier");
  return {
    ratioPpm,
    tiers,
    holdEach: Math.max(...holds),
    likelyEach: charge(likelyCost(likely), ratioPpm),
  };
}

/** Micro-USD to hold for `pictures` pictures. */
export function holdOf(price: FrozenPrice, pictures: number): Micros {
  return times(price.holdEach, pictures);
}

/** Micro-USD that `pictures` pictures will probably cost. */
export function likelyOf(price: FrozenPrice, pictures: number): Micros {
  return times(price.likelyEach, pictures);
}

/** Micro-USD to capture for one delivered picture, at most `holdEach`. */
export function captureEach(price: FrozenPrice, delivered: Delivered): Micros {
  // A channel may have changed its tier since the submit; the caller pays at the tier that was agreed.
  const tier = price.tiers[delivered.tier] ?? price.tiers.standard ?? price.tiers.official;
  const cost = actualCost(must(tier, "a tier"), delivered);
  // What a vendor reports can be any number: it is compared before it has to be a safe integer.
  const bound = dearestCost(must(tier, "a tier"));
  return Math.min(charge(cost < bound ? cost : bound, price.ratioPpm), price.holdEach);
}

function tiersOf(model: Model, request: ImageRequest): Tier[] {
  const { standard, official } = model.prices.tables;
  if (!request.officialFallback) return [standard === undefined ? "official" : "standard"];
  if (standard === undefined || official === undefined) {
    throw unsupported(
      "official_fallback",
      `official_fallback true is not supported by ${model.id}, which has no price for it; send false`,
    );
  }
  return ["standard", "official"];
}

function tierPrice(model: Model, tier: Tier, request: ImageRequest, facts: PriceFacts): TierPrice {
  const rule = model.prices;
  const find = (row: string): Micros => loadPrice(model, tier, row, facts.overrides);
  if (rule.billing === "tokens") {
    return {
      billing: "tokens",
      textInput: find(rule.rows.textInput),
      imageInput: find(rule.rows.imageInput),
      imageOutput: find(rule.rows.imageOutput),
      hold: boundTokens(model, rule.tokens, request, facts),
      likely: estimateTokens(model, rule.tokens, request, facts),
    };
  }
  const hasReferencePrice = Object.hasOwn(rule.tables[tier] ?? {}, referenceRow);
  const extra = hasReferencePrice ? times(find(referenceRow), facts.references) : 0;
  const values = rule.by.map((name) => wordOf(request, name));
  const { auto } = rule;
  if (auto === undefined || request.parameters[auto.parameter] !== auto.value) {
    return { billing: "picture", each: find(rowName(values)) + extra };
  }
  const place = rule.by.indexOf(auto.parameter);
  const by: Record<string, Micros> = {};
  for (const word of definiteWords(model, auto)) {
    by[word] = find(rowName(values.with(place, word))) + extra;
  }
  return { billing: "quality", by, fallback: auto.fallback, above: auto.above };
}

function wordOf(request: ImageRequest, name: string): string {
  const word = request.parameters[name];
  assert(typeof word === "string", `${name} has a value`);
  return word;
}

function rowName(values: readonly string[]): string {
  return values.length === 0 ? pictureRow : values.join("/");
}

type AutoRule = NonNullable<Extract<PriceRule, { billing: "picture" }>["auto"]>;

function definiteWords(model: Model, auto: AutoRule): string[] {
  const row = model.parameters.find(({ name }) => name === auto.parameter);
  assert(row?.type === "choice", `${auto.parameter} of ${model.id} is a choice`);
  return row.values.filter((word) => word !== auto.value);
}

/** Millionths of a micro-USD, so that tokens at a rate per million need no rounding yet. */
type Cost = bigint;

function dearestCost(price: TierPrice): Cost {
  if (price.billing === "tokens") return tokenCost(price, price.hold);
  if (price.billing === "picture") return pictureCost(price.each);
  return pictureCost(Math.max(...Object.values(price.by)));
}

function likelyCost(price: TierPrice): Cost {
  if (price.billing === "tokens") return tokenCost(price, price.likely);
  if (price.billing === "picture") return pictureCost(price.each);
  return pictureCost(must(price.by[price.fallback], price.fallback));
}

function actualCost(price: TierPrice, delivered: Delivered): Cost {
  if (price.billing === "tokens") return tokenCost(price, countTokens(price, delivered));
  if (price.billing === "picture") return pictureCost(price.each);
  const word = echoedQuality(price, delivered.quality);
  return pictureCost(must(price.by[word], word));
}

/** Qualities of later models, which the price tables of earlier ones do not have. */
const qualitiesAbove = ["xhigh", "max"];

function echoedQuality(
  price: Extract<TierPrice, { billing: "quality" }>,
  echo: string | undefined,
): string {
  const word = (echo ?? "").toLowerCase();
  if (Object.hasOwn(price.by, word)) return word;
  return qualitiesAbove.includes(word) ? price.above : price.fallback;
}

/** The reported tokens; a figure that the vendor left out is taken from the estimate. */
function countTokens(
  price: Extract<TierPrice, { billing: "tokens" }>,
  delivered: Delivered,
): TokenCounts {
  const { likely } = price;
  const total = reported(delivered.inputTokens);
  const text = reported(delivered.inputTextTokens);
  const image = reported(delivered.inputImageTokens);
  const imageOutput = reported(delivered.outputImageTokens) ?? likely.imageOutput;
  if (total === undefined) {
    return {
      textInput: text ?? likely.textInput,
      imageInput: image ?? likely.imageInput,
      imageOutput,
    };
  }
  // A total alone divides as estimated; without references all of it is text.
  const textShare = likely.imageInput === 0 ? total : Math.min(total, likely.textInput);
  const textInput = text ?? (image === undefined ? textShare : Math.max(0, total - image));
  return { textInput, imageInput: image ?? Math.max(0, total - textInput), imageOutput };
}

function reported(tokens: number | undefined): number | undefined {
  if (tokens === undefined || !Number.isFinite(tokens) || tokens < 0) return undefined;
  return Math.floor(tokens);
}

function pictureCost(each: Micros): Cost {
  return BigInt(each) * 1_000_000n;
}

function tokenCost(price: Extract<TierPrice, { billing: "tokens" }>, counts: TokenCounts): Cost {
  return (
    BigInt(counts.textInput) * BigInt(price.textInput) +
    BigInt(counts.imageInput) * BigInt(price.imageInput) +
    BigInt(counts.imageOutput) * BigInt(price.imageOutput)
  );
}

function charge(cost: Cost, ratioPpm: number): Micros {
  assert(
    Number.isSafeInteger(ratioPpm) && ratioPpm >= 0,
    "a ratio is a whole number of millionths",
  );
  const divisor = 1_000_000_000_000n;
  const micros = Number((cost * BigInt(ratioPpm) * 2n + divisor) / (divisor * 2n));
  assertMicros(micros);
  return micros;
}

function times(each: Micros, units: number): Micros {
  const total = each * units;
  assertMicros(total);
  return total;
}
