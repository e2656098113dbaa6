import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import test from "node:test";

import { createRoutedServer, json } from "../../test/support/http-routes.ts";
import { bearer, createTestServer, exchange, listen } from "../../test/support/http.ts";
import { AppError } from "../lib/errors.ts";
import { isId } from "../lib/ids.ts";
import { StorageError } from "../storage/storage.ts";

test("every reply carries a request id of ours, whatever id the client sends", async (t) => {
  const { app } = createRoutedServer(t);
  const seen = new Set<string>();
  for (const url of ["/v1/things/1", "/v1/failure", "/nowhere", "/inside", "/v1/%zz"]) {
    const reply = await app.inject({ url, headers: { ...bearer, "x-request-id": "mine" } });
    const id = String(reply.headers["x-request-id"]);
    assert.ok(isId("request", id), `${url}: ${id}`);
    if (reply.statusCode >= 400) assert.equal(reply.json().request_id, id);
    seen.add(id);
  }
  assert.equal(seen.size, 5);
});

test("an unknown route is 404 in our body", async (t) => {
  const { app } = createRoutedServer(t);
  const reply = await app.inject({ method: "POST", url: "/v1/nothing?x=1", payload: "{" });
  assert.equal(reply.statusCode, 404);
  assert.equal(reply.headers["content-type"], "application/json; charset=utf-8");
  assert.deepEqual(reply.json().error, {
    code: 404,
    message:
      "POST /v1/nothing is not served; the API's routes begin with /v1/, and /docs explains them",
    type: "not_found",
    reason: "route_not_found",
  });
});

test("a path that is no URL, or has a part too long, is 404 in our body", async (t) => {
  const { app } = createRoutedServer(t);
  for (const url of ["/v1/things/%zz", `/v1/things/${"x".repeat(300)}`]) {
    const headers = { ...bearer, origin: "https://a.example" };
    const reply = await app.inject({ url, headers });
    assert.equal(reply.statusCode, 404);
    assert.equal(reply.json().error.reason, "route_not_found");
    assert.equal(reply.headers["access-control-allow-origin"], "*");
  }
});

test("a known path with another method is 405 and names the methods", async (t) => {
  const { app } = createRoutedServer(t);
  for (const method of ["DELETE", "PUT", "PATCH", "TRACE", "PROPFIND"] as const) {
    // light-my-request knows fewer methods than HTTP has.
    const reply = await app.inject({ method: method as "DELETE", url: "/v1/things/7" });
    assert.equal(reply.statusCode, 405, method);
    assert.equal(reply.headers.allow, "GET, HEAD, OPTIONS");
    assert.equal(reply.json().error.reason, "method_not_allowed");
    assert.equal(
      reply.json().error.message,
      `${method} /v1/things/7 is not served; use GET or HEAD`,
    );
  }
});

test("HEAD answers with the headers of GET and no body, refusals too", async (t) => {
  const { app } = createRoutedServer(t);
  const got = await app.inject({ url: "/v1/things/1", headers: bearer });
  const head = await app.inject({ method: "HEAD", url: "/v1/things/1", headers: bearer });
  assert.equal(head.statusCode, 200);
  assert.equal(head.body, "");
  assert.equal(head.headers["content-length"], got.headers["content-length"]);
  const refused = await app.inject({ method: "HEAD", url: "/v1/things/1" });
  assert.equal(refused.statusCode, 401);
  assert.equal(refused.body, "");
});

test("an unknown error shows nothing but the request id, and is logged in full with it", async (t) => {
  const { app, logged } = createRoutedServer(t, { failure: new TypeError("the inner reason") });
  const reply = await app.inject({ url: "/v1/failure" });
  assert.equal(reply.statusCode, 500);
  assert.deepEqual(Object.keys(reply.json().error), ["code", "message", "type", "reason"]);
  assert.equal(reply.json().error.reason, "internal_error");
  assert.equal(reply.body.includes("inner"), false);
  assert.equal(logged.length, 1);
  assert.match(logged[0]!, /the inner reason/);
  assert.ok(logged[0]!.includes(reply.json().request_id));
});

test("a thrown value that is no error is an internal error too", async (t) => {
  const { app, logged } = createRoutedServer(t, { failure: "just words" });
  const reply = await app.inject({ url: "/v1/failure" });
  assert.equal(reply.json().error.reason, "internal_error");
  assert.match(logged[0]!, /just words/);
});

test("an error of a framework that carries a status of its own is an internal error", async (t) => {
  const failure = Object.assign(new Error("upstream says no"), { statusCode: 418 });
  const { app } = createRoutedServer(t, { failure });
  const reply = await app.inject({ url: "/v1/failure" });
  assert.equal(reply.statusCode, 500);
  assert.equal(reply.body.includes("upstream"), false);
});

test("a store that fails is 503 with Retry-After, and logged", async (t) => {
  const { app, logged } = createRoutedServer(t, {
    failure: new StorageError("no space left on device"),
  });
  const reply = await app.inject({ url: "/v1/failure" });
  assert.equal(reply.statusCode, 503);
  assert.equal(reply.json().error.reason, "unavailable");
  assert.ok(reply.headers["retry-after"]);
  assert.equal(reply.body.includes("space"), false);
  assert.match(logged[0]!, /no space left/);
});

test("a refusal that the caller is told needs no line in the log", async (t) => {
  const { app, logged } = createRoutedServer(t, {
    failure: new AppError("model_not_found", "no such model"),
  });
  assert.equal((await app.inject({ url: "/v1/failure" })).statusCode, 404);
  assert.deepEqual(logged, []);
});

test("replies are kept by no cache and run nothing in a browser", async (t) => {
  const { app } = createRoutedServer(t);
  const { headers } = await app.inject({ url: "/v1/things/1", headers: bearer });
  assert.equal(headers["cache-control"], "no-store");
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["referrer-policy"], "no-referrer");
  assert.match(String(headers["content-security-policy"]), /default-src 'none'/);
});

test("what is not HTTP is refused in our body with a request id", async (t) => {
  const { app } = createRoutedServer(t);
  const requests = {
    "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": "invalid_header",
    "POST /v1/things HTTP/1.1\r\nHost: h\r\nContent-Length: abc\r\n\r\n": "invalid_header",
    "nonsense\r\n\r\n": "invalid_header",
    [`GET / HTTP/1.1\r\nHost: h\r\nX: ${"x".repeat(20_000)}\r\n\r\n`]: "invalid_header",
    "GET / HTTP/1.1\r\nConnection: close\r\n\r\n": "invalid_header",
  };
  for (const [request, reason] of Object.entries(requests)) {
    const reply = await exchange(app, request);
    assert.match(reply, /^HTTP\/1\.1 400 Bad Request\r\n/);
    const body = JSON.parse(reply.slice(reply.indexOf("\r\n\r\n")));
    assert.equal(body.error.reason, reason);
    assert.ok(reply.includes(`x-request-id: ${body.request_id}\r\n`));
  }
});

test("noise behind a request does not get into the reply that is being sent", async (t) => {
  const { app } = createRoutedServer(t);
  app.get("/endless", () => Readable.from(beginAndWait()));
  await listen(app);
  const { port } = app.server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  socket.write("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n");
  const [first] = (await once(socket, "data")) as [Buffer];
  socket.write("noise\r\n\r\n");
  const rest = await text(socket);
  assert.match(first.toString(), /^HTTP\/1\.1 200 /);
  assert.equal(rest.includes("HTTP/1.1"), false);
});

async function* beginAndWait(): AsyncGenerator<string> {
  yield "the beginning of a picture";
  await new Promise(() => undefined);
}

test("a server that is stopping takes nothing new, says that nothing was run, and still answers reads", async (t) => {
  const { app, bodies } = createRoutedServer(t, { isDraining: () => true });
  const options = { method: "POST", url: "/v1/things", payload: "{}" } as const;
  const plain = await app.inject({ ...options, headers: json });
  assert.equal(plain.statusCode, 503);
  assert.equal(plain.json().error.reason, "unavailable");
  assert.ok(plain.headers["retry-after"]);
  assert.equal(plain.headers.connection, "close");

  const keyed = await app.inject({ ...options, headers: { ...json, "idempotency-key": "a" } });
  assert.equal(keyed.json().error.reason, "idempotency_unavailable");
  assert.deepEqual(bodies, []);

  const read = await app.inject({ url: "/v1/things/1", headers: bearer });
  assert.equal(read.statusCode, 200);
});

test("with an idempotency key a 503 from before the route has begun says that nothing was run, a later one does not", async (t) => {
  const { app } = createTestServer(t);
  const fail = (): never => {
    throw new AppError("unavailable", "the database is away", { retryAfterSeconds: 7 });
  };
  app.post("/before", { onRequest: fail }, () => ({}));
  app.post("/within", fail);
  const told: unknown[] = [];
  for (const url of ["/before", "/within"]) {
    for (const headers of [{}, { "idempotency-key": "a" }]) {
      const reply = await app.inject({ method: "POST", url, headers });
      told.push([reply.statusCode, reply.json().error.reason, reply.headers["retry-after"]]);
    }
  }
  assert.deepEqual(told, [
    [503, "unavailable", "7"],
    [503, "idempotency_unavailable", "7"],
    [503, "unavailable", "7"],
    [503, "unavailable", "7"],
  ]);
});

test("a request that reaches a closing server on an open connection is answered as any other", async (t) => {
  const { app } = createRoutedServer(t);
  const events = new EventEmitter();
  app.get("/slow", async () => {
    await once(events, "go on");
    return { slow: true };
  });
  app.addHook("preClose", async () => void events.emit("closing"));
  await listen(app);
  const { port } = app.server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  const first = once(app.server, "request");
  socket.write("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  await first;
  const closing = once(events, "closing");
  const closed = app.close();
  await closing;
  const second = once(app.server, "request");
  socket.write("GET /inside HTTP/1.1\r\nHost: h\r\n\r\n");
  await second;
  events.emit("go on");
  const replies = await text(socket);
  assert.match(replies, /\{"slow":true\}HTTP\/1\.1 200 /);
  assert.match(replies, /\{"inside":true\}$/);
  await closed;
});

test("limits of time and number are set on the listener", (t) => {
  const { server } = createRoutedServer(t).app;
  assert.equal(server.requestTimeout, 60_000);
  assert.equal(server.headersTimeout, 15_000);
  assert.equal(server.keepAliveTimeout, 65_000);
  assert.equal(server.maxRequestsPerSocket, 10_000);
  assert.equal(server.maxConnections, 8_192);
});

test("at debug level each request is one line, with the route's pattern and without its path", async (t) => {
  const { app, logged } = createRoutedServer(t, { logLevel: "debug" });
  await app.inject({ url: "/v1/things/secret", headers: bearer });
  assert.equal(logged.length, 1);
  const line = JSON.parse(logged[0]!);
  assert.equal(line.route, "/v1/things/:id");
  assert.equal(line.status, 200);
  assert.equal(line.keyId, "key_1");
  assert.equal(logged[0]!.includes("secret"), false);
});
