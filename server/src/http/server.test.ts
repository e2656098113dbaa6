import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import test from "node:test";

import { request as send } from "undici";

import { bearer, createTestServer, exchange, listen, testToken } from "../../test/support/http.ts";
import type { TestServer, TestServerOptions } from "../../test/support/http.ts";
import { AppError } from "../lib/errors.ts";
import { isId } from "../lib/ids.ts";
import type { JsonObject } from "../lib/json.ts";
import { StorageError } from "../storage/storage.ts";
import { parseBody } from "./json-body.ts";

type Setup = TestServer & { bodies: JsonObject[] };

/** Routes that stand for all: one that reads, one that takes a body, one that throws what it is told to. */
function setup(t: TestContext, options: TestServerOptions & { failure?: unknown } = {}): Setup {
  const server = createTestServer(t, options);
  const bodies: JsonObject[] = [];
  const onRequest = [server.auth.identify];
  server.app.get("/v1/things/:id", { onRequest }, () => ({ thing: 1 }));
  server.app.post("/v1/things", { onRequest }, (request) => {
    bodies.push(parseBody(request));
    return { taken: true };
  });
  server.app.get("/v1/failure", () => {
    throw options.failure;
  });
  server.app.get("/inside", () => ({ inside: true }));
  return { ...server, bodies };
}

const json = { ...bearer, "content-type": "application/json" };

test("every reply carries a request id of ours, whatever id the client sends", async (t) => {
  const { app } = setup(t);
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
  const { app } = setup(t);
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
  const { app } = setup(t);
  for (const url of ["/v1/things/%zz", `/v1/things/${"x".repeat(300)}`]) {
    const headers = { ...bearer, origin: "https://a.example" };
    const reply = await app.inject({ url, headers });
    assert.equal(reply.statusCode, 404);
    assert.equal(reply.json().error.reason, "route_not_found");
    assert.equal(reply.headers["access-control-allow-origin"], "*");
  }
});

test("a known path with another method is 405 and names the methods", async (t) => {
  const { app } = setup(t);
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
  const { app } = setup(t);
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
  const { app, logged } = setup(t, { failure: new TypeError("the inner reason") });
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
  const { app, logged } = setup(t, { failure: "just words" });
  const reply = await app.inject({ url: "/v1/failure" });
  assert.equal(reply.json().error.reason, "internal_error");
  assert.match(logged[0]!, /just words/);
});

test("an error of a framework that carries a status of its own is an internal error", async (t) => {
  const failure = Object.assign(new Error("upstream says no"), { statusCode: 418 });
  const { app } = setup(t, { failure });
  const reply = await app.inject({ url: "/v1/failure" });
  assert.equal(reply.statusCode, 500);
  assert.equal(reply.body.includes("upstream"), false);
});

test("a store that fails is 503 with Retry-After, and logged", async (t) => {
  const { app, logged } = setup(t, { failure: new StorageError("no space left on device") });
  const reply = await app.inject({ url: "/v1/failure" });
  assert.equal(reply.statusCode, 503);
  assert.equal(reply.json().error.reason, "unavailable");
  assert.ok(reply.headers["retry-after"]);
  assert.equal(reply.body.includes("space"), false);
  assert.match(logged[0]!, /no space left/);
});

test("a refusal that the caller is told needs no line in the log", async (t) => {
  const { app, logged } = setup(t, { failure: new AppError("model_not_found", "no such model") });
  assert.equal((await app.inject({ url: "/v1/failure" })).statusCode, 404);
  assert.deepEqual(logged, []);
});

test("replies of the API may be read from any origin, without credentials", async (t) => {
  const { app } = setup(t);
  for (const url of ["/v1/things/1", "/v1/nothing", "/f/x/y.png"]) {
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

test("CORS headers are for browsers, which name their origin; files carry them for caches", async (t) => {
  const { app } = setup(t);
  const isOpen = async (url: string): Promise<boolean> =>
    "access-control-allow-origin" in (await app.inject({ url })).headers;
  assert.equal(await isOpen("/v1/things/1"), false);
  assert.equal(await isOpen("/f/x/y.png"), true);
});

test("a preflight names the methods of the path and the headers that clients send", async (t) => {
  const { app } = setup(t);
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
  const { app } = setup(t);
  assert.equal((await app.inject({ method: "OPTIONS", url: "/v1/nothing" })).statusCode, 404);
  const closed = await app.inject({ method: "OPTIONS", url: "/inside" });
  assert.equal(closed.statusCode, 204);
  assert.equal(closed.headers.allow, "GET, HEAD, OPTIONS");
  assert.equal("access-control-allow-origin" in closed.headers, false);
});

test("replies are kept by no cache and run nothing in a browser", async (t) => {
  const { app } = setup(t);
  const { headers } = await app.inject({ url: "/v1/things/1", headers: bearer });
  assert.equal(headers["cache-control"], "no-store");
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["referrer-policy"], "no-referrer");
  assert.match(String(headers["content-security-policy"]), /default-src 'none'/);
});

test("a known response version is echoed, on errors too, and moves the reason into code", async (t) => {
  const { app } = setup(t);
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
  const { app } = setup(t);
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

test("two Authorization, Idempotency-Key or Content-Type headers are 400 naming the header", async (t) => {
  const { app, bodies } = setup(t);
  const lines = {
    Authorization: `Authorization: Bearer ${testToken}`,
    "Idempotency-Key": "Idempotency-Key: one",
    "Content-Type": "Content-Type: application/json",
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

test("what is not HTTP is refused in our body with a request id", async (t) => {
  const { app } = setup(t);
  const requests = {
    "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n": "invalid_header",
    "POST /v1/things HTTP/1.1\r\nHost: h\r\nContent-Length: abc\r\n\r\n": "invalid_header",
    "nonsense\r\n\r\n": "invalid_header",
    [`GET / HTTP/1.1\r\nHost: h\r\nX: ${"x".repeat(20_000)}\r\n\r\n`]: "invalid_header",
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
  const { app } = setup(t);
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

test("a body that breaks off does no harm to the requests after it", async (t) => {
  const { app, bodies, logged } = setup(t);
  const head = "POST /v1/things HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n";
  const reply = exchange(
    app,
    `${head}Authorization: Bearer ${testToken}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n`,
  );
  assert.match(await reply, /^HTTP\/1\.1 400 /);
  const next = await app.inject({
    method: "POST",
    url: "/v1/things",
    headers: json,
    payload: "{}",
  });
  assert.equal(next.statusCode, 200);
  assert.deepEqual(bodies, [{}]);
  assert.deepEqual(logged, []);
});

const brokenBodies: [what: string, payload: string | Buffer, reason: string, message: RegExp][] = [
  ["is cut off", '{"model": "x"', "invalid_json", /not valid JSON: .*position 13/],
  ["has a bare word", '{"model": x}', "invalid_json", /not valid JSON: Unexpected token 'x'/],
  ["has a trailing comma", '{"model": "x",}', "invalid_json", /not valid JSON/],
  ["has two values", "{} {}", "invalid_json", /not valid JSON/],
  ["is not UTF-8", Buffer.from([0x22, 0xff, 0x22]), "invalid_json", /not valid UTF-8/],
  ["is UTF-16", Buffer.from('{"a":1}', "utf16le"), "invalid_json", /not valid JSON/],
  ["has a member __proto__", '{"__proto__": {"admin": true}}', "invalid_json", /"__proto__"/],
  ["spells __proto__ with escapes", '{"\\u005f_proto__": 1}', "invalid_json", /"__proto__"/],
  ["has a constructor", '{"constructor": {"prototype": {}}}', "invalid_json", /"constructor"/],
  ["is empty", "", "invalid_body", /is empty; send a JSON object/],
  ["is null", "null", "invalid_body", /is empty; send a JSON object/],
  ["is an array", "[{}]", "invalid_body", /is an array; send a JSON object/],
  ["is a number", "7", "invalid_body", /is a number; send a JSON object/],
  ["is nested 65 levels deep", nested(65), "invalid_body", /deeper than 64 levels/],
  ["is nested 65 levels deep", nested(65), "invalid_body", /deeper than 64 levels/],
  ["is nested a million levels deep", nested(1_000_000), "invalid_body", /100000 members/],
  ["has a million small values", `{"a":[${"0,".repeat(1_000_000)}0]}`, "invalid_body", /members/],
];

function nested(levels: number): string {
  return `{"a":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}`;
}

for (const [what, payload, reason, message] of brokenBodies) {
  test(`a body that ${what} is 400 ${reason}`, async (t) => {
    const { app, bodies } = setup(t);
    const reply = await app.inject({ method: "POST", url: "/v1/things", headers: json, payload });
    assert.equal(reply.statusCode, 400);
    assert.equal(reply.json().error.reason, reason);
    assert.match(reply.json().error.message, message);
    assert.deepEqual(bodies, []);
    assert.equal(({} as { admin?: boolean }).admin, undefined);
  });
}

test("unusual bodies that are JSON are taken as they are", async (t) => {
  const { app, bodies } = setup(t);
  for (const payload of [
    '\ufeff{"a":"ä"}',
    '{"a":1,"a":2}',
    '{"prompt":"the \\"constructor\\": of __proto__"}',
    nested(64),
  ]) {
    const reply = await app.inject({ method: "POST", url: "/v1/things", headers: json, payload });
    assert.equal(reply.statusCode, 200, payload.slice(0, 40));
  }
  assert.deepEqual(bodies.slice(0, 3), [
    { a: "ä" },
    { a: 2 },
    { prompt: 'the "constructor": of __proto__' },
  ]);
});

test("a body is taken as application/json in UTF-8 only", async (t) => {
  const { app } = setup(t);
  const accepted = ["application/json", "Application/JSON", "application/json; charset=utf-8"];
  for (const type of accepted) {
    const headers = { ...bearer, "content-type": type };
    const reply = await app.inject({ method: "POST", url: "/v1/things", headers, payload: "{}" });
    assert.equal(reply.statusCode, 200, type);
  }
  const refused = [
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/vnd.api+json",
    "application/jsonx",
    "nonsense",
    'application/json; charset="utf-16"',
    "application/json;charset=latin1",
  ];
  for (const type of refused) {
    const headers = { ...bearer, "content-type": type };
    const reply = await app.inject({ method: "POST", url: "/v1/things", headers, payload: "{}" });
    assert.equal(reply.statusCode, 415, type);
    const { error } = reply.json();
    assert.equal(error.reason, "unsupported_media_type");
    assert.equal(error.param, "Content-Type");
    assert.ok(error.message.includes(JSON.stringify(type)), error.message);
    assert.match(error.message, /use application\/json/);
  }
});

test("a body without a content type, or with an encoding, is 415 and says so", async (t) => {
  const { app } = setup(t);
  const origin = await listen(app);
  const options = { method: "POST", headers: bearer, body: "{}" } as const;
  const bare = await send(`${origin}/v1/things`, options);
  assert.equal(bare.statusCode, 415);
  assert.match(await bare.body.text(), /header Content-Type is missing; use application\/json/);

  const headers = { ...json, "content-encoding": "gzip" };
  const packed = await app.inject({ method: "POST", url: "/v1/things", headers, payload: "{}" });
  assert.equal(packed.statusCode, 415);
  assert.equal(packed.json().error.param, "Content-Encoding");
});

test("a body over the limit is 413 and points to the uploads, declared or not", async (t) => {
  const { app, bodies } = setup(t, { bodyBytesMax: 1_048_576 });
  const origin = await listen(app);
  const large = Buffer.alloc(1_048_577, " ");
  for (const body of [large, Readable.from(chunksOf(large))]) {
    const reply = await send(`${origin}/v1/things`, { method: "POST", headers: json, body });
    assert.equal(reply.statusCode, 413);
    const { error } = (await reply.body.json()) as { error: { reason: string; message: string } };
    assert.equal(error.reason, "body_too_large");
    assert.match(error.message, /larger than 1 MiB \(1048576 bytes\)/);
    assert.match(error.message, /POST \/v1\/uploads\/images/);
  }
  const exact = Buffer.concat([Buffer.from("{}"), Buffer.alloc(1_048_574, " ")]);
  const taken = await send(`${origin}/v1/things`, { method: "POST", headers: json, body: exact });
  assert.equal(taken.statusCode, 200);
  assert.equal(bodies.length, 1);
});

test("a client that first sends far more than the limit, and then reads, reads the refusal", async (t) => {
  const { app } = setup(t, { bodyBytesMax: 65_536 });
  const authorization = `Authorization: Bearer ${testToken}\r\n`;
  for (const [header, status] of [
    [authorization, 413],
    ["", 401],
  ] as const) {
    const reply = await exchange(
      app,
      `POST /v1/things HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n${header}` +
        `Content-Length: 40000000\r\n\r\n${" ".repeat(40_000_000)}` +
        "GET /inside HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    );
    assert.ok(reply.startsWith(`HTTP/1.1 ${status} `), reply.slice(0, 100));
    assert.match(reply, /\{"inside":true\}$/);
  }
});

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let start = 0; start < bytes.length; start += 65_536) {
    yield bytes.subarray(start, start + 65_536);
  }
}

test("a server that is stopping takes nothing new, says that nothing was run, and still answers reads", async (t) => {
  const { app, bodies } = setup(t, { isDraining: () => true });
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

test("a request that reaches a closing server on an open connection is answered as any other", async (t) => {
  const { app } = setup(t);
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

test("large bodies on their way are bounded together, and a caller who leaves makes room", async (t) => {
  const { app } = setup(t);
  const events = new EventEmitter();
  let reading = 0;
  app.addHook("preParsing", async (_request, reply, payload) => {
    reply.raw.once("close", () => events.emit("left"));
    reading += 1;
    if (reading === 8) events.emit("all reading");
    return payload;
  });
  const allReading = once(events, "all reading");
  await listen(app);
  // A listening TCP server has an address with a port.
  const { port } = app.server.address() as AddressInfo;
  const sockets = Array.from({ length: 8 }, () => connect(port, "127.0.0.1"));
  for (const socket of sockets) {
    socket.write(
      `POST /v1/things HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${testToken}\r\n` +
        "Content-Type: application/json\r\nContent-Length: 33554432\r\n\r\n",
    );
  }
  await allReading;
  const large = { method: "POST", url: "/v1/things", headers: json } as const;
  const payload = `{"a":"${"x".repeat(100_000)}"}`;
  const refused = await app.inject({ ...large, payload });
  assert.equal(refused.statusCode, 503);
  assert.equal(refused.json().error.reason, "overloaded");
  assert.ok(refused.headers["retry-after"]);
  assert.equal((await app.inject({ ...large, payload: "{}" })).statusCode, 200);

  const gone = once(events, "left");
  sockets[0]!.destroy();
  await gone;
  assert.equal((await app.inject({ ...large, payload })).statusCode, 200);
  for (const socket of sockets) socket.destroy();
});

test("no body is read before the key is known", async (t) => {
  const { app } = setup(t);
  const reply = await exchange(
    app,
    "POST /v1/things HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" +
      // The body never comes: only an answer that does not wait for it can be read.
      "Content-Length: 1000\r\nConnection: close\r\n\r\n",
  );
  assert.match(reply, /^HTTP\/1\.1 401 /);
});

test("limits of time and number are set on the listener", (t) => {
  const { server } = setup(t).app;
  assert.equal(server.requestTimeout, 60_000);
  assert.equal(server.headersTimeout, 15_000);
  assert.equal(server.keepAliveTimeout, 65_000);
  assert.equal(server.maxRequestsPerSocket, 10_000);
  assert.equal(server.maxConnections, 8_192);
});

test("at debug level each request is one line, with the route's pattern and without its path", async (t) => {
  const { app, logged } = setup(t, { logLevel: "debug" });
  await app.inject({ url: "/v1/things/secret", headers: bearer });
  assert.equal(logged.length, 1);
  const line = JSON.parse(logged[0]!);
  assert.equal(line.route, "/v1/things/:id");
  assert.equal(line.status, 200);
  assert.equal(line.keyId, "key_1");
  assert.equal(logged[0]!.includes("secret"), false);
});
