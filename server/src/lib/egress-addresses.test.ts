import assert from "node:assert/strict";
import { test } from "node:test";

import * as undici from "undici";

import { createTestEgress, fails, limits, text } from "../../test/support/egress.ts";
import { startPeer } from "../../test/support/peers.ts";
import { createAddressPolicy } from "./address.ts";
import type { AddressPolicy } from "./address.ts";
import { createConnector, systemResolver } from "./egress.ts";

test("a name is asked for once a connection, and exactly the judged answer is connected to", async (context) => {
  const { egress, asked } = createTestEgress(context, {
    answers: { "only-here.example": [["127.0.0.1"]] },
  });
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
      const { egress } = createTestEgress(context, { answers: { "rebind.example": [answer] } });
      await assert.rejects(
        egress.request(peer.url("/", "rebind.example"), limits),
        fails("blocked", false),
      );
    }
    const { egress } = createTestEgress(context, {
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
  const { egress } = createTestEgress(context, {
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
  const { egress } = createTestEgress(context, {
    allow: [],
    answers: { localhost: [["127.0.0.1"]] },
  });
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
  const { egress } = createTestEgress(context, {
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
  const { egress } = createTestEgress(context, {
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

test("the system's resolver knows this machine", async () => {
  const answers = await systemResolver("localhost");
  assert.ok(answers.some((address) => address === "127.0.0.1" || address === "::1"));
});
