import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { fastify } from "fastify";

import { listen } from "../../test/support/http.ts";
import { startS3Server } from "../../test/support/s3-server.ts";
import { AppError } from "../lib/errors.ts";
import { systemRandom } from "../lib/random.ts";
import { systemClock } from "../lib/time.ts";
import { createLinks } from "../storage/links.ts";
import { objectName } from "../storage/names.ts";
import { findS3Target } from "../storage/s3-target.ts";
import { createS3Storage } from "../storage/s3.ts";
import { registerFiles } from "./files.ts";

/** The routes of files over an S3 server. Its presigned links live by the real clock, as the server does. */
async function setupS3(t: TestContext, downloads: "redirect" | "stream") {
  const server = await startS3Server(t);
  const now = { ms: systemClock.now() };
  const links = createLinks({ secret: systemRandom.bytes(32), clock: { now: () => now.ms } });
  const setting = `s3://${server.bucket}?endpoint=${server.endpoint}&downloads=${downloads}`;
  const storage = createS3Storage({
    target: findS3Target(setting)!,
    credentials: server.credentials,
    clock: systemClock,
    random: systemRandom,
  });
  const app = fastify();
  app.setErrorHandler((error, _request, reply) =>
    error instanceof AppError ? reply.code(404).send(error.message) : reply.code(503).send("down"),
  );
  registerFiles(app, { storage, links, clock: { now: () => now.ms } });
  t.after(async () => {
    await app.close();
    await storage.close();
  });
  const store = async (bytes: Uint8Array, leftMs = 3_600_000) => {
    const object = objectName(systemRandom);
    await storage.put(object, bytes);
    return { object, path: links.sign(object, "png", now.ms + leftMs) };
  };
  return { app, server, storage, now, store };
}

test("where callers reach the store, a link leads there, and the picture keeps its name, type and time", async (t) => {
  const { app, store } = await setupS3(t, "redirect");
  const bytes = systemRandom.bytes(10_000);
  const { object, path } = await store(bytes);
  const origin = await listen(app);
  const redirect = await fetch(`${origin}${path}`, { redirect: "manual" });
  assert.equal(redirect.status, 302);
  assert.equal(redirect.headers.get("cache-control"), "private, max-age=240");
  assert.equal(redirect.headers.get("access-control-allow-origin"), "*");
  assert.equal(redirect.headers.get("referrer-policy"), "no-referrer");
  assert.equal(redirect.headers.get("etag"), null);
  const location = new URL(redirect.headers.get("location")!);
  assert.equal(location.searchParams.get("X-Amz-Expires"), "300");
  const reply = await fetch(`${origin}${path}`);
  assert.equal(reply.status, 200);
  assert.ok(bytes.equals(Buffer.from(await reply.arrayBuffer())));
  assert.equal(reply.headers.get("content-type"), "image/png");
  assert.equal(reply.headers.get("content-disposition"), `inline; filename="${object}.png"`);
  assert.match(reply.headers.get("cache-control")!, /^private, immutable, max-age=3\d\d\d$/);
  const part = await fetch(`${origin}${path}`, { headers: { range: "bytes=9990-" } });
  assert.equal(part.status, 206);
  assert.equal(part.headers.get("content-range"), "bytes 9990-9999/10000");
  assert.ok(bytes.subarray(9_990).equals(Buffer.from(await part.arrayBuffer())));
});

test("an address of the store ends with its link", async (t) => {
  const { app, now, store } = await setupS3(t, "redirect");
  const { path } = await store(Buffer.from("x"), 100_000);
  now.ms += 1_000;
  const reply = await app.inject(path);
  const { searchParams } = new URL(String(reply.headers["location"]));
  // The link's expiry is cut to the second, so what is left may be a second less.
  assert.ok(["98", "99"].includes(searchParams.get("X-Amz-Expires")!));
  assert.equal(
    reply.headers["cache-control"],
    `private, max-age=${searchParams.get("X-Amz-Expires")}`,
  );
});

test("HEAD and a known tag are answered here, also where callers reach the store", async (t) => {
  const { app, store } = await setupS3(t, "redirect");
  const { object, path } = await store(Buffer.alloc(77));
  const head = await app.inject({ method: "HEAD", url: path });
  assert.equal(head.statusCode, 200);
  assert.equal(head.headers["content-length"], "77");
  assert.equal(head.headers["content-type"], "image/png");
  assert.equal(head.headers["x-content-type-options"], "nosniff");
  const known = await app.inject({ url: path, headers: { "if-none-match": `"${object}"` } });
  assert.equal(known.statusCode, 304);
});

test("bytes that are gone are 404 and a store that is down is 503, never a redirect", async (t) => {
  const { app, server, storage, store } = await setupS3(t, "redirect");
  const { object, path } = await store(Buffer.from("x"));
  await storage.remove(object);
  assert.equal((await app.inject(path)).statusCode, 404);
  server.fault.choose = () => ({ kind: "refuse", status: 403, code: "AccessDenied" });
  const reply = await app.inject(path);
  assert.equal(reply.statusCode, 503);
  assert.equal(reply.headers["cache-control"], "no-store");
});

test("where callers do not reach the store, its bytes come through here with every header", async (t) => {
  const { app, store } = await setupS3(t, "stream");
  const bytes = systemRandom.bytes(3_000_000);
  const { path } = await store(bytes);
  const reply = await fetch(`${await listen(app)}${path}`);
  assert.equal(reply.status, 200);
  assert.equal(reply.redirected, false);
  assert.equal(reply.headers.get("content-security-policy"), "sandbox; default-src 'none'");
  assert.equal(reply.headers.get("content-length"), "3000000");
  assert.ok(bytes.equals(Buffer.from(await reply.arrayBuffer())));
  const part = await app.inject({ url: path, headers: { range: "bytes=-10" } });
  assert.equal(part.statusCode, 206);
  assert.ok(bytes.subarray(-10).equals(part.rawPayload));
});
