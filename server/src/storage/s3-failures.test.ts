import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";

import { createTestClock } from "../../test/support/clock.ts";
import { startS3Server } from "../../test/support/s3-server.ts";
import type { S3Fault, S3TestServer } from "../../test/support/s3-server.ts";
import { createTestStorage, partBytes, setUpS3 } from "../../test/support/s3-storage.ts";
import { systemRandom } from "../lib/random.ts";
import { objectName } from "./names.ts";
import { S3Error } from "./s3-client.ts";
import { StorageError } from "./storage.ts";

/** The first `count` requests that match fail; says how many have. */
function failFirst(server: S3TestServer, pattern: RegExp, fault: S3Fault, count = 1) {
  const state = { failed: 0 };
  server.fault.choose = (request) => {
    if (!pattern.test(request) || state.failed >= count) return null;
    state.failed += 1;
    return fault;
  };
  return state;
}

const passing: Record<string, S3Fault> = {
  "an internal error": { kind: "refuse", status: 500, code: "InternalError" },
  "a store that is too busy": { kind: "refuse", status: 503, code: "SlowDown" },
  "too many requests": { kind: "refuse", status: 429, code: "TooManyRequests" },
  "a cut connection": { kind: "cut" },
  "a lost reply": { kind: "lose reply" },
};

for (const [title, fault] of Object.entries(passing)) {
  test(`${title} is outlasted by every verb`, async (t) => {
    const { server, storage } = await setUpS3(t, { partBytes });
    const bytes = systemRandom.bytes(partBytes + 10);
    const [large, small] = [objectName(systemRandom), objectName(systemRandom)];
    const work: [RegExp, () => Promise<unknown>][] = [
      [/^POST .*uploads/, () => storage.put(large, bytes)],
      [/^PUT .*partNumber=2/, () => storage.put(large, bytes)],
      [/^POST .*uploadId/, () => storage.put(large, bytes)],
      [/^PUT /, () => storage.put(small, Buffer.from("small"))],
      [/^HEAD /, async () => assert.deepEqual(await storage.stat(small), { bytes: 5 })],
      [/^GET /, async () => assert.equal(String(await storage.read(small)), "small")],
      [/^GET /, async () => (await storage.open(small))!.stream.resume()],
      [/^POST .*delete/, async () => assert.deepEqual(await storage.removeMany([small]), [])],
      [/^DELETE /, () => storage.remove(large)],
    ];
    for (const [pattern, run] of work) {
      const state = failFirst(server, pattern, fault);
      await run();
      assert.equal(state.failed, 1, String(pattern));
    }
    assert.deepEqual(await server.listKeys(), []);
  });
}

test("an upload that came too slowly for the store is made again", async (t) => {
  const { server, storage } = await setUpS3(t);
  const fault = { kind: "refuse", status: 400, code: "RequestTimeout" } as const;
  const state = failFirst(server, /^PUT /, fault);
  await storage.put(objectName(systemRandom), Buffer.from("x"));
  assert.equal(state.failed, 1);
});

test("a body that is cut is read again, and as a stream it ends with an error", async (t) => {
  const { server, storage } = await setUpS3(t);
  const name = objectName(systemRandom);
  await storage.put(name, Buffer.from("0123456789"));
  const state = failFirst(server, /^GET /, { kind: "cut body" });
  assert.equal(String(await storage.read(name)), "0123456789");
  assert.equal(state.failed, 1);
  failFirst(server, /^GET /, { kind: "cut body" });
  const opened = (await storage.open(name))!;
  assert.equal(opened.bytes, 10);
  await assert.rejects(buffer(opened.stream));
});

test("a failure that stays is given up after four tries", async (t) => {
  const { server, storage } = await setUpS3(t);
  const state = failFirst(server, /^GET /, { kind: "refuse", status: 500, code: "Oops" }, 99);
  await assert.rejects(storage.read(objectName(systemRandom)), (error) => {
    assert.ok(error instanceof S3Error && error instanceof StorageError);
    assert.equal(error.message, "the object store failed: read: 500 Oops");
    return true;
  });
  assert.equal(state.failed, 4);
});

test("a refusal is not repeated, and its message names the store's reason and no address or key", async (t) => {
  const { server, storage } = await setUpS3(t);
  const state = failFirst(server, /^/, { kind: "refuse", status: 403, code: "AccessDenied" }, 99);
  const name = objectName(systemRandom);
  await assert.rejects(storage.put(name, Buffer.alloc(1)), (error) => {
    assert.ok(error instanceof StorageError);
    assert.equal(error.message, "the object store failed: put: 403 AccessDenied");
    return true;
  });
  assert.equal(state.failed, 1);
});

test("a store of another region is told apart, also by one that says so in the body alone", async (t) => {
  const { server, storage } = await setUpS3(t);
  const code = "AuthorizationHeaderMalformed";
  failFirst(server, /^/, { kind: "refuse", status: 400, code, toldRegion: "eu-west-1" }, 99);
  await assert.rejects(storage.read(objectName(systemRandom)), (error) => {
    assert.ok(error instanceof StorageError);
    const why = `read: 400 ${code}; the bucket is in region eu-west-1`;
    assert.equal(error.message, `the object store failed: ${why}`);
    return true;
  });
});

test("a bucket that is not there is a failure and not an absent object", async (t) => {
  const server = await startS3Server(t);
  const setting = `s3://another?endpoint=${server.endpoint}`;
  const storage = createTestStorage(t, { setting, credentials: server.credentials });
  const name = objectName(systemRandom);
  for (const work of [
    () => storage.read(name),
    () => storage.open(name),
    () => storage.put(name, Buffer.alloc(1)),
    () => storage.remove(name),
    () => storage.check(),
  ]) {
    await assert.rejects(work, /404 NoSuchBucket/);
  }
});

test("a server that is not there is a failure, and the source of a write is ended", async (t) => {
  const { credentials } = await startS3Server(t);
  const setting = "s3://pictures?endpoint=http://127.0.0.1:1";
  const storage = createTestStorage(t, { setting, credentials });
  const source = new Readable({ read: () => source.push(Buffer.alloc(2 ** 20)) });
  await assert.rejects(storage.put(objectName(systemRandom), source), StorageError);
  assert.ok(source.destroyed);
  await assert.rejects(storage.stat(objectName(systemRandom)), /stat: ECONNREFUSED/);
  await assert.rejects(storage.check(), StorageError);
});

test("a store that hangs is asked twice, not four times: somebody may be waiting", async (t) => {
  const clock = createTestClock(Date.now());
  const { server, storage } = await setUpS3(t, { clock });
  const state = failFirst(server, /^HEAD/, { kind: "hang" }, 99);
  const failed = assert.rejects(storage.stat(objectName(systemRandom)), /stat: no reply in time/);
  for (const tries of [1, 2]) {
    while (state.failed < tries) await clock.advance(1);
    await clock.advance(20_000);
  }
  await failed;
  assert.equal(state.failed, 2);
});

test("a store that never answers is given up in time", async (t) => {
  const clock = createTestClock(Date.now());
  const { server, storage } = await setUpS3(t, { clock });
  const state = failFirst(server, /^PUT/, { kind: "hang" }, 99);
  const failed = assert.rejects(storage.check(), /check: no reply in time/);
  while (state.failed === 0) await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(5_000);
  await failed;
  assert.equal(state.failed, 1);
});

test("a write that may have happened and is given up is taken back", async (t) => {
  const { server, storage } = await setUpS3(t);
  failFirst(server, /^PUT /, { kind: "lose reply" }, 99);
  const name = objectName(systemRandom);
  await assert.rejects(storage.put(name, Buffer.from("x")), StorageError);
  assert.equal(server.requests.filter((request) => request.startsWith("DELETE")).length, 1);
  assert.equal(await storage.stat(name), null);
});

test("an upload that cannot be completed leaves neither an object nor parts", async (t) => {
  const { server, storage } = await setUpS3(t, { partBytes });
  failFirst(server, /^POST .*uploadId/, { kind: "refuse", status: 500, code: "Oops" }, 99);
  const name = objectName(systemRandom);
  await assert.rejects(storage.put(name, Buffer.alloc(partBytes + 1)), /complete an upload: 500/);
  assert.equal(await storage.stat(name), null);
  assert.deepEqual(await server.listUploads(), []);
});
