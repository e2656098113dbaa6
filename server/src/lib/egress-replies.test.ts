import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { createTestEgress, fails, limits, text } from "../../test/support/egress.ts";
import { startPeer, startTcpPeer } from "../../test/support/peers.ts";

test("a discarded reply closes its connection at once", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startPeer(context, (_request, response) => {
    response.on("close", () => closed.resolve());
    response.write("unwanted");
  });
  const closed = Promise.withResolvers<void>();
  const reply = await egress.request(peer.url(), limits);
  reply.discard();
  reply.discard();
  await closed.promise;
  assert.equal(clock.waiting, 0);
  await assert.rejects(reply.read(), /read once/);
});

test("breaking off while reading closes the connection", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startPeer(context, (_request, response) => {
    response.on("close", () => closed.resolve());
    response.write("first");
  });
  const closed = Promise.withResolvers<void>();
  const reply = await egress.request(peer.url(), limits);
  for await (const chunk of reply.body) {
    assert.equal(text(chunk), "first");
    break;
  }
  await closed.promise;
  assert.equal(clock.waiting, 0);
});

test("a compressed reply is refused and never inflated", async (context) => {
  const { egress } = createTestEgress(context);
  const bomb = gzipSync(Buffer.alloc(50 * 2 ** 20));
  const peer = await startPeer(context, (_request, response) => {
    response.writeHead(200, { "content-encoding": "gzip" }).end(bomb);
  });
  const reply = await egress.request(peer.url(), { ...limits, bytesMax: 100 * 2 ** 20 });
  assert.equal(reply.status, 200);
  await assert.rejects(reply.read(), fails("broken", true, /encoded as gzip/));
});

test("a body that is announced too long is refused before a byte of it is read", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const peer = await startPeer(context, (_request, response) => {
    response.writeHead(200, { "content-length": "1001" }).flushHeaders();
  });
  const reply = await egress.request(peer.url(), limits);
  await assert.rejects(reply.read(), fails("too_large", true, /longer than 1000 bytes/));
  assert.equal(clock.waiting, 0);
});

test("a body of unknown length is cut off soon after the limit", async (context) => {
  const { egress } = createTestEgress(context);
  let written = 0;
  const peer = await startPeer(context, (_request, response) => {
    const more = (): void => {
      while (!response.destroyed && written < 200 * 2 ** 20) {
        written += 65_536;
        if (!response.write(Buffer.alloc(65_536))) break;
      }
    };
    response.on("drain", more).on("close", () => closed.resolve());
    more();
  });
  const closed = Promise.withResolvers<void>();
  const reply = await egress.request(peer.url(), { ...limits, bytesMax: 10 * 2 ** 20 });
  await assert.rejects(reply.read(), fails("too_large", true));
  await closed.promise;
  // What lies in the buffers of two sockets is all that may be sent beyond the limit.
  assert.ok(written < 40 * 2 ** 20, String(written));
});

test("a body of exactly the allowed length is read", async (context) => {
  const { egress } = createTestEgress(context);
  const peer = await startPeer(context, (_request, response) =>
    response.end(Buffer.alloc(1_000, 7)),
  );
  assert.equal((await (await egress.request(peer.url(), limits)).read()).byteLength, 1_000);
});

test("a reply that lies about its length, stops half way or is no HTTP is broken, never whole", async (context) => {
  const replies: Record<string, string> = {
    short: "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
    chunk: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\nonly this",
    twice: "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nabcde",
    both: "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    upgrade: "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    noise: "\u0000\u0001\u0002 not http\r\n\r\n",
    nothing: "",
  };
  for (const [name, bytes] of Object.entries(replies)) {
    const { egress, clock } = createTestEgress(context);
    const peer = await startTcpPeer(context, (socket) => {
      socket.once("data", () => socket.end(bytes));
    });
    const read = async (): Promise<Uint8Array> => (await egress.request(peer.url(), limits)).read();
    await assert.rejects(read(), fails("broken", true), name);
    assert.equal(clock.waiting, 0, name);
  }
});

test("bytes beyond the announced length are not part of the reply", async (context) => {
  const { egress } = createTestEgress(context);
  const peer = await startTcpPeer(context, (socket) => {
    socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcdEVIL"));
  });
  assert.equal(text(await (await egress.request(peer.url(), limits)).read()), "abcd");
});

test("a connection that is reset is broken, before the headers and in the middle of the body", async (context) => {
  const { egress, clock } = createTestEgress(context);
  const early = await startTcpPeer(context, (socket) => {
    socket.once("data", () => socket.resetAndDestroy());
  });
  await assert.rejects(
    egress.request(early.url(), { ...limits, method: "POST", body: "x" }),
    fails("broken", true),
  );
  const connected = Promise.withResolvers<Socket>();
  const late = await startTcpPeer(context, (socket) => {
    connected.resolve(socket);
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"));
  });
  const reply = await egress.request(late.url(), limits);
  const body = reply.body[Symbol.asyncIterator]();
  assert.equal(text((await body.next()).value), "half");
  (await connected.promise).resetAndDestroy();
  await assert.rejects(body.next(), fails("broken", true));
  assert.equal(clock.waiting, 0);
});

test("headers are bounded, by default to 8 KB", async (context) => {
  const { egress } = createTestEgress(context);
  const peer = await startPeer(context, (request, response) => {
    response.writeHead(200, { "x-long": "a".repeat(Number(request.url?.slice(1))) }).end("ok");
  });
  await assert.rejects(egress.request(peer.url("/9000"), limits), fails("too_large", true));
  await assert.rejects(egress.request(peer.url("/90000"), limits), fails("too_large", true));
  const reply = await egress.request(peer.url("/9000"), { ...limits, headerBytesMax: 16_384 });
  assert.equal(text(await reply.read()), "ok");
});
