/** The catalogue as callers read it, and the routes that tell how the gateway is. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { HealthReply, ReadinessReply } from "../../../client/src/health.ts";
import type { ModelDetail, ModelListReply, ModelSchemaReply } from "../../../client/src/models.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { refusalOf } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { collectPictures } from "../support/pictures.ts";

const ids = [
  "flux-2-flex",
  "flux-2-pro",
  "flux-kontext-max",
  "flux-kontext-pro",
  "gemini-2.5-flash-image-preview",
  "gemini-2.5-flash-image-preview-official",
  "gemini-3-pro-image-preview",
  "gemini-3.1-flash-image-preview",
  "gemini-3.1-flash-lite-image",
  "gpt-image-1-official",
  "gpt-image-1.5-official",
  "gpt-image-2-official",
  "gpt-image-2.5-flare",
  "gpt-image-2.5-sunburst",
];

let gateway: Gateway;
let client: Client;

before(async () => {
  gateway = await startGateway({ DARKROOM_PICTURE_PROCESSES: "2" });
  client = await gateway.connect();
});

after(() => gateway.stop());

describe("the list of models", () => {
  test("has every model of the catalogue, once", async () => {
    const { status, body } = await client.get<ModelListReply>("/v1/models");
    assert.equal(status, 200);
    assert.deepEqual([body.success, body.object], [true, "list"]);
    assert.deepEqual(body.data.map(({ id }) => id).toSorted(), ids);
    for (const model of body.data) {
      assert.deepEqual(Object.keys(model).toSorted(), [
        "created",
        "id",
        "object",
        "owned_by",
        "supported_endpoint_types",
      ]);
    }
  });

  test("is expanded by parameters and prices when asked", async () => {
    const { body } = await client.get<ModelListReply>("/v1/models?expand=parameters,pricing");
    for (const { id, parameters, pricing } of body.data) {
      assert.equal(parameters?.endpoint, "/v1/images/generations", id);
      assert.equal(parameters?.input_schema["type"], "object", id);
      assert.ok((pricing?.rows.length ?? 0) > 0, id);
    }
    const plain = await client.get<ModelListReply>("/v1/models");
    const other = await client.get<ModelListReply>("/v1/models?expand=category");
    assert.deepEqual(other.body, plain.body);
  });
});

describe("every model", () => {
  for (const id of ids) {
    test(`${id} makes a picture from model and prompt alone`, async () => {
      const { id: taskId, warnings } = await client.accept({ model: id, prompt: "A red fox" });
      assert.deepEqual(warnings, []);
      const task = await client.wait(taskId);
      assert.equal((await collectPictures(task)).length, 1);
      assert.ok(task.cost > 0);
      const { body } = await client.get<ModelDetail>(`/v1/models/${id}`);
      assert.equal(task.estimated_time, body.estimated_time);
    });

    test(`${id} is described, and its schema is the same by every way`, async () => {
      const detail = await client.get<ModelDetail>(`/v1/models/${id}`);
      assert.equal(detail.status, 200);
      const { description, modes, image_to_image, max_images, billing, notes } = detail.body;
      assert.equal(detail.body.id, id);
      assert.ok(description.length > 10 && notes.length > 0 && modes.length > 0);
      assert.equal(image_to_image, true);
      assert.ok(max_images === 1 || max_images === 4);
      assert.ok(billing.length > 3);
      const one = await client.get<ModelSchemaReply>(`/v1/models/${id}/schema`);
      const two = await client.get<ModelSchemaReply>(`/v1/model-schema?model=${id}`);
      assert.deepEqual(one.body, two.body);
      assert.deepEqual(one.body.input_schema, detail.body.parameters.input_schema);
    });
  }
});

test("the schema route has exactly the fields that a first-party client reads", async () => {
  const { body } = await client.get<ModelSchemaReply>(
    "/v1/model-schema?model=flux-2-pro&operation=image_generation",
  );
  const { input_schema: schema, ...rest } = body;
  assert.deepEqual(rest, {
    object: "model.input_schema",
    model: "flux-2-pro",
    operation: "image_generation",
    endpoint: { method: "POST", path: "/v1/images/generations" },
    schema_version: rest.schema_version,
    source: rest.source,
    idempotency: {
      header: "Idempotency-Key",
      replay_header: "Idempotency-Replayed",
      required: false,
      retention_seconds: 86_400,
      scope: rest.idempotency.scope,
    },
    response_contract: { header: "X-APIMart-Response-Version", version: "2026-07-27" },
  });
  assert.equal(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  assert.equal(schema["additionalProperties"], true);
});

test("an unknown model is 404 on every route, with the nearest names", async () => {
  for (const path of [
    "/v1/models/flux-2-pr0",
    "/v1/models/flux-2-pr0/schema",
    "/v1/model-schema?model=flux-2-pr0",
  ]) {
    const refusal = refusalOf(await client.get(path));
    assert.deepEqual([refusal.status, refusal.reason], [404, "model_not_found"]);
    assert.match(refusal.message, /flux-2-pro/);
  }
  const missing = refusalOf(await client.get("/v1/model-schema"));
  assert.deepEqual([missing.reason, missing.param], ["missing_parameter", "model"]);
  const other = refusalOf(
    await client.get("/v1/model-schema?model=flux-2-pro&operation=video_generation"),
  );
  assert.equal(other.param, "operation");
});

test("the balance routes answer with and without /v1", async () => {
  for (const route of ["/balance", "/user/balance"]) {
    const short = await client.get(route);
    const long = await client.get(`/v1${route}`);
    assert.equal(short.status, 200);
    assert.deepEqual(short.body, long.body);
    const nobody = await gateway.clientOf(null).get(route);
    assert.equal(nobody.status, 401);
  }
});

test("health and readiness need no key", async () => {
  const nobody = gateway.clientOf(null);
  assert.deepEqual((await nobody.get<HealthReply>("/healthz")).body, { status: "ok" });
  const ready = await nobody.get<ReadinessReply>("/readyz");
  assert.equal(ready.status, 200);
  assert.deepEqual(ready.body, {
    status: "ready",
    checks: { database: "ok", storage: "ok", accepting: "ok" },
  });
});
