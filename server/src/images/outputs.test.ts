import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import sharp from "sharp";
import { createTestClock } from "../../test/support/clock.ts";
import { startPeer } from "../../test/support/peers.ts";
import { createPicture, pngBomb } from "../../test/support/picture-bytes.ts";
import { paintGrid, paintMask } from "../../test/support/pictures.ts";
import { EgressError } from "../lib/egress-error.ts";
import type { EgressErrorKind } from "../lib/egress-error.ts";
import { createEgress } from "../lib/egress.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { createDiskStorage } from "../storage/disk.ts";
import { StorageError } from "../storage/storage.ts";
import { DownloadError, storeOutput, takeOutput } from "./outputs.ts";
import type { DownloadOptions, OutputPromise, OutputSource, StoredOutput } from "./outputs.ts";
import { PictureError } from "./picture.ts";
import { createPictureProcesses } from "./processes.ts";

async function setUp(context: TestContext, allow: readonly string[] = ["127.0.0.0/8"]) {
  const clock = createTestClock();
  const folder = await mkdtemp(join(tmpdir(), "darkroom-outputs-"));
  const pictures = createPictureProcesses({ clock, log: createLog("silent"), processesMax: 1 });
  const storage = createDiskStorage({ folder, random: systemRandom });
  const resolve = () => Promise.reject(new Error("no name is ever asked for"));
  const egress = createEgress({ allow, clock, resolve });
  context.after(async () => {
    await egress.close();
    await pictures.close();
    await rm(folder, { recursive: true });
  });
  const deps = { pictures, storage, random: systemRandom };
  const store = (
    source: OutputSource,
    options: DownloadOptions,
    promise: OutputPromise | null = null,
  ): Promise<StoredOutput> =>
    takeOutput({ egress, memory: storage }, source, options, (bytes) =>
      storeOutput(deps, bytes, promise),
    );
  return {
    clock,
    folder,
    pictures,
    storage,
    store: (source: OutputSource, promise: OutputPromise | null = null, signal?: AbortSignal) =>
      store(source, { allowedHosts: null, signal }, promise),
    /** Downloads from the given hosts alone. */
    fetch: (source: Extract<OutputSource, { kind: "url" }>, allowedHosts: readonly string[]) =>
      store(source, { allowedHosts }),
    objects: async () => {
      const names = await readdir(folder, { recursive: true, withFileTypes: true });
      return names.filter((entry) => entry.isFile()).length;
    },
  };
}

function ofBytes(bytes: Uint8Array): OutputSource {
  return { kind: "bytes", bytes };
}

function ofUrl(url: string, headers?: Record<string, string>) {
  return { kind: "url", url, ...(headers === undefined ? {} : { headers }) } as const;
}

function promiseOf(promise: Partial<OutputPromise>): OutputPromise {
  return {
    width: 48,
    height: 32,
    format: "png",
    compression: null,
    isExactPixels: true,
    isExactFormat: true,
    masked: null,
    ...promise,
  };
}

const isPictureError = (problem: PictureError["problem"]) => (error: unknown) =>
  error instanceof PictureError && error.problem === problem;
const isEgressError = (kind: EgressErrorKind) => (error: unknown) =>
  error instanceof EgressError && error.kind === kind;

test("a picture that keeps its promise is stored byte for byte and costs no process", async (context) => {
  const { store, storage, pictures } = await setUp(context);
  const plain = await createPicture().png().toBuffer();
  const stamped = await createPicture()
    .withExif({ IFD0: { Software: "stamp" } })
    .webp()
    .toBuffer();
  const turned = await createPicture().withMetadata({ orientation: 6 }).jpeg().toBuffer();
  const rows: [Buffer, OutputPromise | null, string, number, number][] = [
    [plain, null, "image/png", 48, 32],
    [plain, promiseOf({}), "image/png", 48, 32],
    [stamped, promiseOf({ format: "webp", compression: 5 }), "image/webp", 48, 32],
    [turned, promiseOf({ format: "jpeg", width: 32, height: 48 }), "image/jpeg", 32, 48],
    [plain, promiseOf({ width: 999, isExactPixels: false }), "image/png", 48, 32],
    [stamped, promiseOf({ isExactFormat: false }), "image/webp", 48, 32],
  ];
  for (const [bytes, promise, contentType, width, height] of rows) {
    const { object, ...facts } = await store(ofBytes(bytes), promise);
    assert.deepEqual(facts, { contentType, width, height, bytes: bytes.length });
    assert.ok((await storage.read(object))?.equals(bytes));
  }
  assert.deepEqual(pictures.pids, []);
});

test("promised pixels and formats are made where the upstream did not send them, and only those", async (context) => {
  const { store, storage } = await setUp(context);
  const bytes = await createPicture().png().toBuffer();
  const rows: [Partial<OutputPromise>, string, number, number][] = [
    [{ width: 40, height: 30 }, "image/png", 40, 30],
    [{ width: 100, height: 50, format: "jpeg" }, "image/jpeg", 100, 50],
    [{ width: 100, height: 50, format: "webp", isExactPixels: false }, "image/webp", 48, 32],
    [{ width: 40, height: 32, format: "webp", isExactFormat: false }, "image/png", 40, 32],
  ];
  for (const [promise, contentType, width, height] of rows) {
    const output = await store(ofBytes(bytes), promiseOf(promise));
    const stored = (await storage.read(output.object)) ?? Buffer.alloc(0);
    const seen = await sharp(stored).metadata();
    assert.deepEqual(
      [output.contentType, output.width, output.height, output.bytes],
      [contentType, width, height, stored.length],
    );
    assert.deepEqual(
      [`image/${seen.format}`, seen.width, seen.height],
      [contentType, width, height],
    );
  }
});

test("through a mask the result is a PNG with the reference's pixels outside of it", async (context) => {
  const { store, storage } = await setUp(context);
  const reference = await paintGrid(60, 40);
  const mask = await paintMask(60, 40, { left: 0, top: 20, width: 60, height: 20 });
  const masked = { reference: async () => reference, mask: async () => mask };
  const painted = await createPicture().jpeg().toBuffer();
  const promise = promiseOf({ width: 60, height: 40, masked });
  const output = await store(ofBytes(painted), promise);
  assert.deepEqual([output.contentType, output.width, output.height], ["image/png", 60, 40]);
  const top = { left: 0, top: 0, width: 60, height: 20 };
  const upperHalf = (bytes: Buffer) => sharp(bytes).extract(top).raw().toBuffer();
  const stored = (await storage.read(output.object)) ?? Buffer.alloc(0);
  assert.ok((await upperHalf(stored)).equals(await upperHalf(reference)));
  const raw = (bytes: Buffer) => sharp(bytes).raw().toBuffer();
  assert.ok(!(await raw(stored)).equals(await raw(reference)));
});

test("what is no picture of the three formats is refused, and nothing is stored", async (context) => {
  const { store, objects } = await setUp(context);
  const png = await createPicture().png().toBuffer();
  const jpeg = await createPicture().jpeg().toBuffer();
  const webp = await createPicture().webp().toBuffer();
  const cut = (bytes: Buffer) => bytes.subarray(0, Math.floor(bytes.length * 0.9));
  const rows: [string, PictureError["problem"], Uint8Array][] = [
    ["HTML", "unsupported", Buffer.from("<!doctype html><title>Too many requests</title>")],
    ["SVG", "unsupported", Buffer.from("<svg xmlns='http://www.w3.org/2000/svg' width='9'/>")],
    ["GIF", "unsupported", await createPicture().gif().toBuffer()],
    ["AVIF", "unsupported", await createPicture().avif({ effort: 0 }).toBuffer()],
    ["nothing", "unsupported", Buffer.alloc(0)],
    ["base64 that was not decoded", "unsupported", Buffer.from(png.toString("base64"))],
    ["a bomb", "too_large", pngBomb(16_000)],
    ["too many bytes", "too_large", Buffer.concat([png, Buffer.alloc(64 * 2 ** 20)])],
    ["90 % of a PNG", "broken", cut(png)],
    ["90 % of a JPEG", "broken", cut(jpeg)],
    ["90 % of a WebP", "broken", cut(webp)],
  ];
  for (const [name, problem, bytes] of rows) {
    await assert.rejects(store(ofBytes(bytes)), isPictureError(problem), name);
  }
  assert.equal(await objects(), 0);
});

test("a failing store is told as such", async (context) => {
  const { store, folder } = await setUp(context);
  await rm(folder, { recursive: true });
  await writeFile(folder, "a file where the folder should be");
  await assert.rejects(store(ofBytes(await createPicture().png().toBuffer())), StorageError);
});

test("a picture is downloaded byte for byte through redirects, whatever type its host declares", async (context) => {
  const { store, storage } = await setUp(context);
  const bytes = await createPicture().jpeg().toBuffer();
  const peer = await startPeer(context, (request, response) => {
    if (request.url === "/moved") response.writeHead(302, { location: "/picture" }).end();
    else response.writeHead(200, { "content-type": "text/html" }).end(bytes);
  });
  const output = await store(ofUrl(peer.url("/moved")));
  assert.equal(output.contentType, "image/jpeg");
  assert.ok((await storage.read(output.object))?.equals(bytes));
});

test("any answer but 200 is told with its status", async (context) => {
  const { store, objects } = await setUp(context);
  const bytes = await createPicture().png().toBuffer();
  const peer = await startPeer(context, (request, response) => {
    response.writeHead(Number(request.url?.slice(1))).end(bytes);
  });
  for (const status of [201, 206, 304, 403, 404, 410, 429, 500, 503]) {
    await assert.rejects(
      store(ofUrl(peer.url(`/${status}`))),
      (error) => error instanceof DownloadError && error.status === status,
      String(status),
    );
  }
  assert.equal(await objects(), 0);
});

test("only the named hosts are asked, also after a redirect", async (context) => {
  const { fetch } = await setUp(context);
  const foreign = await startPeer(context, (_request, response) => response.end("x"));
  const named = await startPeer(context, (_request, response) =>
    response.writeHead(302, { location: foreign.url("/", "127.0.0.2") }).end(),
  );
  const hosts = ["127.0.0.1", "*.example.com"];
  await assert.rejects(fetch(ofUrl(named.url()), hosts), isEgressError("blocked"));
  await assert.rejects(fetch(ofUrl(named.url()), ["*.example.com"]), isEgressError("blocked"));
  assert.deepEqual([named.connections, foreign.connections], [1, 0]);
});

test("a redirect to the cloud's metadata address is not followed", async (context) => {
  const { store } = await setUp(context);
  const peer = await startPeer(context, (_request, response) =>
    response.writeHead(302, { location: "http://169.254.169.254/latest/meta-data/" }).end(),
  );
  await assert.rejects(store(ofUrl(peer.url())), isEgressError("blocked"));
});

test("a key goes to the host that it was given for and stays there", async (context) => {
  const { fetch } = await setUp(context);
  const bytes = await createPicture().png().toBuffer();
  const keys: (string | undefined)[] = [];
  const note = (headers: NodeJS.Dict<string | string[]>) => keys.push(headers["x-key"]?.toString());
  const other = await startPeer(context, (request, response) => {
    note(request.headers);
    response.end(bytes);
  });
  const own = await startPeer(context, (request, response) => {
    note(request.headers);
    response.writeHead(307, { location: other.url("/", "127.0.0.2") }).end();
  });
  await fetch(ofUrl(own.url(), { "x-key": "secret" }), ["127.0.0.1", "127.0.0.2"]);
  assert.deepEqual(keys, ["secret", undefined]);
});

test("plain http is refused before anything is asked, unless the operator trusts the host", async (context) => {
  const { store } = await setUp(context, []);
  for (const url of ["http://delivery.example.com/a.png", "http://1.1.1.1/a.png"]) {
    await assert.rejects(
      store(ofUrl(url)),
      (error) => isEgressError("blocked")(error) && /use https/.test(String(error)),
    );
  }
});

test("a body that stops before its end is no picture, whether its length was announced or not", async (context) => {
  const { store, objects } = await setUp(context);
  const bytes = await createPicture().png().toBuffer();
  const part = bytes.subarray(0, Math.floor(bytes.length * 0.9));
  const peer = await startPeer(context, (request, response) => {
    if (request.url === "/complete") response.end(part);
    else if (request.url === "/announced") {
      response.writeHead(200, { "content-length": bytes.length });
      response.write(part, () => response.destroy());
    } else response.write(part, () => response.destroy());
  });
  await assert.rejects(store(ofUrl(peer.url("/complete"))), isPictureError("broken"));
  await assert.rejects(store(ofUrl(peer.url("/announced"))), isEgressError("broken"));
  await assert.rejects(store(ofUrl(peer.url("/chunked"))), isEgressError("broken"));
  assert.equal(await objects(), 0);
});

/** Writes `piece` again and again, as fast as it is taken, until nobody takes it any more. */
async function pour(response: ServerResponse, piece: Buffer, bytes: number): Promise<number> {
  let poured = 0;
  response.on("error", () => {});
  while (poured < bytes && !response.destroyed) {
    poured += piece.length;
    if (response.write(piece)) continue;
    await Promise.race([once(response, "drain"), once(response, "close")]);
  }
  response.end();
  return poured;
}

test("two gigabytes are not read: not as HTML, not when announced, not when they begin like a picture", async (context) => {
  const { store, objects } = await setUp(context);
  const bytes = 2 * 2 ** 30;
  const begin = (await paintGrid(2_000, 300)).subarray(0, 2 ** 20);
  const poured: Promise<number>[] = [];
  const peer = await startPeer(context, (request, response) => {
    const isHtml = request.url === "/html";
    if (request.url === "/announced") response.writeHead(200, { "content-length": bytes });
    const piece = isHtml ? Buffer.alloc(2 ** 16, "<p>") : begin;
    poured.push(pour(response, piece, bytes));
  });
  const before = process.memoryUsage.rss();
  await assert.rejects(store(ofUrl(peer.url("/html"))), isPictureError("unsupported"));
  await assert.rejects(store(ofUrl(peer.url("/announced"))), isEgressError("too_large"));
  await assert.rejects(store(ofUrl(peer.url("/endless"))), isEgressError("too_large"));
  const [html = 0, announced = 0, endless = 0] = await Promise.all(poured);
  const megabyte = 2 ** 20;
  assert.ok(html < 16 * megabyte, `${html} bytes of HTML`);
  assert.ok(announced < 16 * megabyte, `${announced} bytes of an announced body`);
  assert.ok(endless < 96 * megabyte, `${endless} bytes of an endless body`);
  assert.ok(process.memoryUsage.rss() - before < 256 * megabyte);
  assert.equal(await objects(), 0);
});

test("a host that goes silent, before its headers or within the body, is given up in time", async (context) => {
  const { store, clock } = await setUp(context);
  const begin = (await createPicture().png().toBuffer()).subarray(0, 100);
  let asked = Promise.withResolvers<void>();
  const peer = await startPeer(context, (request, response) => {
    if (request.url === "/body") response.write(begin);
    asked.resolve();
  });
  for (const path of ["/headers", "/body"]) {
    asked = Promise.withResolvers<void>();
    const stored = assert.rejects(store(ofUrl(peer.url(path))), isEgressError("timeout"));
    await asked.promise;
    await clock.advance(120_000);
    await stored;
    assert.equal(clock.waiting, 0);
  }
});

test("a download that is called off ends at once", async (context) => {
  const { store } = await setUp(context);
  const calling = new AbortController();
  const peer = await startPeer(context, () => calling.abort());
  const stored = store(ofUrl(peer.url()), null, calling.signal);
  await assert.rejects(stored, isEgressError("aborted"));
});

test("more downloads than fit into memory wait for one another, and all arrive", async (context) => {
  const { store, objects } = await setUp(context);
  const bytes = await createPicture().png().toBuffer();
  const peer = await startPeer(context, (_request, response) => {
    // Without a length each may become as large as is allowed.
    response.write(bytes.subarray(0, 50));
    response.end(bytes.subarray(50));
  });
  await Promise.all(Array.from({ length: 20 }, () => store(ofUrl(peer.url()))));
  assert.equal(await objects(), 20);
});
