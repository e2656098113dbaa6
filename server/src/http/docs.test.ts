import assert from "node:assert/strict";
import test from "node:test";
import type { TestContext } from "node:test";
import { gunzipSync } from "node:zlib";

import { bearer, createTestServer } from "../../test/support/http.ts";
import { builtInModels, createCatalogue } from "../models/catalogue.ts";
import { registerDocs } from "./docs.ts";

function setup(t: TestContext) {
  const server = createTestServer(t);
  const address = { publicUrl: "https://pictures.example.com" };
  registerDocs(server.app, {
    auth: server.auth,
    catalogue: createCatalogue(),
    clock: server.clock,
    publicPrices: {
      load: () => Promise.resolve(new Map([["flux-2-pro", new Map([["1K", 80_000]])]])),
    },
    publicUrl: () => address.publicUrl,
    version: "1.2.3",
  });
  const get = (url: string, headers: Record<string, string> = {}) =>
    server.app.inject({ url, headers });
  return { ...server, address, get };
}

test("the reference loads nothing from another host, and runs no script of the page", async (t) => {
  const { get } = setup(t);
  const reply = await get("/docs");
  assert.equal(reply.headers["content-type"], "text/html; charset=utf-8");
  const sources = [...reply.body.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, source]) => source);
  assert.deepEqual(sources, ["data:,", "openapi.json", "llms.txt", "docs/reference.js"]);
  const policy = String(reply.headers["content-security-policy"]);
  assert.match(policy, /default-src 'none'/);
  assert.match(policy, /script-src 'self';/);
  assert.match(policy, /connect-src 'self';/);
  assert.doesNotMatch(policy, /https?:|unsafe-eval|script-src[^;]*unsafe-inline/);
});

test("the reference's script is a whole program, sent compressed, plain or not at all", async (t) => {
  const { get } = setup(t);
  const small = await get("/docs/reference.js", { "accept-encoding": "br, gzip;q=0.5" });
  assert.equal(small.statusCode, 200);
  assert.equal(small.headers["content-encoding"], "gzip");
  assert.equal(small.headers["content-type"], "text/javascript; charset=utf-8");
  const script = gunzipSync(small.rawPayload).toString();
  assert.match(script, /createApiReference/);
  assert.doesNotMatch(script, /sourceMappingURL/);
  assert.ok(small.rawPayload.length < 0.5 * script.length);
  for (const encoding of ["identity", "gzip;q=0"]) {
    const plain = await get("/docs/reference.js", { "accept-encoding": encoding });
    assert.equal(plain.headers["content-encoding"], undefined);
    assert.ok(plain.body === script, encoding);
  }
  const tag = String(small.headers["etag"]);
  const known = await get("/docs/reference.js", { "if-none-match": `"other", ${tag}` });
  assert.deepEqual([known.statusCode, known.body], [304, ""]);
  assert.equal(known.headers["etag"], tag);
});

test("the document names the address and the version of the server, also after the address has changed", async (t) => {
  const { get, address } = setup(t);
  const first = await get("/openapi.json");
  assert.equal(first.headers["access-control-allow-origin"], "*");
  assert.equal(first.json().info.version, "1.2.3");
  assert.equal(first.json().servers[0].url, "https://pictures.example.com");
  address.publicUrl = "https://other.example.com";
  const second = await get("/openapi.json", { "if-none-match": String(first.headers["etag"]) });
  assert.equal(second.statusCode, 200);
  assert.equal(second.json().servers[0].url, "https://other.example.com");
});

test("every model has a page, which the index links", async (t) => {
  const { get } = setup(t);
  const index = await get("/llms.txt");
  assert.equal(index.headers["content-type"], "text/plain; charset=utf-8");
  for (const { id } of builtInModels) {
    assert.ok(index.body.includes(`(https://pictures.example.com/docs/models/${id}.md)`), id);
    const page = await get(`/docs/models/${id}.md`);
    assert.equal(page.headers["content-type"], "text/markdown; charset=utf-8");
    assert.ok(page.body.startsWith(`# ${id}\n`));
  }
});

test("a page shows the prices that the operator has set", async (t) => {
  const { get } = setup(t);
  assert.match((await get("/docs/models/flux-2-pro.md")).body, /\| 1K \| standard \| 0\.08 \|/);
});

test("pages that do not exist are refused by name", async (t) => {
  const { get } = setup(t);
  const unknown = await get("/docs/models/flux-2-prp.md");
  assert.equal(unknown.statusCode, 404);
  assert.equal(unknown.json().error.reason, "model_not_found");
  assert.match(unknown.json().error.message, /flux-2-pro/);
  const other = await get("/docs/models/flux-2-pro.html");
  assert.equal(other.json().error.reason, "route_not_found");
});

test("the page in JSON has the fields that clients know, and needs a key", async (t) => {
  const { get, clock } = setup(t);
  const { body } = await get("/docs/models/flux-2-pro.md");
  const reply = await get("/v1/model-docs?model=flux-2-pro", bearer);
  assert.deepEqual(reply.json(), {
    object: "model.documentation",
    model: "flux-2-pro",
    doc_url: "https://pictures.example.com/docs",
    markdown_url: "https://pictures.example.com/docs/models/flux-2-pro.md",
    markdown: body,
    fetched_at: Math.floor(clock.now() / 1_000),
    cache_ttl_seconds: 604_800,
    stale: false,
  });
  assert.equal((await get("/v1/model-docs?model=flux-2-pro")).statusCode, 401);
  assert.equal((await get("/v1/model-docs", bearer)).json().error.param, "model");
});
