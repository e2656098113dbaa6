import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { storageConformance } from "../../test/contracts/storage.ts";
import { startS3Server } from "../../test/support/s3-server.ts";
import type { S3TestServer } from "../../test/support/s3-server.ts";
import { createTestStorage, partBytes, settingOf, setUpS3 } from "../../test/support/s3-storage.ts";
import type { Place } from "../../test/support/s3-storage.ts";
import { systemRandom } from "../lib/random.ts";
import { hide } from "../lib/secrets.ts";
import { objectName } from "./names.ts";

/** A storage whose secret can be made wrong while it runs: the store then refuses everything. */
function createBreakable(t: TestContext, { setting, credentials }: Place) {
  let secret = credentials.secretAccessKey.reveal();
  const secretAccessKey = { ...hide(""), reveal: () => secret };
  const storage = createTestStorage(t, {
    setting,
    credentials: { ...credentials, secretAccessKey },
  });
  const breakWrites = () => {
    secret = "another secret";
    return Promise.resolve();
  };
  return { storage, breakWrites };
}

storageConformance("s3", async (t) => {
  const server = await startS3Server(t);
  return createBreakable(t, { setting: settingOf(server), credentials: server.credentials });
});

const realSetting = process.env["DARKROOM_TEST_S3_URL"];
if (realSetting !== undefined && realSetting !== "") {
  storageConformance("s3, a server of your own", (t) => {
    const credentials = {
      accessKeyId: process.env["AWS_ACCESS_KEY_ID"] ?? "",
      secretAccessKey: hide(process.env["AWS_SECRET_ACCESS_KEY"] ?? ""),
      sessionToken: null,
    };
    return Promise.resolve(createBreakable(t, { setting: realSetting, credentials }));
  });
}

function chunksOf(bytes: Buffer, size: number): Readable {
  const count = Math.ceil(bytes.byteLength / size);
  return Readable.from(
    Array.from({ length: count }, (_, i) => bytes.subarray(i * size, (i + 1) * size)),
  );
}

/** Requests by what they do, without what differs each time. */
function summarise(server: S3TestServer): string[] {
  return server.requests.map((request) =>
    request
      .replace(/uploadId=\w+/, "uploadId")
      .replace(/\/a\/b\/[a-z2-7]{32}/, "/KEY")
      .replace(/^(\w+) \/pictures/, "$1 "),
  );
}

test("an object of up to one part is written with one request, under the prefix", async (t) => {
  const { server, storage } = await setUpS3(t, { partBytes });
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.alloc(partBytes));
  await storage.put(name, chunksOf(Buffer.alloc(partBytes), 1_000_000));
  assert.deepEqual(summarise(server), ["PUT /KEY", "PUT /KEY"]);
  assert.deepEqual(await server.listKeys(), [`a/b/${name}`]);
});

test("a larger object is written in equal parts, from memory and from a stream, and appears whole", async (t) => {
  const { server, storage } = await setUpS3(t, { partBytes });
  const bytes = systemRandom.bytes(2 * partBytes + 1);
  for (const source of [bytes, chunksOf(bytes, 777_777), chunksOf(bytes, 7 * 2 ** 20)]) {
    server.requests.length = 0;
    const name = objectName(systemRandom);
    assert.deepEqual(await storage.put(name, source), { bytes: bytes.byteLength });
    assert.deepEqual(summarise(server), [
      "POST /KEY?uploads=",
      "PUT /KEY?partNumber=1&uploadId",
      "PUT /KEY?partNumber=2&uploadId",
      "PUT /KEY?partNumber=3&uploadId",
      "POST /KEY?uploadId",
    ]);
    assert.ok(bytes.equals((await storage.read(name))!));
  }
  assert.deepEqual(await server.listUploads(), []);
});

test("an endless source takes the memory of one part, not of the object", async (t) => {
  const { server, storage } = await setUpS3(t, { partBytes });
  let given = 0;
  const chunk = Buffer.alloc(2 ** 20);
  async function* count(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < 64; i += 1) {
      given += chunk.byteLength;
      const stored = server.requests.filter((request) => request.includes("partNumber=")).length;
      assert.ok(given <= (stored + 1) * partBytes + 2 * chunk.byteLength, `${given} ${stored}`);
      yield chunk;
    }
  }
  const name = objectName(systemRandom);
  await storage.put(name, count());
  assert.deepEqual(await storage.stat(name), { bytes: 64 * 2 ** 20 });
});

test("a source that fails after its first part leaves no object and no parts", async (t) => {
  const { server, storage } = await setUpS3(t, { partBytes });
  const failure = new RangeError("the peer went away");
  async function* fail(): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(partBytes + 1);
    throw failure;
  }
  const name = objectName(systemRandom);
  await assert.rejects(storage.put(name, fail()), failure);
  await assert.rejects(storage.put(name, Readable.from(fail())), failure);
  assert.equal(await storage.stat(name), null);
  assert.equal(summarise(server).at(-2), "DELETE /KEY?uploadId");
  assert.deepEqual(await server.listUploads(), []);
});

test("the digest of every body is signed, so bytes that change on the way are refused", async (t) => {
  const { server, storage } = await setUpS3(t);
  await storage.put(objectName(systemRandom), Buffer.from("abc"));
  assert.equal(
    server.headers[0]?.["x-amz-content-sha256"],
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

test("requests carry no header that only one vendor knows", async (t) => {
  const { server, storage } = await setUpS3(t, { partBytes });
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.alloc(partBytes + 1));
  await (await storage.open(name, { start: 0, end: 1 }))!.stream.resume().toArray();
  await storage.removeMany([name]);
  const usual = new Set([
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-md5",
    "range",
    "authorization",
    "x-amz-date",
    "x-amz-content-sha256",
  ]);
  for (const headers of server.headers) {
    for (const header of Object.keys(headers)) assert.ok(usual.has(header), header);
  }
});

test("thousands of objects are removed by a thousand a request", async (t) => {
  const { server, storage } = await setUpS3(t);
  const names = Array.from({ length: 2_001 }, () => objectName(systemRandom));
  await storage.put(names[2_000]!, Buffer.from("last"));
  assert.deepEqual(await storage.removeMany(names), []);
  assert.equal(server.requests.length, 4);
  assert.deepEqual(await server.listKeys(), []);
});

test("the check leaves one small object, however often it is made", async (t) => {
  const { server, storage } = await setUpS3(t);
  await storage.check();
  await storage.check();
  assert.deepEqual(await server.listKeys(), ["a/b/darkroom-check"]);
});

test("a presigned link serves the object with the headers that were asked for, by range too", async (t) => {
  const { server, storage } = await setUpS3(t, { more: "&downloads=redirect" });
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.from("0123456789"));
  const link = await storage.presign!(name, {
    expiresInSeconds: 60,
    contentType: "image/png",
    contentDisposition: 'inline; filename="a (b).png"',
    cacheControl: "private, max-age=5",
  });
  const reply = await fetch(link, { headers: { range: "bytes=2-4" } });
  assert.equal(reply.status, 206);
  assert.equal(await reply.text(), "234");
  assert.equal(reply.headers.get("content-type"), "image/png");
  assert.equal(reply.headers.get("content-disposition"), 'inline; filename="a (b).png"');
  assert.equal(reply.headers.get("cache-control"), "private, max-age=5");
  const forged = await fetch(link.replace("image%2Fpng", "text%2Fhtml"));
  assert.equal(forged.status, 403);
  const other = objectName(systemRandom);
  await storage.put(other, Buffer.from("other"));
  assert.equal((await fetch(link.replace(name, other))).status, 403);
  assert.equal(server.requests.length, 5);
});

test("a store that callers cannot reach offers no links", async (t) => {
  const { storage } = await setUpS3(t);
  assert.equal(storage.presign, undefined);
});

test("slow readers take no connection away from writers", async (t) => {
  const { storage } = await setUpS3(t);
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.alloc(4 * 2 ** 20));
  const readers = await Promise.all(Array.from({ length: 70 }, () => storage.open(name)));
  await storage.put(objectName(systemRandom), Buffer.from("still"));
  const first = await buffer(readers[0]!.stream);
  assert.equal(first.byteLength, 4 * 2 ** 20);
  for (const reader of readers) reader!.stream.destroy();
});

test("a listing goes on over pages that hold nothing of ours, and ends at the prefix's end", async (t) => {
  const { server, storage } = await setUpS3(t, { pageKeysMax: 2 });
  const setting = settingOf(server).replace("a/b", "a/c");
  const beside = createTestStorage(t, { setting, credentials: server.credentials });
  await beside.put(objectName(systemRandom), Buffer.from("another prefix's"));
  await storage.check();
  for (const owner of ["a1", "b2"]) await storage.claim(owner);
  const names = Array.from({ length: 5 }, () => objectName(systemRandom)).toSorted();
  for (const name of names) await storage.put(name, Buffer.from(name));
  server.requests.length = 0;
  const found: string[] = [];
  let after: string | null = null;
  do {
    const { objects, next } = await storage.list(after);
    found.push(...objects.map(({ name }) => name));
    after = next;
  } while (after !== null);
  assert.deepEqual(found.toSorted(), names);
  assert.equal(server.requests.length, 4);
});
