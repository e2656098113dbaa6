import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import * as undici from "undici";

import { createTestClock } from "../../test/support/clock.ts";
import { createIdentity, startPeer, startTcpPeer, startTlsPeer } from "../../test/support/peers.ts";
import { createAddressPolicy } from "./address.ts";
import type { AddressPolicy } from "./address.ts";
import { EgressError } from "./egress-error.ts";
import type { EgressErrorKind } from "./egress-error.ts";
import { createConnector, createEgress, systemResolver } from "./egress.ts";
import type { EgressOptions } from "./egress.ts";

/** What every test but a few asks for. */
const limits = { bytesMax: 1_000, timeoutMs: 20_000 };

type SetUp = Partial<EgressOptions> & {
  /** Answers by name; where there are several lists, each question takes the next one. */
  answers?: Record<string, string[][]>;
};

/** A guard that trusts 127.0.0.1 alone, so that 127.0.0.2 is the same machine and still forbidden. */
function setUp(context: TestContext, { answers = {}, ...options }: SetUp = {}) {
  const clock = createTestClock();
  const asked: string[] = [];
  const egress = createEgress({
    allow: ["127.0.0.1/32"],
    clock,
    resolve: (hostname) => {
      const lists = answers[hostname] ?? [];
      const list =
        lists[Math.min(asked.filter((name) => name === hostname).length, lists.length - 1)];
      asked.push(hostname);
      return list === undefined ? Promise.reject(new Error("ENOTFOUND")) : Promise.resolve(list);
    },
    ...options,
  });
  context.after(() => egress.close());
  return { egress, clock, asked };
}

function fails(kind: EgressErrorKind, sent: boolean, message = /./) {
  return (error: unknown): true => {
    assert.ok(error instanceof EgressError, String(error));
    assert.deepEqual({ kind: error.kind, sent: error.sent }, { kind, sent }, error.message);
    assert.match(error.message, message);
    return true;
  };
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString();
}

test("a request carries what the caller gave and declines every encoding", async (context) => {
  const { egress, clock } = setUp(context);
  let seen: IncomingMessage | undefined;
  const peer = await startPeer(context, (request, response) => {
    seen = request;
    response.writeHead(201, { "x-one": ["a", "b"] }).end("hello");
  });
  const reply = await egress.request(peer.url("/a?b=c#d"), {
    ...limits,
    headers: { Authorization: "Bearer x" },
  });
  assert.equal(reply.status, 201);
  assert.equal(reply.headers["x-one"], "a, b");
  assert.equal(reply.url, peer.url("/a?b=c#d"));
  assert.equal(text(await reply.read()), "hello");
  assert.equal(seen?.url, "/a?b=c");
  assert.equal(seen?.headers.authorization, "Bearer x");
  assert.equal(seen?.headers["accept-encoding"], "identity");
  assert.equal(seen?.headers["user-agent"], "darkroom");
  assert.equal(clock.waiting, 0);
});

test("a body of tens of megabytes arrives whole", async (context) => {
  const { egress } = setUp(context);
  const peer = await startPeer(context, (request, response) => {
    const hash = createHash("sha256");
    request.on("data", (chunk: Buffer) => hash.update(chunk));
    request.on("end", () => response.end(hash.digest("hex")));
  });
  const body = Buffer.alloc(40 * 2 ** 20, "abcdefg");
  const reply = await egress.request(peer.url(), { ...limits, method: "POST", body });
  assert.equal(text(await reply.read()), createHash("sha256").update(body).digest("hex"));
});

test("a name is asked for once a connection, and exactly the judged answer is connected to", async (context) => {
  const { egress, asked } = setUp(context, { answers: { "only-here.example": [["127.0.0.1"]] } });
  const peer = await startPeer(context, (request, response) => response.end(request.headers.host));
  const reply = await egress.request(peer.url("/", "only-here.example"), limits);
  assert.equal(text(await reply.read()), `only-here.example:${peer.port}`);
  assert.deepEqual(asked, ["only-here.example"]);
});

test("a name with one forbidden address among its answers is refused and nobody is connected to", async (context) => {
  const forbidden = [
    "127.0.0.2",
    "10.0.0.1",
    "169.254.169.254",
    "::1",
    "::ffff:127.0.0.2",
    "64:ff9b::7f00:1",
    "fe80::1%lo",
    "2002:7f00:1::",
    "0x7f.1",
    "not an address",
  ];
  const peer = await startPeer(context, (_request, response) => response.end());
  for (const address of forbidden) {
    for (const answer of [[address], ["127.0.0.1", address], [address, "127.0.0.1"]]) {
      const { egress } = setUp(context, { answers: { "rebind.example": [answer] } });
      await assert.rejects(
        egress.request(peer.url("/", "rebind.example"), limits),
        fails("blocked", false),
      );
    }
    const { egress } = setUp(context, {
      allow: [],
      answers: { "rebind.example": [["93.184.216.34", address]] },
    });
    await assert.rejects(
      egress.request("http://rebind.example/", limits),
      fails("blocked", false, /rebind\.example at/),
    );
  }
  assert.equal(peer.connections, 0);
});

test("a name that changes its answer after the first request is judged again", async (context) => {
  const { egress } = setUp(context, {
    answers: { "flip.example": [["127.0.0.1"], ["127.0.0.2"]] },
  });
  const peer = await startPeer(context, (_request, response) => response.end("first"));
  const url = peer.url("/", "flip.example");
  assert.equal(text(await (await egress.request(url, limits)).read()), "first");
  await assert.rejects(egress.request(url, limits), fails("blocked", false));
  assert.equal(peer.connections, 1);
});

test("literal addresses and local names are refused at the request too, and nobody is connected to", async (context) => {
  const peer = await startPeer(context, (_request, response) => response.end());
  const { egress } = setUp(context, { allow: [], answers: { localhost: [["127.0.0.1"]] } });
  const hosts = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.1",
    "0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "localhost",
    "localhost.",
    "１２７.0.0.1",
  ];
  for (const host of hosts) {
    assert.throws(() => egress.checkUrl(peer.url("/", host)), fails("blocked", false), host);
    await assert.rejects(
      egress.request(peer.url("/", host), limits),
      fails("blocked", false),
      host,
    );
  }
  assert.equal(peer.connections, 0);
});

test("a trusted range may be reached on any port, by number and by any name that resolves into it", async (context) => {
  const { egress } = setUp(context, {
    allow: ["127.0.0.0/8"],
    answers: { gpu: [["127.0.0.5"]], "gpu.internal": [["127.0.0.6"]] },
  });
  const peer = await startPeer(context, (_request, response) => response.end("here"));
  for (const host of ["127.0.0.1", "127.9.9.9", "[::ffff:127.0.0.1]", "gpu", "gpu.internal"]) {
    egress.checkUrl(peer.url("/", host));
    if (host.startsWith("[")) continue; // judged as trusted, but the peer listens on IPv4 only
    assert.equal(text(await (await egress.request(peer.url("/", host), limits)).read()), "here");
  }
});

test("trusting one range lends nothing to local names and odd ports outside of it", async (context) => {
  const { egress } = setUp(context, {
    answers: { wiki: [["93.184.216.34"]], "public.example": [["93.184.216.34"]] },
  });
  for (const url of ["http://wiki/", "http://public.example:8080/"]) {
    egress.checkUrl(url);
    await assert.rejects(egress.request(url, limits), fails("blocked", false));
  }
});

/** Why the connector alone, without the checks of URLs before it, does not connect. */
async function findConnectProblem(judge: AddressPolicy["judge"], url: string): Promise<unknown> {
  const { hostname, protocol, port } = new URL(url);
  const connect = createConnector(undici, {
    policy: { ...createAddressPolicy([]), judge },
    resolve: (name) => Promise.resolve([name === "mapped.example" ? "::ffff:7f00:1" : "127.0.0.1"]),
    timeoutMs: 5_000,
  });
  return new Promise((resolve) => {
    const target = { hostname: hostname.replace(/^\[|\]$/g, ""), protocol, port };
    connect(target, (...[problem]) => resolve(problem));
  });
}

test("the connector judges numbers and names by itself, with and without TLS", async (context) => {
  const peer = await startPeer(context, (_request, response) => response.end());
  for (const host of ["127.0.0.1", "[::ffff:127.0.0.1]", "name.example", "mapped.example"]) {
    for (const url of [peer.url("/", host), peer.url("/", host).replace("http:", "https:")]) {
      fails("blocked", false)(await findConnectProblem(createAddressPolicy([]).judge, url));
    }
  }
  assert.equal(peer.connections, 0);
});

test("the block list stops what a wrong judgement lets through, with and without TLS", async (context) => {
  const peer = await startPeer(context, (_request, response) => response.end());
  const hosts = ["127.0.0.1", "[::ffff:127.0.0.1]", "name.example", "mapped.example", "8.8.8.8"];
  for (const host of hosts) {
    for (const url of [peer.url("/", host), peer.url("/", host).replace("http:", "https:")]) {
      const problem = await findConnectProblem(() => "trusted", url);
      assert.equal((problem as NodeJS.ErrnoException).code, "ERR_IP_BLOCKED", url);
    }
  }
  assert.equal(peer.connections, 0);
});

test("a redirect to a forbidden place is refused and never asked", async (context) => {
  const inside = await startPeer(context, (_request, response) => response.end("secret"));
  const { egress } = setUp(context, { answers: { "inside.example": [["127.0.0.2"]] } });
  const targets = [
    inside.url("/", "127.0.0.2"),
    inside.url("/", "[::1]"),
    inside.url("/", "inside.example"),
    "http://169.254.169.254/latest/meta-data/",
    "http://user:pass@example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.2/",
    `http://example.com/${"a".repeat(3_000)}`,
  ];
  for (const location of targets) {
    const peer = await startPeer(context, (_request, response) =>
      response.writeHead(302, { location }).end(),
    );
    await assert.rejects(
      egress.request(peer.url(), { ...limits, redirectsMax: 3, urlLengthMax: 2_048 }),
      fails("blocked", true),
      location,
    );
  }
  assert.equal(inside.connections, 0);
});

test("redirects are followed up to the limit, and with a limit of 0 handed over", async (context) => {
  const { egress, clock } = setUp(context);
  const peer = await startPeer(context, (request, response) => {
    const left = Number(request.url?.slice(1));
    if (left === 0) response.end("arrived");
    else response.writeHead(302, { location: `${left - 1}` }).end("moved");
  });
  const reply = await egress.request(peer.url("/3"), { ...limits, redirectsMax: 3 });
  assert.equal(text(await reply.read()), "arrived");
  assert.equal(reply.url, peer.url("/0"));
  await assert.rejects(
    egress.request(peer.url("/4"), { ...limits, redirectsMax: 3 }),
    fails("redirect", true),
  );
  const handed = await egress.request(peer.url("/4"), limits);
  assert.equal(handed.status, 302);
  assert.equal(text(await handed.read()), "moved");
  assert.equal(clock.waiting, 0);
});

test("a redirect that names no URL is refused", async (context) => {
  const { egress } = setUp(context);
  const peer = await startPeer(context, (request, response) => {
    response.writeHead(302, request.url === "/bad" ? { location: "http://[::1" } : {}).end();
  });
  for (const path of ["/none", "/bad"]) {
    await assert.rejects(
      egress.request(peer.url(path), { ...limits, redirectsMax: 3 }),
      fails("redirect", true),
    );
  }
});

test("credentials stay with the origin they were meant for", async (context) => {
  const seen: IncomingMessage["headers"][] = [];
  const { egress } = setUp(context, { answers: { "other.example": [["127.0.0.1"]] } });
  const peer = await startPeer(context, (request, response) => {
    seen.push(request.headers);
    const location = { "/1": "/2", "/2": `http://other.example:${peer.port}/3` }[request.url ?? ""];
    response
      .writeHead(location === undefined ? 200 : 307, location === undefined ? {} : { location })
      .end();
  });
  const headers = { authorization: "Bearer x", "x-key": "k", cookie: "c", accept: "image/*" };
  await (await egress.request(peer.url("/1"), { ...limits, headers, redirectsMax: 3 })).read();
  assert.deepEqual(
    seen.map((each) => [each.authorization, each["x-key"], each.cookie, each.accept]),
    [
      ["Bearer x", "k", "c", "image/*"],
      ["Bearer x", "k", "c", "image/*"],
      [undefined, undefined, undefined, "image/*"],
    ],
  );
});

test("only listed hosts are asked, redirects included", async (context) => {
  const { egress } = setUp(context, {
    answers: { "cdn.vendor.example": [["127.0.0.1"]], "elsewhere.example": [["127.0.0.1"]] },
  });
  const peer = await startPeer(context, (request, response) => {
    if (request.url === "/away")
      response.writeHead(302, { location: peer.url("/", "elsewhere.example") });
    response.end("ok");
  });
  const request = { ...limits, redirectsMax: 1, hosts: ["*.vendor.example"] };
  const reply = await egress.request(peer.url("/", "cdn.vendor.example"), request);
  assert.equal(text(await reply.read()), "ok");
  await assert.rejects(
    egress.request(peer.url("/", "elsewhere.example"), request),
    fails("blocked", false),
  );
  await assert.rejects(
    egress.request(peer.url("/away", "cdn.vendor.example"), request),
    fails("blocked", true),
  );
  assert.equal(peer.connections, 2);
});

test("a peer that sends no headers is given up after the time for headers", async (context) => {
  const { egress, clock } = setUp(context);
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
  const { egress, clock } = setUp(context);
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
  const { egress, clock } = setUp(context, { resolve: () => new Promise(() => {}) });
  const failure = assert.rejects(
    egress.request("http://slow.example:8080/", limits),
    fails("timeout", false, /no connection within 5000 ms/),
  );
  await clock.advance(5_000);
  await failure;
  assert.equal(clock.waiting, 0);
});

test("a drip of bytes ends with the time of the whole exchange", async (context) => {
  const { egress, clock } = setUp(context);
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
  const { egress, clock } = setUp(context);
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
  const { egress, clock } = setUp(context);
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

test("a discarded reply closes its connection at once", async (context) => {
  const { egress, clock } = setUp(context);
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
  const { egress, clock } = setUp(context);
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
  const { egress } = setUp(context);
  const bomb = gzipSync(Buffer.alloc(50 * 2 ** 20));
  const peer = await startPeer(context, (_request, response) => {
    response.writeHead(200, { "content-encoding": "gzip" }).end(bomb);
  });
  const reply = await egress.request(peer.url(), { ...limits, bytesMax: 100 * 2 ** 20 });
  assert.equal(reply.status, 200);
  await assert.rejects(reply.read(), fails("broken", true, /encoded as gzip/));
});

test("a body that is announced too long is refused before a byte of it is read", async (context) => {
  const { egress, clock } = setUp(context);
  const peer = await startPeer(context, (_request, response) => {
    response.writeHead(200, { "content-length": "1001" }).flushHeaders();
  });
  const reply = await egress.request(peer.url(), limits);
  await assert.rejects(reply.read(), fails("too_large", true, /longer than 1000 bytes/));
  assert.equal(clock.waiting, 0);
});

test("a body of unknown length is cut off soon after the limit", async (context) => {
  const { egress } = setUp(context);
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
  const { egress } = setUp(context);
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
    const { egress, clock } = setUp(context);
    const peer = await startTcpPeer(context, (socket) => {
      socket.once("data", () => socket.end(bytes));
    });
    const read = async (): Promise<Uint8Array> => (await egress.request(peer.url(), limits)).read();
    await assert.rejects(read(), fails("broken", true), name);
    assert.equal(clock.waiting, 0, name);
  }
});

test("bytes beyond the announced length are not part of the reply", async (context) => {
  const { egress } = setUp(context);
  const peer = await startTcpPeer(context, (socket) => {
    socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcdEVIL"));
  });
  assert.equal(text(await (await egress.request(peer.url(), limits)).read()), "abcd");
});

test("a connection that is reset is broken, before the headers and in the middle of the body", async (context) => {
  const { egress, clock } = setUp(context);
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

test("a name without addresses and a port without a listener are unreachable, and nothing was sent", async (context) => {
  const { egress, clock } = setUp(context, { answers: { "empty.example": [[]] } });
  const peer = await startTcpPeer(context, () => {});
  const post = { ...limits, method: "POST", body: "x" } as const;
  for (const host of ["missing.example", "empty.example"]) {
    await assert.rejects(egress.request(peer.url("/", host), post), fails("unreachable", false));
  }
  await assert.rejects(
    egress.request("http://127.0.0.1:1/", post),
    fails("unreachable", false, /ECONNREFUSED/),
  );
  assert.equal(clock.waiting, 0);
});

test("headers are bounded, by default to 8 KB", async (context) => {
  const { egress } = setUp(context);
  const peer = await startPeer(context, (request, response) => {
    response.writeHead(200, { "x-long": "a".repeat(Number(request.url?.slice(1))) }).end("ok");
  });
  await assert.rejects(egress.request(peer.url("/9000"), limits), fails("too_large", true));
  await assert.rejects(egress.request(peer.url("/90000"), limits), fails("too_large", true));
  const reply = await egress.request(peer.url("/9000"), { ...limits, headerBytesMax: 16_384 });
  assert.equal(text(await reply.read()), "ok");
});

test("the caller can call off an exchange at any point", async (context) => {
  const { egress, clock } = setUp(context, { answers: {} });
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
  const { egress } = setUp(context, { resolve: () => answer.promise });
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

test("a connection serves one request, unless the caller asks to keep it", async (context) => {
  const { egress } = setUp(context);
  const peer = await startPeer(context, (request, response) =>
    response.end(request.headers.connection),
  );
  const ask = async (keepAlive: boolean): Promise<string> =>
    text(await (await egress.request(peer.url(), { ...limits, keepAlive })).read());
  assert.equal(await ask(false), "close");
  assert.equal(await ask(false), "close");
  assert.equal(peer.connections, 2);
  assert.equal(await ask(true), "keep-alive");
  await nextTurn(); // undici offers a connection again one turn after its reply
  assert.equal(await ask(true), "keep-alive");
  assert.equal(peer.connections, 3);
});

test("connections to one origin are bounded", async (context) => {
  const { egress } = setUp(context, { connectionsMax: 2 });
  const peer = await startPeer(context, (_request, response) => {
    open.push(() => response.end());
    if (open.length === 2) full.resolve();
  });
  const open: (() => void)[] = [];
  const full = Promise.withResolvers<void>();
  const replies = Array.from({ length: 4 }, async () =>
    (await egress.request(peer.url(), limits)).read(),
  );
  await full.promise;
  assert.equal(peer.connections, 2);
  while (open.length > 0 || peer.connections < 4) {
    open.shift()?.();
    await nextTurn();
  }
  for (const end of open) end();
  await Promise.all(replies);
});

test("a certificate nobody vouches for is refused, and the request never leaves", async (context) => {
  const { egress } = setUp(context, { answers: { "vendor.example": [["127.0.0.1"]] } });
  let requests = 0;
  const peer = await startTlsPeer(
    context,
    createIdentity("vendor.example"),
    (_request, response) => {
      requests += 1;
      response.end();
    },
  );
  await assert.rejects(
    egress.request(peer.url("/", "vendor.example"), { ...limits, method: "POST", body: "secret" }),
    fails("unreachable", false, /DEPTH_ZERO_SELF_SIGNED_CERT/),
  );
  const plain = await startPeer(context, (_request, response) => response.end());
  await assert.rejects(
    egress.request(plain.url().replace("http:", "https:"), limits),
    fails("unreachable", false, /SSL/),
  );
  assert.equal(requests, 0);
});

test("a certificate counts for its own name, and https is never left for http", async (context) => {
  const identity = createIdentity("vendor.example");
  const authorities = getCACertificates("default");
  setDefaultCACertificates([...authorities, identity.cert]);
  context.after(() => setDefaultCACertificates(authorities));
  const { egress } = setUp(context, {
    answers: { "vendor.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]] },
  });
  const plain = await startPeer(context, (_request, response) => response.end());
  const peer = await startTlsPeer(context, identity, (request, response) => {
    if (request.url === "/down") response.writeHead(302, { location: plain.url() });
    response.end("sealed");
  });
  const reply = await egress.request(peer.url("/", "vendor.example"), limits);
  assert.equal(text(await reply.read()), "sealed");
  await assert.rejects(
    egress.request(peer.url("/", "other.example"), limits),
    fails("unreachable", false, /ERR_TLS_CERT_ALTNAME_INVALID/),
  );
  await assert.rejects(
    egress.request(peer.url("/down", "vendor.example"), { ...limits, redirectsMax: 3 }),
    fails("redirect", true, /https to http/),
  );
  assert.equal(plain.connections, 0);
});

test("a proxy of the environment is never used", async (context) => {
  const proxy = await startPeer(context, (_request, response) => response.end("through the proxy"));
  const peer = await startPeer(context, (_request, response) => response.end("direct"));
  const script = `
    import { createEgress, systemResolver } from ${JSON.stringify(new URL("egress.ts", import.meta.url).href)};
    import { systemClock } from ${JSON.stringify(new URL("time.ts", import.meta.url).href)};
    const egress = createEgress({ allow: ["127.0.0.1"], resolve: systemResolver, clock: systemClock });
    const reply = await egress.request(${JSON.stringify(peer.url())}, { bytesMax: 100, timeoutMs: 10000 });
    process.stdout.write(await reply.read());`;
  const proxies = {
    HTTP_PROXY: proxy.url(),
    http_proxy: proxy.url(),
    ALL_PROXY: proxy.url(),
    NO_PROXY: "",
    no_proxy: "",
  };
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--input-type=module", "-e", script],
    {
      env: { ...process.env, ...proxies, NODE_USE_ENV_PROXY: "1" },
    },
  );
  assert.equal(stdout, "direct");
  assert.equal(proxy.connections, 0);
});

test("closing ends exchanges that are under way", async (context) => {
  const { egress, clock } = setUp(context);
  const peer = await startPeer(context, () => arrived.resolve());
  const arrived = Promise.withResolvers<void>();
  const failure = assert.rejects(egress.request(peer.url(), limits), fails("broken", true));
  await arrived.promise;
  await egress.close();
  await failure;
  assert.equal(clock.waiting, 0);
});

test("a caller cannot set the headers that the guard relies on, nor redirect a POST", async (context) => {
  const { egress } = setUp(context);
  for (const name of [
    "Host",
    "accept-encoding",
    "Connection",
    "Content-Length",
    "Transfer-Encoding",
  ]) {
    await assert.rejects(
      egress.request("http://127.0.0.1/", { ...limits, headers: { [name]: "1" } }),
      /is set by the guard/,
    );
  }
  await assert.rejects(
    egress.request("http://127.0.0.1/", { ...limits, method: "POST", redirectsMax: 1 }),
    /only a GET/,
  );
});

test("the system's resolver knows this machine", async () => {
  const answers = await systemResolver("localhost");
  assert.ok(answers.some((address) => address === "127.0.0.1" || address === "::1"));
});

test("an error's message names the host and never the path, the query or a header", async (context) => {
  const { egress } = setUp(context, { answers: { "inside.example": [["10.0.0.1"]] } });
  const peer = await startTcpPeer(context, (socket) => {
    socket.once("data", () => socket.destroy());
  });
  for (const url of [
    peer.url("/secret?token=secret"),
    peer.url("/secret", "inside.example"),
    peer.url("/secret", "none.example"),
  ]) {
    await assert.rejects(
      egress.request(url, { ...limits, headers: { authorization: "secret" } }),
      (error) => {
        return error instanceof EgressError && !error.message.includes("secret");
      },
    );
  }
});
