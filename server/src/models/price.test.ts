import assert from "node:assert/strict";
import { it } from "node:test";

import * as fc from "fast-check";

import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { createCatalogue } from "./catalogue.ts";
import { fluxTwo } from "./flux-2.ts";
import type { Delivered, FrozenPrice, ImageRequest } from "./model.ts";
import { captureEach, holdOf, likelyOf, quote } from "./price.ts";
import { priceRows } from "./price-rows.ts";
import { sandboxUsage } from "./tokens.ts";
import { validateSubmit } from "./validate.ts";

const catalogue = createCatalogue();
const lite = "gemini-3.1-flash-lite-image";

type Given = {
  references?: number;
  overrides?: Record<string, number>;
  ratioPpm?: number;
  prompt?: string;
};

function requestOf(id: string, fields: JsonObject, given: Given = {}): ImageRequest {
  const urls = Array.from({ length: given.references ?? 0 }, (_, i) => `https://example.com/${i}`);
  const body = { prompt: given.prompt ?? "a fox", image_urls: urls, ...fields };
  return validateSubmit(catalogue.load(id), body).request;
}

function priceOf(id: string, fields: JsonObject = {}, given: Given = {}): FrozenPrice {
  const request = requestOf(id, fields, given);
  return quote(catalogue.load(id), request, {
    references: given.references ?? 0,
    promptBytes: Buffer.byteLength(request.prompt),
    overrides: new Map(Object.entries(given.overrides ?? {})),
    ratioPpm: given.ratioPpm ?? 1_000_000,
  });
}

it("Lite holds a bounded input and charges the reported tokens and nothing else", () => {
  const price = priceOf(lite, {}, { references: 2, prompt: "ééé" });
  // (64 + 6 bytes + 1,120 × 2) × 0.25 + 1,120 × 30, half up.
  assert.equal(price.holdEach, 34_178);
  const delivered = { tier: "standard", inputTokens: 2_243, outputImageTokens: 1_120 } as const;
  assert.equal(captureEach(price, delivered), 34_161);
  // ceil(6 / 4) + 1,120 × 2 in, 1,120 out.
  assert.equal(price.likelyEach, 34_161);
  assert.equal(captureEach(price, { tier: "standard" }), 34_161);
});

it("the sandbox reports on Lite what the contract says, and nothing on models priced by picture", () => {
  const model = catalogue.load(lite);
  const work = { parameters: {}, promptBytes: 9, references: 3, width: 1024, height: 1024 };
  const usage = sandboxUsage(model, work);
  assert.equal(usage.inputTokens, 3 + 3_360);
  assert.equal(usage.outputImageTokens, 1_120);
  assert.deepEqual(sandboxUsage(catalogue.load("flux-2-pro"), work), {});
});

it("gpt with quality auto holds at high and is charged by the echoed quality", () => {
  const price = priceOf("gpt-image-1.5-official", { size: "2:3" });
  assert.equal(price.holdEach, 200_000);
  assert.equal(price.likelyEach, 51_000);
  const rows: [string | undefined, number][] = [
    ["low", 13_000],
    ["medium", 51_000],
    ["high", 200_000],
    ["HIGH", 200_000],
    ["xhigh", 200_000],
    ["max", 200_000],
    [undefined, 51_000],
    ["auto", 51_000],
    ["constructor", 51_000],
  ];
  for (const [quality, amount] of rows) {
    const delivered: Delivered =
      quality === undefined ? { tier: "official" } : { tier: "official", quality };
    assert.equal(captureEach(price, delivered), amount, quality);
  }
});

it("a chosen gpt quality keeps its price whatever the vendor echoes", () => {
  const price = priceOf("gpt-image-1-official", { quality: "low" });
  assert.equal(captureEach(price, { tier: "official", quality: "high" }), 11_000);
});

it("with official_fallback both tiers are frozen, held at the dearer and charged at the delivering one", () => {
  const id = "gemini-2.5-flash-image-preview";
  const overrides = { "1K": 20_000, "official/1K": 50_000 };
  const both = priceOf(id, { official_fallback: true }, { overrides });
  assert.deepEqual(Object.keys(both.tiers).toSorted(), ["official", "standard"]);
  assert.equal(both.holdEach, 50_000);
  assert.equal(both.likelyEach, 20_000);
  assert.equal(captureEach(both, { tier: "standard" }), 20_000);
  assert.equal(captureEach(both, { tier: "official" }), 50_000);
  const one = priceOf(id, {}, { overrides });
  assert.deepEqual(Object.keys(one.tiers), ["standard"]);
  assert.equal(one.holdEach, 20_000);
  assert.deepEqual(Object.keys(priceOf(`${id}-official`).tiers), ["official"]);
});

it("official_fallback on a model without an official price is refused", () => {
  const model = catalogue.load(lite);
  const request = { ...requestOf(lite, {}), officialFallback: true };
  const facts = { references: 0, promptBytes: 5, overrides: new Map(), ratioPpm: 1_000_000 };
  assert.throws(
    () => quote(model, request, facts),
    (error) =>
      error instanceof AppError &&
      error.reason === "unsupported_parameter" &&
      error.param === "official_fallback",
  );
});

it("a model without a price is refused until the operator sets one or says free", () => {
  const [row] = fluxTwo;
  assert(row?.prices.billing === "picture");
  const tables = { standard: { "1K": null, "2K": 60_000, reference: 0 } };
  const id = "flux-2-unpriced";
  const own = createCatalogue([{ ...row, id, prices: { ...row.prices, tables } }]);
  const price = (resolution: string, overrides: ReadonlyMap<string, number>): number => {
    const { request } = validateSubmit(own.load(id), { prompt: "a fox", resolution });
    const facts = { references: 0, promptBytes: 5, overrides, ratioPpm: 1_000_000 };
    return quote(own.load(id), request, facts).holdEach;
  };
  assert.throws(
    () => price("1K", new Map()),
    (error) => error instanceof AppError && error.reason === "price_not_set",
  );
  assert.equal(price("2K", new Map()), 60_000);
  assert.equal(price("1K", new Map([["1K", 5]])), 5);
  assert.equal(price("1K", new Map([["*", 0]])), 0);
});

it("a free model costs nothing whatever is delivered", () => {
  for (const { id } of catalogue.list()) {
    const price = priceOf(id, {}, { overrides: { "*": 0 } });
    assert.equal(price.holdEach, 0, id);
    const delivered = { tier: "standard", inputTokens: 9_999, outputImageTokens: 9_999 } as const;
    assert.equal(captureEach(price, delivered), 0, id);
  }
});

it("a reference price is added for every reference of the request", () => {
  const overrides = { reference: 15_000 };
  assert.equal(priceOf("flux-2-pro", {}, { references: 3, overrides }).holdEach, 90_000);
  assert.equal(priceOf("flux-2-pro", {}, { references: 3 }).holdEach, 45_000);
});

it("the ratio is applied once a picture, half up", () => {
  const price = priceOf("gemini-2.5-flash-image-preview", { n: 4 }, { ratioPpm: 333_333 });
  assert.equal(price.holdEach, 12_900);
  assert.equal(holdOf(price, 4), 51_600);
  assert.equal(likelyOf(price, 4), 51_600);
  assert.equal(captureEach(price, { tier: "standard" }), 12_900);
  const half = priceOf("flux-2-pro", {}, { overrides: { "1K": 1 }, ratioPpm: 500_000 });
  assert.equal(half.holdEach, 1);
  assert.equal(priceOf("flux-2-pro", {}, { ratioPpm: 0 }).holdEach, 0);
});

it("a frozen price survives JSON", () => {
  for (const { id } of catalogue.list()) {
    const price = priceOf(id);
    assert.deepEqual(JSON.parse(JSON.stringify(price)), price);
  }
});

it("gpt-image-2 and later hold by quality and pixels and charge text, image and output tokens apart", () => {
  const flare = "gpt-image-2.5-flare";
  // 64 + 5 bytes of text at 5, then the output at 30.
  assert.equal(priceOf(flare, { quality: "low" }).holdEach, Math.round(69 * 5 + 196 * 30));
  assert.equal(priceOf(flare, { quality: "max" }).holdEach, 69 * 5 + 7_024 * 30);
  assert.equal(priceOf(flare).holdEach, priceOf(flare, { quality: "max" }).holdEach);
  assert.equal(priceOf(flare).likelyEach, 2 * 5 + 439 * 30);
  assert.equal(priceOf("gpt-image-2-official").likelyEach, 2 * 5 + 1_756 * 30);
  assert.equal(
    priceOf(flare, { quality: "low", resolution: "2k" }).holdEach,
    69 * 5 + 4 * 196 * 30,
  );
  const price = priceOf(flare, { quality: "high" }, { references: 2 });
  const usage = { inputTokens: 2_060, inputTextTokens: 12, inputImageTokens: 2_048 };
  const delivered: Delivered = { tier: "standard", ...usage, outputImageTokens: 1_700 };
  assert.equal(captureEach(price, delivered), 12 * 5 + 2_048 * 8 + 1_700 * 30);
  assert.equal(
    captureEach(price, { tier: "standard", inputTokens: 2_060, outputImageTokens: 1_700 }),
    2 * 5 + 2_058 * 8 + 1_700 * 30,
  );
});

it("an edit without size holds for the largest picture its reference can lead to", () => {
  const id = "gpt-image-2-official";
  const largest = (1_024 * 2_048 * 7_024) / (1_024 * 1_024);
  assert.equal(
    priceOf(id, { quality: "high" }, { references: 1 }).holdEach,
    69 * 5 + 4_096 * 8 + largest * 30,
  );
});

it("what the sandbox reports is never above the hold", () => {
  for (const model of catalogue.list()) {
    const fields = { image_urls: ["https://example.com/a"] };
    const request = requestOf(model.id, fields);
    const facts = { references: 1, promptBytes: 5, overrides: new Map(), ratioPpm: 1_000_000 };
    const price = quote(model, request, facts);
    const usage = sandboxUsage(model, {
      parameters: request.parameters,
      promptBytes: 5,
      references: 1,
      width: 1024,
      height: 1024,
    });
    assert(captureEach(price, { tier: "standard", ...usage }) <= price.holdEach);
    assert(price.likelyEach <= price.holdEach);
  }
});

it("no report of a vendor makes a charge above the hold or anything but whole micro-USD", () => {
  const figure = fc.option(fc.oneof(fc.double(), fc.nat(), fc.constant(1e300)), { nil: undefined });
  fc.assert(
    fc.property(
      fc.constantFrom(...catalogue.list().map(({ id }) => id)),
      fc.record({
        tier: fc.constantFrom("standard" as const, "official" as const),
        inputTokens: figure,
        inputTextTokens: figure,
        inputImageTokens: figure,
        outputImageTokens: figure,
        quality: fc.option(fc.constantFrom("low", "max", "odd"), { nil: undefined }),
      }),
      fc.integer({ min: 0, max: 5_000_000 }),
      fc.nat({ max: 1 }),
      (id, report, ratioPpm, references) => {
        const price = priceOf(id, {}, { ratioPpm, references });
        const given = Object.entries(report).filter(([, value]) => value !== undefined);
        const delivered: Delivered = { tier: report.tier, ...Object.fromEntries(given) };
        const amount = captureEach(price, delivered);
        assert(Number.isSafeInteger(amount) && amount >= 0 && amount <= price.holdEach);
      },
    ),
  );
});

it("every price row of a model has a name of its own", () => {
  for (const model of catalogue.list()) {
    const rows = priceRows(model).map(({ row }) => row);
    assert.equal(new Set(rows).size, rows.length, model.id);
  }
  const rows = priceRows(catalogue.load("gemini-3-pro-image-preview"));
  assert.deepEqual(rows.at(-1), {
    row: "official/4K",
    tier: "official",
    listPrice: 240_000,
    unit: "picture",
  });
});
