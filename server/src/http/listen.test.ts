import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";

import { fastify } from "fastify";

import { createTestClock } from "../../test/support/clock.ts";
import { systemClock } from "../lib/time.ts";
import { callInProcess, closeServer, finishReplies, listen } from "./listen.ts";

test("a server that listens everywhere is reached on loopback, at the port it got", async () => {
  const app = fastify();
  app.get("/", () => ({ ok: true }));
  const address = await listen(app, { host: "0.0.0.0", port: 0 });
  assert.match(address, /^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
  assert.deepEqual(await (await fetch(address)).json(), { ok: true });
  await closeServer(app, createTestClock());
});

test("a stop does not wait for a peer that never finishes its request", async () => {
  const app = fastify();
  app.post("/", () => ({}));
  const { port, hostname } = new URL(await listen(app, { host: "127.0.0.1", port: 0 }));
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  await once(socket, "connect");
  const seen = once(app.server, "request");
  socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nonly this");
  await seen;

  const clock = createTestClock();
  let isClosed = false;
  const closing = closeServer(app, clock).then(() => {
    isClosed = true;
  });
  await clock.advance(9_999);
  assert.equal(isClosed, false);
  await clock.advance(1);
  await closing;
  socket.destroy();
});

test("a stop waits longer for calls that would be lost, and ends them when their time is up", async () => {
  const app = fastify();
  const ended = Promise.withResolvers<object>();
  let waiting = 0;
  app.get("/", () => {
    waiting += 1;
    return ended.promise;
  });
  const address = await listen(app, { host: "127.0.0.1", port: 0 });
  const seen = once(app.server, "request");
  const asked = fetch(address).then((reply) => reply.json());
  await seen;

  const clock = createTestClock();
  const calls = { count: () => waiting, end: () => ended.resolve({ still: "running" }) };
  const closing = closeServer(app, clock, calls);
  for (let second = 0; second < 70; second += 1) {
    assert.equal(waiting, 1);
    await clock.advance(1_000);
  }
  assert.deepEqual(await asked, { still: "running" });
  await closing;
});

test("a call in process goes through the routes with the caller's key", async () => {
  const app = fastify();
  app.post("/echo", (request) => ({ key: request.headers.authorization, body: request.body }));
  const reply = await callInProcess(app, {
    method: "POST",
    path: "/echo",
    token: "sk-test-1",
    body: '{"a":1}',
  });
  assert.deepEqual(reply, { key: "Bearer sk-test-1", body: { a: 1 } });
});

test("replies under way are waited for while others are still taken", async (t) => {
  const app = fastify();
  t.after(() => app.close());
  const ended = Promise.withResolvers<object>();
  app.get("/slow", () => ended.promise);
  app.get("/health", () => ({ status: "ok" }));
  const address = await listen(app, { host: "127.0.0.1", port: 0 });
  const seen = once(app.server, "request");
  const asked = fetch(`${address}/slow`).then((reply) => reply.json());
  await seen;

  let isFinished = false;
  const finishing = finishReplies(app, systemClock).then(() => (isFinished = true));
  await systemClock.sleep(200);
  assert.deepEqual(await (await fetch(`${address}/health`)).json(), { status: "ok" });
  assert.equal(isFinished, false);
  ended.resolve({ done: true });
  assert.deepEqual(await asked, { done: true });
  await finishing;
});
