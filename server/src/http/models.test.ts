import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { bearer, createTestServer } from "../../test/support/http.ts";
import type { TestServer, TestServerOptions } from "../../test/support/http.ts";
import type { PriceOverrides } from "../billing/prices.ts";
import { hourMs } from "../lib/time.ts";
import { builtInModels, createCatalogue } from "../models/catalogue.ts";
import { inputSchema } from "../models/input-schema.ts";
import { registerModels } from "./models.ts";

type Options = TestServerOptions & { prices?: PriceOverrides };

function setup(t: TestContext, options: Options = {}): TestServer {
  const server = createTestServer(t, options);
  registerModels(server.app, {
    auth: server.auth,
    catalogue: createCatalogue(),
    idempotencyTtlMs: hourMs,
    loadPrices: () => Promise.resolve(options.prices ?? new Map()),
  });
  return server;
}

async function read({ app }: TestServer, url: string) {
  const reply = await app.inject({ url, headers: bearer });
  return { status: reply.statusCode, body: reply.json() };
}

test("the list has the envelope and the fields that clients know, for every model", async (t) => {
  const { status, body } = await read(setup(t), "/v1/models");
  assert.equal(status, 200);
  assert.deepEqual(Object.keys(body), ["success", "object", "data"]);
  assert.equal(body.success, true);
  assert.equal(body.object, "list");
  assert.deepEqual(
    body.data.map(({ id }: { id: string }) => id),
    builtInModels.map(({ id }) => id),
  );
  for (const model of body.data) {
    assert.deepEqual(Object.keys(model), [
      "id",
      "object",
      "created",
      "owned_by",
      "supported_endpoint_types",
    ]);
  }
});

test("expand adds parameters and prices to every entry, in any spacing", async (t) => {
  const server = setup(t);
  const { body } = await read(server, "/v1/models?expand=%20pricing%20,parameters,");
  for (const model of body.data) {
    assert.equal(model.parameters.endpoint, "/v1/images/generations");
    assert.equal(model.parameters.operation, "image_generation");
    assert.equal(model.pricing.currency, "USD");
  }
  const bare = await read(server, "/v1/models?expand=");
  assert.equal("parameters" in bare.body.data[0], false);
});

test("words in expand that other services know are ignored; a repeated expand is refused", async (t) => {
  const server = setup(t);
  const { status, body } = await read(server, "/v1/models?expand=category,parameters");
  assert.equal(status, 200);
  assert.equal("parameters" in body.data[0], true);
  const twice = await read(server, "/v1/models?expand=parameters&expand=pricing");
  assert.equal(twice.status, 400);
  assert.equal(twice.body.error.param, "expand");
});

test("prices are those in force for the caller: the operator's, times the account's ratio", async (t) => {
  const prices = new Map([["flux-2-pro", new Map([["1K", 80_000]])]]);
  const server = setup(t, { prices, key: { ratioPpm: 500_000 } });
  const { body } = await read(server, "/v1/models/flux-2-pro");
  const priceOf = (name: string): number =>
    body.pricing.rows.find(({ row }: { row: string }) => row === name).price;
  assert.equal(priceOf("1K"), 0.04);
  assert.equal(priceOf("2K"), 0.03);
});

test("one model is a bare object with all there is to say about it", async (t) => {
  const { status, body } = await read(setup(t), "/v1/models/gpt-image-1-official");
  assert.equal(status, 200);
  assert.equal(body.id, "gpt-image-1-official");
  assert.equal(body.max_images, 4);
  assert.ok(body.description.length > 0);
});

test("an unknown model is 404 with param model and the nearest names", async (t) => {
  const server = setup(t);
  const id = "flux-2-prp";
  for (const url of [
    `/v1/models/${id}`,
    `/v1/models/${id}/schema`,
    `/v1/model-schema?model=${id}`,
  ]) {
    const { status, body } = await read(server, url);
    assert.equal(status, 404, url);
    assert.equal(body.error.reason, "model_not_found");
    assert.equal(body.error.param, "model");
    assert.match(body.error.message, /flux-2-pro/);
  }
});

test("both schema routes answer exactly the fields that first-party clients read", async (t) => {
  const server = setup(t);
  for (const url of [
    "/v1/models/flux-2-pro/schema",
    "/v1/model-schema?model=flux-2-pro",
    "/v1/model-schema?model=flux-2-pro&operation=image_generation",
  ]) {
    const { body } = await read(server, url);
    assert.deepEqual(body, {
      object: "model.input_schema",
      model: "flux-2-pro",
      operation: "image_generation",
      endpoint: { method: "POST", path: "/v1/images/generations" },
      schema_version: "2026-07-30",
      source: "catalogue",
      idempotency: {
        header: "Idempotency-Key",
        replay_header: "Idempotency-Replayed",
        required: false,
        retention_seconds: 3_600,
        scope: "account_endpoint",
      },
      response_contract: { header: "X-APIMart-Response-Version", version: "2026-07-27" },
      input_schema: inputSchema(createCatalogue().load("flux-2-pro")),
    });
  }
});

test("the schema route wants one model, and no other operation than pictures", async (t) => {
  const server = setup(t);
  const cases = {
    "": ["missing_parameter", "model"],
    "?model=": ["invalid_parameter", "model"],
    "?model=a&model=b": ["invalid_parameter", "model"],
    "?model=flux-2-pro&operation=video_generation": ["invalid_parameter", "operation"],
  };
  for (const [query, expected] of Object.entries(cases)) {
    const { status, body } = await read(server, `/v1/model-schema${query}`);
    assert.equal(status, 400, query);
    const { reason, param, message } = body.error;
    assert.deepEqual([reason, param], expected);
    assert.ok(message.includes(param));
  }
});
