import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpRequest } from "node:http";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { fastify } from "fastify";
import type { FastifyInstance } from "fastify";

import { AppError } from "../lib/errors.ts";
import { systemRandom } from "../lib/random.ts";
import { createDiskStorage } from "../storage/disk.ts";
import { createLinks } from "../storage/links.ts";
import { objectName } from "../storage/names.ts";
import type { Storage } from "../storage/storage.ts";
import { registerFiles } from "./files.ts";

const startMs = Date.UTC(2026, 6, 27, 12);

type Setup = {
  app: FastifyInstance;
  storage: Storage;
  now: { ms: number };
  /** Stores bytes and gives the path of a link that works for 100 seconds. */
  store: (bytes: Uint8Array, extension?: string) => Promise<{ object: string; path: string }>;
  /** Bodies opened so far, for watching them close. */
  opened: Readable[];
  /** Runs each time just before a body is opened. */
  beforeOpen: { run: () => Promise<void> };
};

async function setup(t: TestContext): Promise<Setup> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-files-"));
  const now = { ms: startMs };
  const clock = { now: () => now.ms };
  const storage = createDiskStorage({ folder, random: systemRandom });
  const links = createLinks({ secret: systemRandom.bytes(32), clock });
  const opened: Readable[] = [];
  const beforeOpen = { run: () => Promise.resolve() };
  const app = fastify();
  app.setErrorHandler((error, _request, reply) => {
    if (!(error instanceof AppError)) return reply.code(500).send({ reason: String(error) });
    const { reason, message } = error;
    return reply.code(reason === "file_expired" ? 410 : 404).send({ reason, message });
  });
  const watched: Pick<Storage, "open" | "stat"> = {
    stat: (name) => storage.stat(name),
    open: async (name, range) => {
      await beforeOpen.run();
      const found = await storage.open(name, range);
      if (found !== null) opened.push(found.stream);
      return found;
    },
  };
  registerFiles(app, { storage: watched, links, clock });
  t.after(async () => {
    await app.close();
    await rm(folder, { recursive: true });
  });
  const store = async (bytes: Uint8Array, extension = "png") => {
    const object = objectName(systemRandom);
    await storage.put(object, bytes);
    return { object, path: links.sign(object, extension, startMs + 100_000) };
  };
  return { app, storage, now, store, opened, beforeOpen };
}

test("a link serves the bytes as they are, with headers that let a browser show and never run them", async (t) => {
  const { app, now, store } = await setup(t);
  const bytes = systemRandom.bytes(100_000);
  const { object, path } = await store(bytes);
  now.ms += 30_500;
  const reply = await app.inject(path);
  assert.equal(reply.statusCode, 200);
  assert.ok(bytes.equals(reply.rawPayload));
  const { connection: _connection, date: _date, ...headers } = reply.headers;
  assert.deepEqual(headers, {
    "content-type": "image/png",
    "content-length": "100000",
    "content-disposition": `inline; filename="${object}.png"`,
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "cross-origin",
    "referrer-policy": "no-referrer",
    "cache-control": "private, immutable, max-age=69",
    "accept-ranges": "bytes",
    "access-control-allow-origin": "*",
    etag: `"${object}"`,
  });
});

test("every kind of picture is served under its exact type", async (t) => {
  const { app, store } = await setup(t);
  const types = { png: "image/png", jpg: "image/jpeg", webp: "image/webp", gif: "image/gif" };
  for (const [extension, contentType] of Object.entries(types)) {
    const { path } = await store(Buffer.from("x"), extension);
    assert.equal((await app.inject(path)).headers["content-type"], contentType);
  }
});

test("HEAD tells the same headers without a body, and opens nothing", async (t) => {
  const { app, store, opened } = await setup(t);
  const { path } = await store(systemRandom.bytes(5_000));
  const got = await app.inject({ method: "GET", url: path });
  opened.length = 0;
  const head = await app.inject({ method: "HEAD", url: path, headers: { range: "bytes=0-1" } });
  assert.equal(head.statusCode, 200);
  assert.equal(head.rawPayload.byteLength, 0);
  assert.equal(head.headers["content-length"], "5000");
  const { date: _a, ...gotHeaders } = got.headers;
  const { date: _b, ...headHeaders } = head.headers;
  assert.deepEqual(headHeaders, gotHeaders);
  assert.equal(opened.length, 0);
});

test("a range is answered with its part", async (t) => {
  const { app, store } = await setup(t);
  const bytes = systemRandom.bytes(10_000);
  const { path } = await store(bytes);
  for (const [range, start, end] of [
    ["bytes=0-99", 0, 99],
    ["bytes=9000-", 9_000, 9_999],
    ["bytes=-1", 9_999, 9_999],
  ] as const) {
    const reply = await app.inject({ url: path, headers: { range } });
    assert.equal(reply.statusCode, 206);
    assert.equal(reply.headers["content-range"], `bytes ${start}-${end}/10000`);
    assert.equal(reply.headers["content-length"], String(end - start + 1));
    assert.equal(reply.headers["content-type"], "image/png");
    assert.ok(bytes.subarray(start, end + 1).equals(reply.rawPayload), range);
  }
});

test("a range outside the file is 416 with its size, and is not cached", async (t) => {
  const { app, store } = await setup(t);
  const { path } = await store(Buffer.alloc(10));
  const reply = await app.inject({ url: path, headers: { range: "bytes=10-" } });
  assert.equal(reply.statusCode, 416);
  assert.equal(reply.headers["content-range"], "bytes */10");
  assert.equal(reply.headers["cache-control"], "no-store");
  assert.equal(reply.rawPayload.byteLength, 0);
});

test("several ranges, and a range of another version, get the whole file", async (t) => {
  const { app, object, path } = await withFile(t);
  for (const headers of [
    { range: "bytes=0-1,3-4" },
    { range: "bytes=0-1", "if-range": '"other"' },
    { range: "lines=0-1" },
  ]) {
    const reply = await app.inject({ url: path, headers });
    assert.equal(reply.statusCode, 200);
    assert.equal(reply.rawPayload.byteLength, 10);
  }
  const current = { range: "bytes=0-1", "if-range": `"${object}"` };
  assert.equal((await app.inject({ url: path, headers: current })).statusCode, 206);
});

async function withFile(t: TestContext): Promise<Setup & { object: string; path: string }> {
  const parts = await setup(t);
  return { ...parts, ...(await parts.store(Buffer.alloc(10))) };
}

test("a browser that has the file is told so, before its range is looked at", async (t) => {
  const { app, object, path } = await withFile(t);
  for (const tag of [`"${object}"`, `W/"${object}"`, `"a", "${object}"`, "*"]) {
    const headers = { "if-none-match": tag, range: "bytes=0-1" };
    const reply = await app.inject({ url: path, headers });
    assert.equal(reply.statusCode, 304, tag);
    assert.equal(reply.headers.etag, `"${object}"`);
    assert.match(String(reply.headers["cache-control"]), /^private, immutable, max-age=100$/);
    assert.equal(reply.rawPayload.byteLength, 0);
  }
  const other = await app.inject({ url: path, headers: { "if-none-match": '"other"' } });
  assert.equal(other.statusCode, 200);
});

/** Refusals must be readable by pages, kept by no cache, and carry none of the file's headers. */
function assertRefusal(headers: Record<string, unknown>): void {
  assert.equal(headers["access-control-allow-origin"], "*");
  assert.equal(headers["cache-control"], "no-store");
  for (const name of ["etag", "content-disposition", "accept-ranges", "content-security-policy"]) {
    assert.equal(headers[name], undefined, name);
  }
}

test("a signature that is not ours is 404, whatever the file", async (t) => {
  const { app, path, object } = await withFile(t);
  const forged = [
    path.replace(/\.png$/, ".jpg"),
    path.replace(object, objectName(systemRandom)),
    path.replace(/^\/f\/\d/, "/f/9"),
    `/f/x/${object}.png`,
    "/f/a/b",
    "/f/..%2f..%2f/%2e%2e%2fetc",
    `/f/%00/${object}.png`,
  ];
  for (const url of forged) {
    const reply = await app.inject(url);
    assert.equal(reply.statusCode, 404, url);
    assert.equal(reply.json().reason, "file_not_found", url);
    assertRefusal(reply.headers);
  }
});

test("a late link is 410 with the time it ended, also for HEAD and after the bytes are gone", async (t) => {
  const { app, storage, now, path, object } = await withFile(t);
  now.ms = startMs + 100_000;
  for (const removed of [false, true]) {
    if (removed) await storage.remove(object);
    const reply = await app.inject(path);
    assert.equal(reply.statusCode, 410);
    assert.equal(reply.json().reason, "file_expired");
    assert.match(reply.json().message, /expired at 2026-07-27T12:01:40Z/);
    assertRefusal(reply.headers);
    assert.equal((await app.inject({ method: "HEAD", url: path })).statusCode, 410);
  }
});

test("a late link with a forged signature is 404, so a guess learns nothing", async (t) => {
  const { app, now, path } = await withFile(t);
  now.ms = startMs + 100_000;
  assert.equal((await app.inject(path.replace(/\.png$/, ".gif"))).statusCode, 404);
});

test("bytes that are gone before their time are 404", async (t) => {
  const { app, storage, path, object } = await withFile(t);
  await storage.remove(object);
  for (const method of ["GET", "HEAD"] as const) {
    const reply = await app.inject({ method, url: path, headers: { "if-none-match": "*" } });
    assert.equal(reply.statusCode, 404);
    assertRefusal(reply.headers);
  }
});

test("a file swept between look-up and opening is 404 without the file's headers", async (t) => {
  const { app, storage, path, object, beforeOpen } = await withFile(t);
  beforeOpen.run = () => storage.remove(object);
  const reply = await app.inject({ url: path, headers: { range: "bytes=0-1" } });
  assert.equal(reply.statusCode, 404);
  assertRefusal(reply.headers);
  assert.equal(reply.headers["content-range"], undefined);
});

test("other methods are not served", async (t) => {
  const { app, path } = await withFile(t);
  for (const method of ["POST", "PUT", "DELETE"] as const) {
    assert.equal((await app.inject({ method, url: path })).statusCode, 404);
  }
});

async function listen(app: FastifyInstance): Promise<number> {
  await app.listen({ host: "127.0.0.1", port: 0 });
  // The server listens on an address and not on a pipe.
  return (app.server.address() as AddressInfo).port;
}

test("over a real connection a large file arrives whole and its body is closed", async (t) => {
  const { app, store, opened } = await setup(t);
  const bytes = systemRandom.bytes(8_000_000);
  const { path } = await store(bytes);
  const reply = await fetch(`http://127.0.0.1:${await listen(app)}${path}`);
  assert.ok(bytes.equals(Buffer.from(await reply.arrayBuffer())));
  assert.ok(opened[0]!.closed || (await once(opened[0]!, "close")));
});

test("a client that leaves in the middle closes the body", async (t) => {
  const { app, store, opened } = await setup(t);
  const { path } = await store(Buffer.alloc(64_000_000));
  const outgoing = httpRequest({ port: await listen(app), host: "127.0.0.1", path }).end();
  const [reply] = (await once(outgoing, "response")) as [IncomingMessage];
  await once(reply, "data");
  reply.on("error", () => undefined);
  const body = opened[0]!;
  assert.equal(body.closed, false);
  const closed = once(body, "close");
  reply.destroy();
  await closed;
  assert.ok(body.destroyed && !body.readableEnded);
});

test("a client that left before the body was opened closes it too", async (t) => {
  const { app, store, opened, beforeOpen } = await setup(t);
  const { path } = await store(Buffer.alloc(64_000_000));
  const gone = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  app.addHook("onRequest", (_request, reply, done) => {
    reply.raw.once("close", () => gone.resolve());
    done();
  });
  beforeOpen.run = async () => {
    asked.resolve();
    await gone.promise;
  };
  const outgoing = httpRequest({ port: await listen(app), host: "127.0.0.1", path }).end();
  outgoing.on("error", () => undefined);
  await asked.promise;
  outgoing.destroy();
  await gone.promise;
  while (opened.length === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(opened[0]!.closed || (await once(opened[0]!, "close")));
});

test("a hundred downloads at once are served, and every body is closed", async (t) => {
  const { app, store, opened } = await setup(t);
  const bytes = systemRandom.bytes(200_000);
  const { path } = await store(bytes);
  const url = `http://127.0.0.1:${await listen(app)}${path}`;
  const bodies = await Promise.all(
    Array.from({ length: 100 }, async () => buffer((await fetch(url)).body!)),
  );
  assert.ok(bodies.every((body) => bytes.equals(body)));
  assert.equal(opened.length, 100);
  for (const body of opened) assert.ok(body.closed || (await once(body, "close")));
});
