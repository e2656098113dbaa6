import assert from "node:assert/strict";
import type { IncomingMessage } from "node:http";
import { test } from "node:test";

import { createTestEgress, fails, limits, text } from "../../test/support/egress.ts";
import { startPeer } from "../../test/support/peers.ts";

test("a redirect to a forbidden place is refused and never asked", async (context) => {
  const inside = await startPeer(context, (_request, response) => response.end("secret"));
  const { egress } = createTestEgress(context, { answers: { "inside.example": [["127.0.0.2"]] } });
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
  const { egress, clock } = createTestEgress(context);
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
  const { egress } = createTestEgress(context);
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
  const { egress } = createTestEgress(context, { answers: { "other.example": [["127.0.0.1"]] } });
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
  const { egress } = createTestEgress(context, {
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
