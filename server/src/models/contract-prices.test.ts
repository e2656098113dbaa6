/** What every model costs, and what its vendor calls it, stated once more by hand. */
import assert from "node:assert/strict";
import { it } from "node:test";

import { catalogue, submit } from "../../test/contracts/models.ts";
import type { JsonObject } from "../lib/json.ts";
import { priceRows } from "./price-rows.ts";
import { captureEach, quote } from "./price.ts";

const free = new Map<string, number>();

/** Price of one picture in USD, per id and options, at the model's own tier. */
const prices: [string, JsonObject, number][] = [
  ["gemini-2.5-flash-image-preview", {}, 0.0387],
  ["gemini-2.5-flash-image-preview", { official_fallback: true }, 0.0387],
  ["gemini-2.5-flash-image-preview-official", {}, 0.0387],
  ["gemini-3.1-flash-image-preview", { resolution: "0.5K" }, 0.045],
  ["gemini-3.1-flash-image-preview", {}, 0.067],
  ["gemini-3.1-flash-image-preview", { resolution: "2K", official_fallback: true }, 0.101],
  ["gemini-3.1-flash-image-preview", { resolution: "4K" }, 0.151],
  ["gemini-3-pro-image-preview", {}, 0.134],
  ["gemini-3-pro-image-preview", { resolution: "2K" }, 0.134],
  ["gemini-3-pro-image-preview", { resolution: "4K" }, 0.24],
  ["gpt-image-1-official", { quality: "low" }, 0.011],
  ["gpt-image-1-official", { quality: "medium" }, 0.042],
  ["gpt-image-1-official", { quality: "high" }, 0.167],
  ["gpt-image-1-official", { size: "2:3", quality: "low" }, 0.016],
  ["gpt-image-1-official", { size: "3:2", quality: "low" }, 0.016],
  ["gpt-image-1-official", { size: "2:3", quality: "medium" }, 0.063],
  ["gpt-image-1-official", { size: "3:2", quality: "medium" }, 0.063],
  ["gpt-image-1-official", { size: "2:3", quality: "high" }, 0.25],
  ["gpt-image-1-official", { size: "3:2", quality: "high" }, 0.25],
  ["gpt-image-1.5-official", { quality: "low" }, 0.009],
  ["gpt-image-1.5-official", { quality: "medium" }, 0.034],
  ["gpt-image-1.5-official", { quality: "high" }, 0.133],
  ["gpt-image-1.5-official", { size: "2:3", quality: "low" }, 0.013],
  ["gpt-image-1.5-official", { size: "2:3", quality: "medium" }, 0.051],
  ["gpt-image-1.5-official", { size: "2:3", quality: "high" }, 0.2],
  ["gpt-image-1.5-official", { size: "3:2", quality: "low" }, 0.013],
  ["gpt-image-1.5-official", { size: "3:2", quality: "medium" }, 0.05],
  ["gpt-image-1.5-official", { size: "3:2", quality: "high" }, 0.199],
  ["flux-2-pro", {}, 0.045],
  ["flux-2-pro", { resolution: "2K" }, 0.06],
  ["flux-2-flex", {}, 0.1],
  ["flux-2-flex", { resolution: "2k" }, 0.15],
  ["flux-kontext-pro", {}, 0.04],
  ["flux-kontext-max", {}, 0.08],
];

it("every model with a price a picture costs what its table says, held and charged alike", () => {
  for (const [id, fields, usd] of prices) {
    const model = catalogue.load(id);
    const price = quote(model, submit(id, fields).request, {
      references: 0,
      promptBytes: 9,
      overrides: free,
      ratioPpm: 1_000_000,
    });
    const label = `${id} ${JSON.stringify(fields)}`;
    assert.equal(price.holdEach, Math.round(usd * 1_000_000), label);
    assert.equal(price.likelyEach, price.holdEach, label);
    for (const tier of ["standard", "official"] as const) {
      assert.equal(captureEach(price, { tier }), price.holdEach, label);
    }
  }
});

function rates(id: string): Record<string, number | null> {
  const rows = priceRows(catalogue.load(id));
  return Object.fromEntries(rows.map(({ row, listPrice }) => [row, listPrice]));
}

it("models billed by token carry the vendor's rates per million", () => {
  assert.deepEqual(rates("gemini-3.1-flash-lite-image"), { input: 250_000, output: 30_000_000 });
  for (const id of ["gpt-image-2-official", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"]) {
    assert.deepEqual(rates(id), {
      "input/text": 5_000_000,
      "input/image": 8_000_000,
      output: 30_000_000,
    });
  }
});

it("a channel knows each model by the vendor's name unless it is told another", () => {
  const names = Object.fromEntries(
    catalogue.list().map(({ id, provider, upstreamModel }) => [id, `${provider}/${upstreamModel}`]),
  );
  assert.deepEqual(names, {
    "gemini-2.5-flash-image-preview": "gemini/gemini-3.1-flash-lite-image",
    "gemini-2.5-flash-image-preview-official": "gemini/gemini-3.1-flash-lite-image",
    "gemini-3.1-flash-lite-image": "gemini-interactions/gemini-3.1-flash-lite-image",
    "gemini-3.1-flash-image-preview": "gemini/gemini-nano-banana-2.1",
    "gemini-3-pro-image-preview": "gemini/gemini-3-pro-image",
    "gpt-image-1-official": "openai/gpt-image-2.5-flare",
    "gpt-image-1.5-official": "openai/gpt-image-2.5-sunburst",
    "gpt-image-2-official": "openai/gpt-image-2",
    "gpt-image-2.5-flare": "openai/gpt-image-2.5-flare",
    "gpt-image-2.5-sunburst": "openai/gpt-image-2.5-sunburst",
    "flux-2-flex": "bfl/flux-2-flex",
    "flux-2-pro": "bfl/flux-2-pro",
    "flux-kontext-pro": "bfl/flux-kontext-pro",
    "flux-kontext-max": "bfl/flux-kontext-max",
  });
});
