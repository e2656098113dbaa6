import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { promisify } from "node:util";

import { createTestEgress, fails, limits, text } from "../../test/support/egress.ts";
import { createIdentity, startPeer, startTcpPeer, startTlsPeer } from "../../test/support/peers.ts";
import { EgressError } from "./egress-error.ts";

test("a request carries what the caller gave and declines every encoding", async (context) => {
  const { egress, clock } = createTestEgress(context);
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
  const { egress } = createTestEgress(context);
  const peer = await startPeer(context, (request, response) => {
    const hash = createHash("sha256");
    request.on("data", (chunk: Buffer) => hash.update(chunk));
    request.on("end", () => response.end(hash.digest("hex")));
  });
  const body = Buffer.alloc(40 * 2 ** 20, "abcdefg");
  const reply = await egress.request(peer.url(), { ...limits, method: "POST", body });
  assert.equal(text(await reply.read()), createHash("sha256").update(body).digest("hex"));
});

test("a name without addresses and a port without a listener are unreachable, and nothing was sent", async (context) => {
  const { egress, clock } = createTestEgress(context, { answers: { "empty.example": [[]] } });
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

test("a connection serves one request, unless the caller asks to keep it", async (context) => {
  const { egress } = createTestEgress(context);
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
  const { egress } = createTestEgress(context, { connectionsMax: 2 });
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
  const { egress } = createTestEgress(context, { answers: { "vendor.example": [["127.0.0.1"]] } });
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
  const { egress } = createTestEgress(context, {
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
  const { egress, clock } = createTestEgress(context);
  const peer = await startPeer(context, () => arrived.resolve());
  const arrived = Promise.withResolvers<void>();
  const failure = assert.rejects(egress.request(peer.url(), limits), fails("broken", true));
  await arrived.promise;
  await egress.close();
  await failure;
  assert.equal(clock.waiting, 0);
});

test("a caller cannot set the headers that the guard relies on, nor redirect a POST", async (context) => {
  const { egress } = createTestEgress(context);
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

test("an error's message names the host and never the path, the query or a header", async (context) => {
  const { egress } = createTestEgress(context, { answers: { "inside.example": [["10.0.0.1"]] } });
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
