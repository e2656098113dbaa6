import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import type { FrozenPrice } from "../models/model.ts";
import { findRates } from "../providers/rates.ts";
import { estimatedCost, reportedCost } from "./cost.ts";
import type { Work } from "./cost.ts";

const ratioPpm = 3_000_000;

const perPicture: FrozenPrice = {
  // What the caller pays beyond the list price is no cost of ours.
  ratioPpm,
  tiers: {
    standard: { billing: "picture", each: 40_000 },
    official: { billing: "picture", each: 100_000 },
  },
  holdEach: 300_000,
  likelyEach: 120_000,
};

const byQuality: FrozenPrice = {
  ratioPpm,
  tiers: {
    official: {
      billing: "quality",
      by: { low: 11_000, medium: 42_000, high: 167_000 },
      fallback: "medium",
      above: "high",
    },
  },
  holdEach: 501_000,
  likelyEach: 126_000,
};

const byToken: FrozenPrice = {
  ratioPpm,
  tiers: {
    standard: {
      billing: "tokens",
      textInput: 250_000,
      imageInput: 250_000,
      imageOutput: 30_000_000,
      hold: { textInput: 500, imageInput: 2_000, imageOutput: 1_120 },
      likely: { textInput: 100, imageInput: 0, imageOutput: 1_120 },
    },
  },
  holdEach: 200_000,
  likelyEach: 101_000,
};

const work: Work = {
  upstreamModel: "a-model-nobody-knows",
  tier: "standard",
  pictures: 1,
  price: perPicture,
  costRatioPpm: 1_000_000,
};

test("the vendor's own figure is our cost as it stands, without any ratio", () => {
  const wanted = { ...work, costRatioPpm: 500_000, upstreamModel: "gpt-image-2" };
  assert.equal(reportedCost(wanted, { cost: 45_000, outputImageTokens: 1_000_000 }), 45_000);
  assert.equal(reportedCost(wanted, { cost: 0 }), 0);
});

test("tokens are charged at the rates of the upstream model, each kind at its own", () => {
  const gpt = { ...work, upstreamModel: "gpt-image-2.5-flare" };
  const usage = { inputTextTokens: 1_000, inputImageTokens: 2_000, outputImageTokens: 4_000 };
  // 5 and 8 and 30 USD a million.
  assert.equal(reportedCost(gpt, usage), 5_000 + 16_000 + 120_000);
  assert.equal(reportedCost({ ...gpt, costRatioPpm: 500_000 }, usage), 70_500);
  const gemini = { ...work, upstreamModel: "gemini-3-pro-image" };
  const thought = { inputTokens: 500, outputTokens: 1_320, outputImageTokens: 1_120 };
  // 2 USD in, 12 for the 200 tokens of thought, 120 for the picture.
  assert.equal(reportedCost(gemini, thought), 1_000 + 2_400 + 134_400);
  assert.equal(reportedCost(gemini, { outputTokens: 1_000 }), 120_000);
});

test("a report that says no output, or of a model without rates, is no report of a cost", () => {
  assert.equal(reportedCost({ ...work, upstreamModel: "gpt-image-2" }, { inputTokens: 10 }), null);
  assert.equal(reportedCost(work, { outputImageTokens: 1_120 }), null);
  assert.equal(reportedCost(work, {}), null);
  assert.equal(findRates("constructor"), null);
});

test("a dated snapshot of a model has the model's rates, another model's name has not", () => {
  assert.deepEqual(findRates("gpt-image-2-2026-04-21"), findRates("gpt-image-2"));
  assert.deepEqual(findRates("gpt-image-2.6-flare"), findRates("gpt-image-2.5-flare"));
  assert.equal(findRates("gpt-image-2-large"), null);
});

test("a figure that is no amount of money is not booked", () => {
  const gpt = { ...work, upstreamModel: "gpt-image-2" };
  for (const cost of [-1, 0.5, NaN, Infinity, 1e12]) {
    assert.equal(reportedCost(work, { cost }), null, `${cost}`);
    assert.equal(reportedCost(gpt, { outputImageTokens: cost * 1e9 }), null, `${cost} tokens`);
  }
});

test("without a report the list price of the tier is the guess, at what the channel pays", () => {
  assert.equal(estimatedCost(work), 40_000);
  assert.equal(estimatedCost({ ...work, tier: "official", pictures: 3 }), 300_000);
  assert.equal(estimatedCost({ ...work, costRatioPpm: 250_000, pictures: 2 }), 20_000);
  assert.equal(estimatedCost({ ...work, costRatioPpm: 0, pictures: 4 }), 0);
  assert.equal(estimatedCost({ ...work, pictures: 0 }), 0);
});

test("the guess takes the quality that the vendor echoed, and the likely tokens", () => {
  const gpt: Work = { ...work, tier: "official", price: byQuality };
  assert.equal(estimatedCost(gpt), 42_000);
  assert.equal(estimatedCost(gpt, { quality: "low" }), 11_000);
  assert.equal(estimatedCost(gpt, { quality: "max" }), 167_000);
  // 100 tokens at 0.25 and 1,120 at 30 USD a million.
  assert.equal(estimatedCost({ ...work, price: byToken }), 33_625);
});

test("whatever a vendor reports, a cost is a whole number of micro-USD that a row can hold", () => {
  const figure = fc.option(fc.oneof(fc.double(), fc.integer()), { nil: undefined });
  const usage = fc.record(
    {
      cost: figure,
      inputTokens: figure,
      outputTokens: figure,
      inputTextTokens: figure,
      inputImageTokens: figure,
      outputImageTokens: figure,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(usage, fc.constantFrom("gpt-image-2", "flux-2-pro"), (reported, upstreamModel) => {
      const known = Object.entries(reported).filter(([, value]) => value !== undefined);
      const cost = reportedCost({ ...work, upstreamModel }, Object.fromEntries(known));
      assert.ok(cost === null || (Number.isSafeInteger(cost) && cost >= 0), `${cost}`);
    }),
  );
});
