import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { createTestServer } from "../../test/support/http.ts";
import type { TestServer } from "../../test/support/http.ts";
import { builtInModels, createCatalogue } from "../models/catalogue.ts";
import { createEventStreams } from "./event-streams.ts";
import { listOperations } from "./openapi/operations.ts";
import { registerRoutes } from "./routes.ts";

/** Routes that anybody may ask: they show nothing of an account, or check a signature of their own. */
const openPaths = [
  "/",
  "/healthz",
  "/readyz",
  // Open to this machine, or by a token of its own.
  "/metrics",
  "/f/:signed/:file",
  "/openapi.json",
  "/docs",
  "/docs/reference.js",
  "/docs/models/:file",
  "/llms.txt",
  "/api/pricing/model",
  "/api/marketplace/models",
];

type Setup = TestServer & { routes: { method: string; url: string }[] };

/** Every route, over verbs that must not be reached. */
async function setup(t: TestContext): Promise<Setup> {
  const server = createTestServer(t);
  const routes: { method: string; url: string }[] = [];
  server.app.addHook("onRoute", ({ method, url }) => {
    for (const name of [method].flat()) routes.push({ method: name, url });
  });
  registerRoutes(server.app, {
    auth: server.auth,
    balances: { readKeyBalance: unreachable, readAccountBalance: unreachable },
    clock: server.clock,
    idempotencyTtlMs: 1_000,
    isDraining: () => false,
    links: { verify: () => ({ state: "invalid" }), recognise: unreachable },
    catalogue: createCatalogue(),
    loadPrices: unreachable,
    publicPrices: { load: unreachable },
    estimateTask: unreachable,
    log: server.log,
    publicUrl: () => "http://127.0.0.1",
    readTask: unreachable,
    listTasks: unreachable,
    readTasks: unreachable,
    reportUsage: unreachable,
    requestLimits: { take: unreachable },
    timeZone: "UTC",
    cancelTask: unreachable,
    readinessChecks: {},
    reportedChecks: {},
    readMetrics: unreachable,
    metricsToken: null,
    saveUpload: unreachable,
    storage: { open: unreachable, read: unreachable, stat: unreachable },
    submitTask: unreachable,
    endpoints: {
      createEndpoint: unreachable,
      listEndpoints: unreachable,
      loadEndpoint: unreachable,
      updateEndpoint: unreachable,
      deleteEndpoint: unreachable,
      rotateSecret: unreachable,
      testEndpoint: unreachable,
    },
    deliveryLog: {
      listDeliveries: unreachable,
      loadDelivery: unreachable,
      redeliver: unreachable,
      redeliverFailed: unreachable,
    },
    loadAccountSecret: unreachable,
    rotateAccountSecret: unreachable,
    waitForTask: unreachable,
    waitForEnd: unreachable,
    followTask: unreachable,
    streams: createEventStreams(server.clock),
    deadlineMs: 1_000,
    dialectWaitMs: 1_000,
    bodyBytesMax: 1_000_000,
    version: "0.1.0",
  });
  await server.app.ready();
  return { ...server, routes };
}

function unreachable(): never {
  throw new Error("a verb was called");
}

test("every route but the open ones refuses a request without a key", async (t) => {
  const { app, routes } = await setup(t);
  const closed = routes.filter(({ url }) => !openPaths.includes(url));
  assert.ok(closed.length >= 20);
  for (const { method, url } of closed) {
    const reply = await app.inject({ method: method as "GET", url });
    assert.equal(reply.statusCode, 401, `${method} ${url}`);
  }
});

test("every address of the public contract that is built has its route", async (t) => {
  const { routes } = await setup(t);
  const present = new Set(routes.map(({ method, url }) => `${method} ${url}`));
  for (const route of [
    "POST /v1/images/generations",
    "GET /v1/tasks",
    "POST /v1/tasks/batch",
    "GET /v1/tasks/:id",
    "GET /v1/usage",
    "GET /usage",
    "POST /v1/tasks/:id/cancel",
    "GET /v1/tasks/:id/events",
    "POST /openai/v1/images/generations",
    "POST /openai/v1/images/edits",
    "GET /openai/v1/models",
    "POST /v1beta/models/:call",
    "POST /v1/models/:call",
    "POST /v1/flux-2-pro",
    "GET /v1/get_result",
    "GET /v1/webhooks",
    "POST /v1/webhooks",
    "GET /v1/webhooks/:id",
    "PATCH /v1/webhooks/:id",
    "DELETE /v1/webhooks/:id",
    "POST /v1/webhooks/:id/secret",
    "POST /v1/webhooks/:id/test",
    "GET /v1/webhooks/secret",
    "POST /v1/webhooks/secret",
    "GET /v1/webhooks/deliveries",
    "GET /v1/webhooks/deliveries/:id",
    "POST /v1/webhooks/deliveries/:id/redeliver",
    "POST /v1/webhooks/deliveries/redeliver",
    "POST /v1/uploads/images",
    "GET /v1/models",
    "GET /v1/models/:id",
    "GET /v1/models/:id/schema",
    "GET /v1/model-schema",
    "GET /v1/model-docs",
    "POST /v1/images/estimate",
    "GET /api/pricing/model",
    "GET /api/marketplace/models",
    "GET /openapi.json",
    "GET /docs",
    "GET /llms.txt",
    "GET /v1/balance",
    "GET /v1/user/balance",
    "GET /balance",
    "GET /user/balance",
    "GET /f/:signed/:file",
    "HEAD /f/:signed/:file",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /",
  ]) {
    assert.ok(present.has(route), route);
  }
});

test("a preflight of the upload route, which stands in a scope of its own, is answered", async (t) => {
  const { app } = await setup(t);
  const reply = await app.inject({ method: "OPTIONS", url: "/v1/uploads/images" });
  assert.equal(reply.statusCode, 204);
  assert.equal(reply.headers["access-control-allow-methods"], "POST, OPTIONS");
});

/** Not for callers of the API. */
const undocumented = [/^\/$/, /^\/(admin|mcp|metrics|assets|console)\b/];

test("the OpenAPI document has every route, and no other", async (t) => {
  const { routes } = await setup(t);
  const documented = listOperations(builtInModels).map(
    ({ method, path, route }) =>
      `${method.toUpperCase()} ${route ?? path.replaceAll(/\{(\w+)\}/g, ":$1")}`,
  );
  const registered = routes
    .filter(({ method }) => !["HEAD", "OPTIONS"].includes(method))
    .filter(({ url }) => !undocumented.some((pattern) => pattern.test(url)))
    .map(({ method, url }) => `${method} ${url}`);
  assert.deepEqual(documented.toSorted(), registered.toSorted());
});
