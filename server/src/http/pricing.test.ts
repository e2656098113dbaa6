import assert from "node:assert/strict";
import test from "node:test";
import type { TestContext } from "node:test";

import { createTestServer } from "../../test/support/http.ts";
import type { PriceOverrides } from "../billing/prices.ts";
import { builtInModels, createCatalogue } from "../models/catalogue.ts";
import { createPublicPrices, registerPricing } from "./pricing.ts";

function setup(t: TestContext, prices: PriceOverrides = new Map()) {
  const server = createTestServer(t);
  let reads = 0;
  const state = { prices, isBroken: false };
  const publicPrices = createPublicPrices({
    clock: server.clock,
    loadPrices: async () => {
      reads += 1;
      if (state.isBroken) throw new Error("the database is away");
      return state.prices;
    },
  });
  registerPricing(server.app, {
    catalogue: createCatalogue(),
    publicPrices,
    publicUrl: () => "https://pictures.example.com",
  });
  const get = async (url: string) => {
    const reply = await server.app.inject({ url });
    return { status: reply.statusCode, body: reply.json() };
  };
  return { clock: server.clock, state, get, readCount: () => reads };
}

test("a model's price has the envelope that clients know, and is that of the operator", async (t) => {
  const { get } = setup(t, new Map([["flux-2-pro", new Map([["1K", 80_000]])]]));
  const { status, body } = await get("/api/pricing/model?model=flux-2-pro");
  assert.equal(status, 200);
  assert.deepEqual(body, {
    success: true,
    data: {
      model_name: "flux-2-pro",
      billing_type: "per_image",
      model_price: 0.08,
      discount_rate: 1,
      resolution_enabled: true,
      supported_sizes: ["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3"],
      supported_qualities: [],
      size_quality_prices: {},
      resolution_prices: { "1K": 0.08, "2K": 0.06 },
      reference_price: 0,
    },
  });
});

test("anybody's questions read the prices at most once a second, and see a change after it", async (t) => {
  const { get, clock, state, readCount } = setup(t);
  const url = "/api/pricing/model?model=flux-kontext-pro";
  for (let count = 0; count < 5; count += 1) await get(url);
  assert.equal(readCount(), 1);
  state.prices = new Map([["flux-kontext-pro", new Map([["picture", 50_000]])]]);
  await clock.advance(1_000);
  assert.equal((await get(url)).body.data.model_price, 0.05);
  assert.equal(readCount(), 2);
});

test("prices that could not be read are asked for again at once", async (t) => {
  const { get, state } = setup(t);
  state.isBroken = true;
  assert.equal((await get("/api/pricing/model?model=flux-2-pro")).status, 500);
  state.isBroken = false;
  assert.equal((await get("/api/pricing/model?model=flux-2-pro")).status, 200);
});

test("the marketplace lists every model once, page by page", async (t) => {
  const { get } = setup(t);
  const names: string[] = [];
  for (let page = 1; page <= 3; page += 1) {
    const { body } = await get(`/api/marketplace/models?page=${page}&page_size=5`);
    assert.deepEqual([body.data.total, body.data.page, body.data.page_size], [14, page, 5]);
    names.push(...body.data.models.map(({ model_name: name }: { model_name: string }) => name));
  }
  assert.deepEqual(
    names,
    builtInModels.map(({ id }) => id),
  );
  assert.deepEqual((await get("/api/marketplace/models?page=4&page_size=5")).body.data.models, []);
});

test("a page that is no number is refused by name", async (t) => {
  const { get } = setup(t);
  for (const query of ["page=0", "page=x", "page=1.5", "page_size=0", "page_size=101", "page="]) {
    const { status, body } = await get(`/api/marketplace/models?${query}`);
    assert.equal(status, 400, query);
    assert.equal(body.error.param, query.split("=")[0]);
    assert.match(body.error.message, /use a whole number from 1/);
  }
});

test("prices of an unknown model, and of none, are refused by name", async (t) => {
  const { get } = setup(t);
  assert.equal((await get("/api/pricing/model")).body.error.reason, "missing_parameter");
  const unknown = await get("/api/pricing/model?model=flux-2-prp");
  assert.deepEqual([unknown.status, unknown.body.error.reason], [404, "model_not_found"]);
});
