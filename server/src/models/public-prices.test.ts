import assert from "node:assert/strict";
import test from "node:test";

import { builtInModels, createCatalogue } from "./catalogue.ts";
import { exampleBodies } from "./examples.ts";
import { renderModelPage } from "./page.ts";
import { presentMarketplaceModel, presentPublicPrice } from "./public-prices.ts";
import { validateSubmit } from "./validate.ts";

const catalogue = createCatalogue();
const none = new Map();

test("a model priced by size and quality shows each of them, and its default is the medium one", () => {
  const price = presentPublicPrice(catalogue.load("gpt-image-1-official"), none);
  assert.equal(price.size_quality_prices["2:3"]?.["high"], 0.25);
  assert.equal(Object.keys(price.size_quality_prices).length, 3);
  assert.equal(price.model_price, 0.042);
  assert.deepEqual(price.resolution_prices, {});
});

test("a model with an official channel beside its own shows both prices", () => {
  const price = presentPublicPrice(catalogue.load("gemini-2.5-flash-image-preview"), none);
  assert.deepEqual(price.resolution_prices, { "1K": 0.0387 });
  assert.deepEqual(price.official_prices, { "official/1K": 0.0387 });
});

test("a model billed by token shows the rates, and an estimate of a picture", () => {
  const model = catalogue.load("gemini-3.1-flash-lite-image");
  const price = presentPublicPrice(model, none);
  assert.equal(price.billing_type, "token");
  assert.deepEqual(new Set(Object.values(price.token_prices ?? {})), new Set([0.25, 30]));
  // 1,120 tokens of picture at 30 USD a million, and a few of prompt.
  assert.ok(price.model_price !== null && price.model_price >= 0.0336 && price.model_price < 0.034);
  const { pricing } = presentMarketplaceModel(model, none, "");
  assert.deepEqual([pricing.input_price, pricing.output_price], [0.25, 30]);
});

test("a free model costs nothing in every place, and one without a price has none", () => {
  const model = catalogue.load("flux-2-pro");
  const free = presentPublicPrice(model, new Map([["*", 0]]));
  assert.deepEqual([free.model_price, free.resolution_prices], [0, { "1K": 0, "2K": 0 }]);
  const tables = { standard: { "1K": null, "2K": null, reference: 0 } };
  const unpriced = {
    ...model,
    prices: { billing: "picture", by: ["resolution"], tables },
  } as const;
  assert.equal(presentPublicPrice(unpriced, none).model_price, null);
  const { pricing } = presentMarketplaceModel(unpriced, none, "");
  assert.deepEqual([pricing.has_price, pricing.starting_price], [false, null]);
  const page = renderModelPage(unpriced, { overrides: none, publicUrl: "http://127.0.0.1" });
  assert.match(page, /\| 1K \| standard \| not set \|/);
});

test("the starting price is the cheapest picture, not the price of a reference", () => {
  const { pricing } = presentMarketplaceModel(catalogue.load("flux-2-flex"), none, "");
  assert.equal(pricing.starting_price, 0.1);
});

test("every example keeps its model's contract without a warning", () => {
  for (const model of builtInModels) {
    const examples = exampleBodies(model);
    assert.equal(new Set(examples.map(({ name }) => name)).size, examples.length);
    for (const { name, body } of examples) {
      assert.deepEqual(validateSubmit(model, body).warnings, [], `${model.id} ${name}`);
    }
  }
});

test("a model's page names every parameter that it takes, every ratio and every price", () => {
  for (const model of builtInModels) {
    const page = renderModelPage(model, { overrides: none, publicUrl: "http://127.0.0.1" });
    for (const { name } of model.parameters) assert.ok(page.includes(`| \`${name}\` |`), name);
    for (const table of Object.values(model.pixels.table)) {
      for (const [ratio, { width, height }] of Object.entries(table)) {
        assert.ok(page.includes(`${width}x${height}`), `${model.id} ${ratio}`);
      }
    }
    assert.equal(page.includes("## Masks"), model.mask !== null);
    assert.equal(page.includes("## References"), model.references !== null);
    assert.doesNotMatch(page, /undefined|NaN|\[object/);
  }
});
