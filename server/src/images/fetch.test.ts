import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { createTestClock } from "../../test/support/clock.ts";
import { startPeer, startTcpPeer } from "../../test/support/peers.ts";
import { EgressError } from "../lib/egress-error.ts";
import { createEgress } from "../lib/egress.ts";
import type { Egress } from "../lib/egress.ts";
import { fetchReference, ReferenceUnavailable } from "./fetch.ts";
import type { FetchOptions } from "./fetch.ts";
import { PictureError } from "./picture.ts";

function setUp(context: TestContext) {
  const clock = createTestClock();
  const egress = createEgress({
    allow: ["127.0.0.1"],
    clock,
    resolve: () => Promise.reject(new Error("ENOTFOUND")),
  });
  context.after(() => egress.close());
  const calling = new AbortController();
  return { egress, clock, calling, options: { bytesMax: 2 ** 20, signal: calling.signal } };
}

/** The bytes of a picture, as they came. */
function fetchBytes(egress: Egress, url: string, options: FetchOptions): Promise<Uint8Array> {
  return fetchReference(egress, url, options, (bytes) => Promise.resolve(bytes));
}

/** A peer that answers only when told to. */
async function startHoldingPeer(context: TestContext) {
  const held: ServerResponse[] = [];
  const watchers: { count: number; resolve: () => void }[] = [];
  const peer = await startPeer(context, (_request, response) => {
    held.push(response);
    for (const { count, resolve } of watchers) if (held.length >= count) resolve();
  });
  const untilHeld = (count: number): Promise<void> =>
    new Promise((resolve) => {
      if (held.length >= count) resolve();
      else watchers.push({ count, resolve });
    });
  return { peer, held, untilHeld };
}

function isAborted(error: unknown): boolean {
  return error instanceof EgressError && error.kind === "aborted";
}

test("a picture is fetched through redirects, byte for byte", async (context) => {
  const { egress, options } = setUp(context);
  const picture = Buffer.from("not looked at here");
  const peer = await startPeer(context, (request, response) => {
    if (request.url === "/3") response.end(picture);
    else response.writeHead(302, { location: `/${Number(request.url?.slice(1)) + 1}` }).end();
  });
  assert.deepEqual(Buffer.from(await fetchBytes(egress, peer.url("/0"), options)), picture);
});

test("every reason why a picture cannot be had reads the same to the caller", async (context) => {
  const { egress, options } = setUp(context);
  const missing = await startPeer(context, (_request, response) =>
    response.writeHead(404).end("x"),
  );
  const inside = await startPeer(context, (_request, response) => response.end("secret"));
  const broken = await startTcpPeer(context, (socket) => {
    socket.once("data", () => socket.destroy());
  });
  const lost = await startPeer(context, (_request, response) => {
    response.writeHead(302, { location: inside.url("/", "127.0.0.2") }).end();
  });
  const cases: [string, RegExp][] = [
    [missing.url(), /answered 404/],
    [inside.url("/", "127.0.0.2"), /blocked/],
    [lost.url(), /blocked/],
    ["http://169.254.169.254/", /blocked/],
    ["http://127.0.0.1:1/", /unreachable: .*ECONNREFUSED/],
    ["http://nowhere.example/", /unreachable: .*ENOTFOUND/],
    [broken.url(), /broken/],
    ["nonsense", /blocked: is not a valid URL/],
  ];
  for (const [url, detail] of cases) {
    await assert.rejects(fetchBytes(egress, url, options), (error) => {
      assert.ok(error instanceof ReferenceUnavailable, url);
      assert.equal(error.message, "the picture could not be fetched from its URL");
      assert.match(error.detail ?? "", detail);
      return true;
    });
  }
  assert.equal(inside.connections, 0);
});

test("a picture that is too large is refused by its size", async (context) => {
  const { egress, options } = setUp(context);
  const peer = await startPeer(context, (_request, response) =>
    response.end(Buffer.alloc(2 ** 20 + 1)),
  );
  await assert.rejects(fetchBytes(egress, peer.url(), options), (error) => {
    return error instanceof PictureError && error.message === "the picture is larger than 1 MB";
  });
});

test("a timeout is tried once more, and nothing else is", async (context) => {
  const { egress, clock, options } = setUp(context);
  const { peer, held, untilHeld } = await startHoldingPeer(context);
  const second = fetchBytes(egress, peer.url(), options);
  await untilHeld(1);
  await clock.advance(10_000);
  await untilHeld(2);
  held[1]?.end("late but here");
  assert.equal(Buffer.from(await second).toString(), "late but here");

  const never = assert.rejects(fetchBytes(egress, peer.url(), options), ReferenceUnavailable);
  await untilHeld(3);
  await clock.advance(10_000);
  await untilHeld(4);
  await clock.advance(10_000);
  await never;

  const failing = assert.rejects(fetchBytes(egress, peer.url(), options), ReferenceUnavailable);
  await untilHeld(5);
  held[4]?.writeHead(500).end();
  await failing;
  const cutOff = assert.rejects(fetchBytes(egress, peer.url(), options), ReferenceUnavailable);
  await untilHeld(6);
  held[5]?.destroy();
  await cutOff;
  assert.equal(held.length, 6);
  assert.equal(clock.waiting, 0);
});

test("a try that drips ends after 20 seconds", async (context) => {
  const { egress, clock, options } = setUp(context);
  const { peer, held, untilHeld } = await startHoldingPeer(context);
  const failure = assert.rejects(fetchBytes(egress, peer.url(), options), ReferenceUnavailable);
  for (const [index, tries] of [1, 2].entries()) {
    await untilHeld(tries);
    for (let elapsedMs = 0; elapsedMs < 20_000; elapsedMs += 5_000) {
      held[index]?.write(".");
      await clock.untilWaiting(2);
      await clock.advance(5_000);
    }
  }
  await failure;
  assert.equal(held.length, 2);
});

test("sixteen pictures are fetched at once, the others wait", async (context) => {
  const { egress, options } = setUp(context);
  const { peer, held, untilHeld } = await startHoldingPeer(context);
  const fetches = Array.from({ length: 20 }, () => fetchBytes(egress, peer.url(), options));
  await untilHeld(16);
  await nextTurn();
  assert.equal(peer.connections, 16);
  for (let answered = 0; answered < 20; answered += 1) {
    await untilHeld(answered + 1);
    held[answered]?.end("ok");
  }
  await Promise.all(fetches);
});

test("one account's silent URLs leave places for the others", async (context) => {
  const { egress, calling, options } = setUp(context);
  const { peer, untilHeld } = await startHoldingPeer(context);
  const greedy = Array.from({ length: 40 }, () =>
    assert.rejects(fetchBytes(egress, peer.url(), { ...options, account: "greedy" }), EgressError),
  );
  await untilHeld(8);
  const quick = await startPeer(context, (_request, response) => response.end("ok"));
  const modest = { ...options, account: "modest" };
  assert.equal((await fetchBytes(egress, quick.url(), modest)).byteLength, 2);
  assert.equal(peer.connections, 8);
  calling.abort();
  await Promise.all(greedy);
});

test("a call-off ends fetches that run and fetches that wait, and leaves their places free", async (context) => {
  const { egress, clock, calling, options } = setUp(context);
  const { peer, untilHeld } = await startHoldingPeer(context);
  const fetches = Array.from({ length: 20 }, () =>
    assert.rejects(fetchBytes(egress, peer.url(), options), isAborted),
  );
  await untilHeld(16);
  const waiting = new AbortController();
  const signal = waiting.signal;
  const last = assert.rejects(fetchBytes(egress, peer.url(), { ...options, signal }), isAborted);
  waiting.abort();
  await last;
  calling.abort();
  await Promise.all(fetches);
  await assert.rejects(fetchBytes(egress, peer.url(), options), isAborted);
  const quick = await startPeer(context, (_request, response) => response.end("ok"));
  const fresh = { ...options, signal: new AbortController().signal };
  assert.equal((await fetchBytes(egress, quick.url(), fresh)).byteLength, 2);
  assert.equal(peer.connections, 16);
  assert.equal(clock.waiting, 0);
});
