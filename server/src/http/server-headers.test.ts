import assert from "node:assert/strict";
import test from "node:test";

import { createRoutedServer } from "../../test/support/http-routes.ts";
import { bearer, exchange, testToken } from "../../test/support/http.ts";
import { responseVersion, responseVersionHeader } from "./headers.ts";

test("replies of the API may be read from any origin, without credentials", async (t) => {
  const { app } = createRoutedServer(t);
  for (const url of ["/v1/things/1", "/v1/nothing"]) {
    const { headers } = await app.inject({ url, headers: { origin: "https://a.example" } });
    assert.equal(headers["access-control-allow-origin"], "*", url);
    assert.match(String(headers["access-control-expose-headers"]), /Idempotency-Replayed/);
    assert.equal("access-control-allow-credentials" in headers, false);
  }
  const { headers } = await app.inject({
    url: "/inside",
    headers: { origin: "https://a.example" },
  });
  assert.equal("access-control-allow-origin" in headers, false);
});

test("any origin is allowed on every reply of the API; what is exposed is told to browsers", async (t) => {
  const { app } = createRoutedServer(t);
  for (const url of ["/v1/things/1", "/v1/nothing", "/f/x/y.png"]) {
    const { headers } = await app.inject({ url });
    assert.equal(headers["access-control-allow-origin"], "*", url);
    assert.equal("access-control-expose-headers" in headers, url.startsWith("/f/"), url);
  }
});

test("a refusal under a file's path is told as safely as every other", async (t) => {
  const { app } = createRoutedServer(t);
  for (const method of ["GET", "POST"] as const) {
    const { headers } = await app.inject({ method, url: "/f/x/y.png" });
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.match(String(headers["content-security-policy"]), /^default-src 'none'/);
    assert.equal(headers["cache-control"], "no-store");
  }
});

test("a preflight names the methods of the path and the headers that clients send", async (t) => {
  const { app } = createRoutedServer(t);
  const reply = await app.inject({
    method: "OPTIONS",
    url: "/v1/things",
    headers: { origin: "https://a.example", "access-control-request-method": "POST" },
  });
  assert.equal(reply.statusCode, 204);
  assert.equal(reply.body, "");
  assert.equal(reply.headers["access-control-allow-origin"], "*");
  assert.equal(reply.headers["access-control-allow-methods"], "POST, OPTIONS");
  const allowed = String(reply.headers["access-control-allow-headers"]).split(", ");
  for (const name of [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "X-APIMart-Response-Version",
    "Prefer",
    "Last-Event-ID",
  ]) {
    assert.ok(allowed.includes(name), name);
  }
});

test("a preflight of an unknown route is 404, and of a closed one names no origin", async (t) => {
  const { app } = createRoutedServer(t);
  assert.equal((await app.inject({ method: "OPTIONS", url: "/v1/nothing" })).statusCode, 404);
  const closed = await app.inject({ method: "OPTIONS", url: "/inside" });
  assert.equal(closed.statusCode, 204);
  assert.equal(closed.headers.allow, "GET, HEAD, OPTIONS");
  assert.equal("access-control-allow-origin" in closed.headers, false);
});

test("a known response version is echoed, on errors too, and moves the reason into code", async (t) => {
  const { app } = createRoutedServer(t);
  const version = { "x-apimart-response-version": "2026-07-27" };
  const good = await app.inject({ url: "/v1/things/1", headers: { ...bearer, ...version } });
  assert.equal(good.headers["x-apimart-response-version"], "2026-07-27");
  for (const url of ["/v1/things/1", "/v1/nothing", "/v1/%zz"]) {
    const refused = await app.inject({ url, headers: version });
    assert.equal(refused.json().error.code, refused.json().error.reason);
    assert.equal(refused.headers["x-apimart-response-version"], "2026-07-27", url);
  }
});

test("an unknown response version is 400 naming the header, in the default contract", async (t) => {
  const { app } = createRoutedServer(t);
  for (const version of ["2027-01-01", "", "2026-07-27, 2026-07-27"]) {
    const reply = await app.inject({
      url: "/v1/things/1",
      headers: { ...bearer, "x-apimart-response-version": version },
    });
    assert.equal(reply.statusCode, 400);
    const { code, param, reason, message } = reply.json().error;
    assert.deepEqual(
      { code, param, reason },
      { code: 400, param: "X-APIMart-Response-Version", reason: "unsupported_response_version" },
    );
    assert.match(message, /use 2026-07-27/);
    assert.equal("x-apimart-response-version" in reply.headers, false);
  }
});

test("a header that is ambiguous twice is 400 naming the header", async (t) => {
  const { app, bodies } = createRoutedServer(t);
  const lines = {
    Authorization: `Authorization: Bearer ${testToken}`,
    "Idempotency-Key": "Idempotency-Key: one",
    "Content-Type": "Content-Type: application/json",
    [responseVersionHeader]: `${responseVersionHeader}: ${responseVersion}`,
  };
  for (const [name, line] of Object.entries(lines)) {
    const reply = await exchange(
      app,
      [
        "POST /v1/things HTTP/1.1",
        "Host: localhost",
        ...Object.values(lines),
        line.toLowerCase(),
        "Content-Length: 2",
        "Connection: close",
        "",
        "{}",
      ].join("\r\n"),
    );
    assert.match(reply, /^HTTP\/1\.1 400 /);
    const { error } = JSON.parse(reply.slice(reply.indexOf("\r\n\r\n")));
    assert.equal(error.reason, "invalid_header");
    assert.equal(error.param, name);
    assert.equal(error.message, `header ${name} is given twice; send it once`);
  }
  assert.deepEqual(bodies, []);
});
