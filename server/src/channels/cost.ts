/** What an attempt costs us at its vendor: ours to book, never the caller's price. Pure. */
import type { Micros } from "../lib/money.ts";
import { captureEach } from "../models/price.ts";
import type { FrozenPrice, Tier } from "../models/model.ts";
import type { Usage } from "../providers/adapter.ts";
import { findRates } from "../providers/rates.ts";
import type { TokenRates } from "../providers/rates.ts";

export type Work = {
  upstreamModel: string;
  tier: Tier;
  /** Pictures the attempt was asked for, or has made. */
  pictures: number;
  /** The task's frozen price: its list price is the guess of last resort. */
  price: FrozenPrice;
  /** What the channel pays, in millionths of the vendor's list price. */
  costRatioPpm: number;
};

/** More than any attempt can cost; a report above it is garbage and counts as none. */
const costMax: Micros = 1_000_000_000;

/**
 * What the vendor's report comes to: its own figure, else its tokens at the vendor's rates. Null when
 * it says neither.
 */
export function reportedCost(work: Work, usage: Usage): Micros | null {
  const { cost } = usage;
  if (cost !== undefined && isAmount(cost)) return cost;
  const rates = findRates(work.upstreamModel);
  const tokens = rates === null ? null : tokenCost(rates, usage);
  if (tokens === null) return null;
  const scaled = Math.round((tokens * work.costRatioPpm) / 1_000_000);
  return isAmount(scaled) ? scaled : null;
}

/** The list price of the pictures at what the channel pays: for work of which nothing was reported. */
export function estimatedCost(work: Work, usage: Usage = {}): Micros {
  const price = {
    ...work.price,
    ratioPpm: work.costRatioPpm,
    holdEach: Number.MAX_SAFE_INTEGER,
  };
  const { quality } = usage;
  const delivered = quality === undefined ? {} : { quality };
  return captureEach(price, { tier: work.tier, ...delivered }) * work.pictures;
}

function tokenCost(rates: TokenRates, usage: Usage): Micros | null {
  const imageOutput = usage.outputImageTokens ?? usage.outputTokens;
  if (imageOutput === undefined) return null;
  const imageInput = usage.inputImageTokens ?? 0;
  const textInput = usage.inputTextTokens ?? Math.max(0, (usage.inputTokens ?? 0) - imageInput);
  const textOutput = Math.max(0, (usage.outputTokens ?? imageOutput) - imageOutput);
  const millionths =
    textInput * rates.textInput +
    imageInput * rates.imageInput +
    textOutput * rates.textOutput +
    imageOutput * rates.imageOutput;
  const micros = Math.round(millionths / 1_000_000);
  return isAmount(micros) ? micros : null;
}

function isAmount(cost: number): boolean {
  return Number.isSafeInteger(cost) && cost >= 0 && cost <= costMax;
}
