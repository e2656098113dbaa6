import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";

import { createTestEgress, fails, limits } from "../../test/support/egress.ts";
import { startPeer, startTcpPeer } from "../../test/support/peers.ts";

test("a peer that sends no headers is given up after the time for headers", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startPeer(context, () => arrived.resolve());
  const arrived = Promise.withResolvers<void>();
  const reply = egress.request(peer.url(), { ...limits, headersTimeoutMs: 7_000 });
  const failure = assert.rejects(reply, fails("timeout", true, /no headers within 7000 ms/));
  await arrived.promise;
  await clock.advance(6_999);
  assert.equal(clock.waiting, 2);
  await clock.advance(1);
  await failure;
  assert.equal(clock.waiting, 0);
});

test("a storm of interim replies does not prolong the time for headers", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startTcpPeer(context, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(1_000), () =>
        written.resolve(),
      );
    });
  });
  const written = Promise.withResolvers<void>();
  const failure = assert.rejects(egress.request(peer.url(), limits), fails("timeout", true));
  await written.promise;
  await clock.advance(10_000);
  await failure;
});

test("a name that is never answered is given up after the time to connect, and nothing was sent", async (context) => {
  const { egress, clock } = createTestEgress(context, { resolve: () => new Promise(() => {}) });
  const failure = assert.rejects(
    egress.request("http://slow.example:8080/", limits),
    fails("timeout", false, /no connection within 5000 ms/),
  );
  await clock.advance(5_000);
  await failure;
  assert.equal(clock.waiting, 0);
});

test("a drip of bytes ends with the time of the whole exchange", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startTcpPeer(context, (socket) => {
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n."));
    connected.resolve(socket);
  });
  const connected = Promise.withResolvers<Socket>();
  const reply = await egress.request(peer.url(), limits);
  const body = reply.body[Symbol.asyncIterator]();
  await body.next();
  for (let elapsedMs = 0; elapsedMs < 18_000; elapsedMs += 9_000) {
    const next = body.next();
    await clock.advance(9_000);
    (await connected.promise).write(".");
    assert.equal((await next).done, false);
  }
  const failure = assert.rejects(
    body.next(),
    fails("timeout", true, /no complete reply within 20000 ms/),
  );
  await clock.advance(2_000);
  await failure;
  assert.equal(clock.waiting, 0);
});

test("a body that stops is given up after the time between two pieces", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startPeer(context, (_request, response) => void response.write("half"));
  const reply = await egress.request(peer.url(), { ...limits, gapTimeoutMs: 3_000 });
  const failure = assert.rejects(
    reply.read(),
    fails("timeout", true, /nothing more of the reply within 3000 ms/),
  );
  await clock.advance(3_000);
  await failure;
});

test("a reply nobody reads is closed when the time of its exchange is up", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startPeer(context, (_request, response) => {
    response.on("close", () => closed.resolve());
    response.write("never read");
  });
  const closed = Promise.withResolvers<void>();
  await egress.request(peer.url(), limits);
  assert.equal(clock.waiting, 1);
  await clock.advance(20_000);
  await closed.promise;
});

test("the caller can call off an exchange at any point", async (context) => {
  const { egress, clock } = createTestEgress(context, { answers: {} });
  const before = AbortSignal.abort(new Error("too late"));
  const peer = await startPeer(context, (request, response) => {
    if (request.url === "/body") response.write("half");
    arrived.resolve();
  });
  let arrived = Promise.withResolvers<void>();
  await assert.rejects(
    egress.request(peer.url(), { ...limits, signal: before }),
    fails("aborted", false),
  );

  const waiting = new AbortController();
  const headers = assert.rejects(
    egress.request(peer.url(), { ...limits, signal: waiting.signal }),
    fails("aborted", true),
  );
  await arrived.promise;
  waiting.abort();
  await headers;

  arrived = Promise.withResolvers<void>();
  const reading = new AbortController();
  const reply = await egress.request(peer.url("/body"), { ...limits, signal: reading.signal });
  const body = reply.body[Symbol.asyncIterator]();
  await body.next();
  const rest = assert.rejects(body.next(), fails("aborted", true));
  reading.abort();
  await rest;
  assert.equal(clock.waiting, 0);
  assert.equal(peer.connections, 2);
});

test("a call-off while the name is asked for is answered at once and sends nothing", async (context) => {
  const answer = Promise.withResolvers<string[]>();
  const { egress } = createTestEgress(context, { resolve: () => answer.promise });
  const peer = await startPeer(context, (_request, response) => response.end());
  const calling = new AbortController();
  const failure = assert.rejects(
    egress.request(peer.url("/", "slow.example"), { ...limits, signal: calling.signal }),
    fails("aborted", false),
  );
  calling.abort();
  await failure;
  answer.resolve(["127.0.0.1"]);
  await egress.close();
});
