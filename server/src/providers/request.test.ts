import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { z } from "zod";

import { callAt, startMs } from "../../test/contracts/adapter-driver.ts";
import { startVendorServer } from "../../test/emulators/vendor-server.ts";
import type { EmulatorReply } from "../../test/emulators/vendor-server.ts";
import { createTestSend } from "../../test/support/adapters.ts";
import { createTestClock } from "../../test/support/clock.ts";
import { systemClock } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import { ProviderError } from "./adapter.ts";
import type { Call, FailureKind } from "./adapter.ts";
import { base64Schema, parseBase64 } from "./base64.ts";
import { parseReply, reportHealth, retryAfterMs } from "./request.ts";
import type { VendorReply, VendorRequest } from "./request.ts";

const verbs = ["submit", "poll", "cancel", "check"] as const;
const call: Call = callAt(startMs, "att_1");

test("a request that never left is unavailable, whatever it was for", async (context) => {
  const { send } = setUp(context);
  const closed = await startVendorServer(() => ({ status: 200, body: {} }));
  await closed.stop();
  for (const url of [closed.origin, "http://10.0.0.1/", "http://nowhere.example/", "nonsense"]) {
    for (const verb of verbs) {
      await assert.rejects(send(requestOf(url, { verb }), call), fails("unavailable"), url);
    }
  }
});

test("a call that was called off beforehand is unavailable and reaches nobody", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: {} });
  const off = { ...call, signal: AbortSignal.abort() };
  await assert.rejects(send(requestOf(server.origin), off), fails("unavailable"));
  assert.equal(server.requests.length, 0);
});

test("a request that left without an answer is lost when it was a submit, else unavailable", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: { text: "x".repeat(1_000) } });
  for (const verb of verbs) {
    const kind = verb === "submit" ? "lost" : "unavailable";
    for (const how of ["reset", "cut"] as const) {
      server.misbehave(how === "cut" ? { kind: how, share: 0.9 } : { kind: how });
      await assert.rejects(send(requestOf(server.origin, { verb }), call), fails(kind), how);
    }
    for (const how of ["hang", "hang_after_headers"] as const) {
      server.misbehave({ kind: how });
      const controller = new AbortController();
      const asked = server.untilAsked(server.requests.length + 1);
      const pending = send(requestOf(server.origin, { verb }), {
        ...call,
        signal: controller.signal,
      });
      const ended = assert.rejects(pending, fails(kind), how);
      await asked;
      controller.abort();
      await ended;
    }
  }
});

test("a submit waits for as long as its caller does, everything else half a minute", async (context) => {
  const clock = createTestClock();
  const { send } = setUp(context, clock);
  const server = await startServer(context, { status: 200, body: {} });
  server.misbehave({ kind: "hang" });
  const poll = assert.rejects(
    send(requestOf(server.origin, { verb: "poll" }), call),
    fails("unavailable"),
  );
  await server.untilAsked(1);
  await clock.advance(30_000);
  await poll;
  const controller = new AbortController();
  let isOver = false;
  const submit = send(requestOf(server.origin), { ...call, signal: controller.signal }).finally(
    () => {
      isOver = true;
    },
  );
  const ended = assert.rejects(submit, fails("lost"));
  await server.untilAsked(2);
  await clock.advance(1_800_000);
  assert.equal(isOver, false);
  controller.abort();
  await ended;
});

test("a limit on the wait for headers is kept", async (context) => {
  const clock = createTestClock();
  const { send } = setUp(context, clock);
  const server = await startServer(context, { status: 200, body: {} });
  server.misbehave({ kind: "hang" });
  const pending = send(requestOf(server.origin, { headersTimeoutMs: 1_000 }), call);
  const ended = assert.rejects(pending, fails("lost"));
  await server.untilAsked(1);
  await clock.advance(1_000);
  await ended;
});

test("a reply above its limit is garbled, and not asked for again", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: { text: "x".repeat(1_000) } });
  for (const verb of ["submit", "poll"] as const) {
    const request = requestOf(server.origin, { verb, bytesMax: 500 });
    await assert.rejects(send(request, call), fails("garbled"));
  }
});

test("the status of an error counts although its body is cut, endless or no JSON", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 429, body: { text: "x".repeat(100_000) } });
  server.misbehave({ kind: "cut", share: 0.5 });
  const { status, json } = await send(requestOf(server.origin), call);
  assert.deepEqual([status, json], [429, undefined]);
  const page = Buffer.alloc(3_000_000, "<p>no</p> ");
  server.misbehave({ kind: "instead", reply: { status: 400, body: page } });
  const long = await send(requestOf(server.origin, { bytesMax: 4_000_000 }), call);
  assert.deepEqual([long.status, long.json, long.excerpt.length], [400, undefined, 300]);
});

test("of an endless error only the beginning is read", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: {} });
  server.misbehave({ kind: "huge", bytes: 2 ** 31, status: 500 });
  const { status, excerpt } = await send(requestOf(server.origin), call);
  assert.deepEqual([status, excerpt], [500, "[redacted]"]);
  assert.ok(server.bytesSent < 2 ** 25, `${server.bytesSent} bytes were sent`);
});

test("a reply that stops within its body is given up after five minutes", async (context) => {
  const clock = createTestClock();
  const reading = Promise.withResolvers<void>();
  const { send } = setUp(context, {
    ...clock,
    after: (ms, run) => {
      if (ms === 300_000) reading.resolve();
      return clock.after(ms, run);
    },
  });
  const server = await startServer(context, { status: 200, body: {} });
  server.misbehave({ kind: "hang_after_headers" });
  const ended = assert.rejects(send(requestOf(server.origin), call), fails("lost"));
  await reading.promise;
  await clock.advance(300_000);
  await ended;
});

test("an error that is announced as endless still ends in its status", async (context) => {
  const { send } = setUp(context);
  const origin = await startRawServer(
    context,
    "HTTP/1.1 503 No\r\ncontent-length: 99999999999\r\n\r\n{",
  );
  assert.equal((await send(requestOf(origin), call)).status, 503);
});

test("a redirect is never followed: nothing began at a submit, a poll has lost sight of work", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: {} });
  const headers = { location: `${server.origin}/elsewhere` };
  for (const status of [301, 302, 303, 307, 308, 304]) {
    server.misbehave({ kind: "instead", reply: { status, headers, body: {} } });
    await assert.rejects(send(requestOf(server.origin), call), fails("bad_request"));
    const poll = requestOf(server.origin, { verb: "poll" });
    await assert.rejects(send(poll, call), fails("garbled"));
  }
  assert.ok(server.requests.every(({ path }) => path === "/"));
});

test("only the hosts that are named are asked", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: {} });
  const elsewhere = requestOf(server.origin, { verb: "poll", hosts: ["*.example.com"] });
  await assert.rejects(send(elsewhere, call), fails("unavailable"));
  assert.equal(server.requests.length, 0);
  await send({ ...elsewhere, hosts: ["127.0.0.1"] }, call);
  assert.equal(server.requests.length, 1);
});

test("JSON is read whatever its script, and with a byte order mark", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: { text: "plain" } });
  for (const text of ['{"a":"plain"}', '{"a":"猫 é"}', '\uFEFF{"a":"mark"}']) {
    server.misbehave({ kind: "instead", reply: { status: 200, body: Buffer.from(text) } });
    const { json } = await send(requestOf(server.origin), call);
    assert.deepEqual(json, JSON.parse(text.replace("\uFEFF", "")));
  }
});

test("a picture of megabytes comes as bytes, and is no part of the excerpt", async (context) => {
  const { send } = setUp(context);
  const picture = Buffer.alloc(3_000_000, "all kinds of bytes");
  const server = await startServer(context, {
    status: 200,
    body: { data: [{ b64_json: picture.toString("base64") }], size: "1x1" },
  });
  const reply = await send(requestOf(server.origin), call);
  const schema = z.object({
    data: z.array(z.object({ b64_json: base64Schema })),
    size: z.string(),
  });
  const { data, size } = parseReply(schema, reply);
  assert.deepEqual(parseBase64(data[0]!.b64_json), picture);
  assert.equal(size, "1x1");
  assert.equal(reply.excerpt, '{"data":[{"b64_json":"[redacted]');
});

test("an excerpt shows no key, no picture and no signed link", async (context) => {
  const { send } = setUp(context);
  const key = "topsecretvalue123";
  const body = {
    echo: `Bearer ${key}`,
    other: "sk-proj-abcdef123456",
    google: "AIzaSyA1234567890abcdef",
    link: "https://cdn.example.com/a.png?sig=hidden&se=1",
    picture: "iVBORw0KGgo".repeat(10),
  };
  const server = await startServer(context, { status: 400, body });
  const request = requestOf(server.origin);
  for (const headers of [{ authorization: `Bearer ${key}` }, { "x-key": key }]) {
    const { excerpt } = await send({ ...request, headers }, call);
    assert.match(excerpt, /^\{"echo":/);
    for (const secret of [key, "sk-proj", "AIza", "hidden", "iVBOR"]) {
      assert.ok(!excerpt.includes(secret), `${secret} in ${excerpt}`);
    }
  }
});

test("no part of a failure carries the key", async (context) => {
  const { send } = setUp(context);
  const server = await startServer(context, { status: 200, body: {} });
  server.misbehave({ kind: "reset" });
  const headers = { authorization: "Bearer topsecretvalue123" };
  await assert.rejects(send({ ...requestOf(server.origin), headers }, call), (error) => {
    assert.ok(error instanceof ProviderError);
    const cause = error.cause as Error;
    return ![error.message, error.stack, String(cause), String(cause.cause)]
      .join()
      .includes("topsecret");
  });
});

test("a submit opens a connection of its own, polls share one", async (context) => {
  const { send } = setUp(context);
  const connections: Socket[] = [];
  const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
  const origin = await startRawServer(context, answer, connections);
  for (const verb of ["submit", "submit", "poll", "poll", "poll"] as const) {
    // Without a body, a request is one piece to a server that answers every piece.
    await send({ verb, method: "GET", url: origin, headers: {} }, call);
    // A connection is idle again a moment after its reply has been read.
    await nextTurn();
  }
  assert.equal(connections.length, 3);
});

test("a reply of another shape is garbled, with the place in the message", () => {
  const reply: VendorReply = { status: 200, headers: {}, json: { a: { b: 1 } }, excerpt: '{"a":' };
  assert.deepEqual(parseReply(z.object({ a: z.object({ b: z.number() }) }), reply), {
    a: { b: 1 },
  });
  const wrong = z.object({ a: z.object({ b: z.string() }) });
  assert.throws(() => parseReply(wrong, reply), /another shape at a\.b: HTTP 200 \{"a":/);
  assert.throws(() => parseReply(wrong, { ...reply, json: undefined }), fails("garbled"));
});

test("the wait that is asked for is read in every form, and never longer than a day", () => {
  const cases: [Record<string, string>, number | undefined][] = [
    [{}, undefined],
    [{ "retry-after": "12" }, 12_000],
    [{ "retry-after": "1.5" }, 1_500],
    [{ "retry-after": "0" }, 0],
    [{ "retry-after": "-5" }, undefined],
    [{ "retry-after": "soon" }, undefined],
    [{ "retry-after": new Date(startMs + 9_000).toUTCString() }, 9_000],
    [{ "retry-after": new Date(startMs - 9_000).toUTCString() }, 0],
    [{ "retry-after": "99999999999" }, 86_400_000],
    [{ "retry-after-ms": "250", "retry-after": "1" }, 250],
    [{ "retry-after-ms": "x", "retry-after": "1" }, 1_000],
  ];
  for (const [headers, expected] of cases) {
    assert.equal(retryAfterMs(headers, startMs), expected, JSON.stringify(headers));
  }
});

test("a health call tells what is wrong instead of throwing it", async () => {
  const told = await reportHealth(() =>
    Promise.reject(new ProviderError("unauthorized", "HTTP 401")),
  );
  assert.deepEqual(told, { ok: false, detail: "HTTP 401" });
  await assert.rejects(
    reportHealth(() => Promise.reject(new TypeError("ours"))),
    TypeError,
  );
});

function setUp(context: TestContext, clock: Clock = systemClock) {
  const { send, close } = createTestSend(clock);
  context.after(close);
  return { send };
}

async function startServer(context: TestContext, reply: EmulatorReply) {
  const server = await startVendorServer(() => reply);
  context.after(server.stop);
  return server;
}

/** Answers every request with these bytes, and leaves the connection open. */
async function startRawServer(context: TestContext, answer: string, connections: Socket[] = []) {
  const server = createServer((socket) => {
    connections.push(socket);
    socket.on("error", () => {}).on("data", () => void socket.write(answer));
  });
  context.after(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server that listens has a port.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function requestOf(url: string, wishes: Partial<VendorRequest> = {}): VendorRequest {
  return { verb: "submit", method: "POST", url, headers: {}, body: "{}", ...wishes };
}

function fails(kind: FailureKind): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.equal(error.kind, kind, error.message);
    return true;
  };
}
