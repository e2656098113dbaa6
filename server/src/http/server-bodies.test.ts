import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import test from "node:test";

import { request as send } from "undici";

import { createRoutedServer, json } from "../../test/support/http-routes.ts";
import { bearer, exchange, listen, testToken } from "../../test/support/http.ts";

test("a body that breaks off does no harm to the requests after it", async (t) => {
  const { app, bodies, logged } = createRoutedServer(t);
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
  ["is null", "null", "invalid_body", /is null; send a JSON object/],
  ["is an array", "[{}]", "invalid_body", /is an array; send a JSON object/],
  ["is a number", "7", "invalid_body", /is a number; send a JSON object/],
  ["is nested 65 levels deep", nested(65), "invalid_body", /deeper than 64 levels/],
  ["is nested a million levels deep", nested(1_000_000), "invalid_body", /100000 members/],
  ["has a million small values", `{"a":[${"0,".repeat(1_000_000)}0]}`, "invalid_body", /members/],
];

function nested(levels: number): string {
  return `{"a":${"[".repeat(levels - 1)}${"]".repeat(levels - 1)}}`;
}

for (const [what, payload, reason, message] of brokenBodies) {
  test(`a body that ${what} is 400 ${reason}`, async (t) => {
    const { app, bodies } = createRoutedServer(t);
    const reply = await app.inject({ method: "POST", url: "/v1/things", headers: json, payload });
    assert.equal(reply.statusCode, 400);
    assert.equal(reply.json().error.reason, reason);
    assert.match(reply.json().error.message, message);
    assert.deepEqual(bodies, []);
    assert.equal(({} as { admin?: boolean }).admin, undefined);
  });
}

test("unusual bodies that are JSON are taken as they are", async (t) => {
  const { app, bodies } = createRoutedServer(t);
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
  const { app } = createRoutedServer(t);
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
  const { app } = createRoutedServer(t);
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
  const { app, bodies } = createRoutedServer(t, { bodyBytesMax: 1_048_576 });
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
  const { app } = createRoutedServer(t, { bodyBytesMax: 65_536 });
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

test("large bodies on their way are bounded together, and a caller who leaves makes room", async (t) => {
  const { app } = createRoutedServer(t);
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
  const { app } = createRoutedServer(t);
  const reply = await exchange(
    app,
    "POST /v1/things HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" +
      // The body never comes: only an answer that does not wait for it can be read.
      "Content-Length: 1000\r\nConnection: close\r\n\r\n",
  );
  assert.match(reply, /^HTTP\/1\.1 401 /);
});
