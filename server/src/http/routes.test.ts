import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { createTestServer } from "../../test/support/http.ts";
import type { TestServer } from "../../test/support/http.ts";
import { createCatalogue } from "../models/catalogue.ts";
import { registerRoutes } from "./routes.ts";

/** Routes that anybody may ask: they show nothing of an account, or check a signature of their own. */
const openPaths = ["/", "/healthz", "/readyz", "/f/:signed/:file"];

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
    links: { verify: () => ({ state: "invalid" }) },
    catalogue: createCatalogue(),
    loadPrices: unreachable,
    log: server.log,
    publicUrl: () => "http://127.0.0.1",
    readTask: unreachable,
    cancelTask: unreachable,
    readinessChecks: {},
    saveUpload: unreachable,
    storage: { open: unreachable, stat: unreachable },
    submitTask: unreachable,
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
    "GET /v1/tasks/:id",
    "POST /v1/tasks/:id/cancel",
    "POST /v1/uploads/images",
    "GET /v1/models",
    "GET /v1/models/:id",
    "GET /v1/models/:id/schema",
    "GET /v1/model-schema",
    "GET /v1/balance",
    "GET /v1/user/balance",
    "GET /balance",
    "GET /user/balance",
    "GET /f/:signed/:file",
    "HEAD /f/:signed/:file",
    "GET /healthz",
    "GET /readyz",
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
