/**
 * What every object store keeps, run for each implementation. A store calls `storageConformance` from
 * its own test file and adds only what is its own: files and modes on disk, requests to a bucket.
 */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";

import { AssertionError } from "../../src/lib/errors.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { objectName } from "../../src/storage/names.ts";
import { StorageError } from "../../src/storage/storage.ts";
import type { Storage } from "../../src/storage/storage.ts";

export type StorageSetup = {
  storage: Storage;
  /** Makes every later write fail, and reads find nothing new, as a full or broken store does. */
  breakWrites: () => Promise<void>;
};

/** Every page, one after the other. */
async function listAll(storage: Storage) {
  const found: { name: string; modifiedAt: number }[] = [];
  let after: string | null = null;
  do {
    const { objects, next } = await storage.list(after);
    found.push(...objects);
    after = next;
  } while (after !== null);
  return found;
}

export function storageConformance(
  name: string,
  setup: (t: TestContext) => Promise<StorageSetup>,
): void {
  describe(`storage contract: ${name}`, () => {
    test("what was put is read back byte for byte, whole and as a stream", async (t) => {
      const { storage } = await setup(t);
      const bytes = systemRandom.bytes(700_001);
      const object = objectName(systemRandom);
      assert.deepEqual(await storage.put(object, bytes), { bytes: 700_001 });
      assert.deepEqual(await storage.stat(object), { bytes: 700_001 });
      assert.ok(bytes.equals((await storage.read(object))!));
      const opened = await storage.open(object);
      assert.equal(opened?.bytes, 700_001);
      assert.ok(bytes.equals(await buffer(opened.stream)));
    });

    test("a stream of chunks of any size is stored in order", async (t) => {
      const { storage } = await setup(t);
      const chunks = [0, 1, 65_536, 3, 262_145, 0, 17].map((size) => systemRandom.bytes(size));
      const object = objectName(systemRandom);
      const { bytes } = await storage.put(object, Readable.from(chunks));
      const whole = Buffer.concat(chunks);
      assert.equal(bytes, whole.byteLength);
      assert.ok(whole.equals((await storage.read(object))!));
    });

    test("an object may be empty", async (t) => {
      const { storage } = await setup(t);
      for (const source of [new Uint8Array(0), Readable.from([])]) {
        const object = objectName(systemRandom);
        assert.deepEqual(await storage.put(object, source), { bytes: 0 });
        assert.deepEqual(await storage.stat(object), { bytes: 0 });
        const opened = await storage.open(object);
        assert.equal(opened?.bytes, 0);
        assert.equal((await buffer(opened.stream)).byteLength, 0);
      }
    });

    test("the caller may reuse a chunk's memory once the next one is asked for", async (t) => {
      const { storage } = await setup(t);
      const memory = Buffer.alloc(1_000);
      async function* refill(): AsyncGenerator<Uint8Array> {
        for (let i = 0; i < 50; i++) yield memory.fill(i);
      }
      const object = objectName(systemRandom);
      await storage.put(object, refill());
      const stored = (await storage.read(object))!;
      for (let i = 0; i < 50; i++) assert.equal(stored[i * 1_000 + 999], i);
    });

    test("a name that was never written is absent, and removing it is no error", async (t) => {
      const { storage } = await setup(t);
      const object = objectName(systemRandom);
      assert.equal(await storage.stat(object), null);
      assert.equal(await storage.read(object), null);
      assert.equal(await storage.open(object), null);
      assert.equal(await storage.open(object, { start: 0, end: 0 }), null);
      await storage.remove(object);
    });

    test("a removed object is absent, and only that one", async (t) => {
      const { storage } = await setup(t);
      const [gone, kept] = [objectName(systemRandom), objectName(systemRandom)];
      await storage.put(gone, Buffer.from("gone"));
      await storage.put(kept, Buffer.from("kept"));
      await storage.remove(gone);
      await storage.remove(gone);
      assert.equal(await storage.read(gone), null);
      assert.equal(await storage.stat(gone), null);
      assert.equal(String(await storage.read(kept)), "kept");
    });

    test("many objects are removed at once, absent ones among them, and only those", async (t) => {
      const { storage } = await setup(t);
      const names = Array.from({ length: 5 }, () => objectName(systemRandom));
      const kept = names[0]!;
      for (const object of names.slice(0, 4)) await storage.put(object, Buffer.from(object));
      assert.deepEqual(await storage.removeMany(names.slice(1)), []);
      assert.deepEqual(await storage.removeMany([]), []);
      for (const object of names.slice(1)) assert.equal(await storage.stat(object), null);
      assert.equal(String(await storage.read(kept)), kept);
    });

    test("every object is listed once with its time, and what else lies there is not", async (t) => {
      const { storage } = await setup(t);
      const names = Array.from({ length: 12 }, () => objectName(systemRandom));
      const before = Date.now();
      for (const object of names) await storage.put(object, Buffer.from(object));
      await storage.check();
      await storage.claim("a1");
      await storage.remove(names[0]!);
      const listed = await listAll(storage);
      for (const { name: object } of listed) assert.match(object, /^[a-z2-7]{32}$/);
      const times = new Map(listed.map((one) => [one.name, one.modifiedAt]));
      assert.equal(times.size, listed.length);
      assert.ok(!times.has(names[0]!));
      for (const object of names.slice(1)) {
        // A store's clock is its own, and some tell whole seconds.
        assert.ok(Math.abs(times.get(object)! - before) < 5 * 60_000, `${times.get(object)}`);
      }
    });

    test("a store tells of every installation that has claimed it, and claims may be repeated", async (t) => {
      const { storage } = await setup(t);
      const [first, second] = [1, 2].map(() => systemRandom.bytes(8).toString("hex"));
      const owners = await storage.claim(first!);
      assert.ok(owners.includes(first!) && !owners.includes(second!));
      assert.deepEqual(await storage.claim(first!), owners);
      assert.deepEqual((await storage.claim(second!)).toSorted(), [...owners, second!].toSorted());
    });

    test("a range holds exactly its bytes, both ends included", async (t) => {
      const { storage } = await setup(t);
      const bytes = systemRandom.bytes(100_000);
      const object = objectName(systemRandom);
      await storage.put(object, bytes);
      for (const [start, end] of [
        [0, 0],
        [0, 99_999],
        [99_999, 99_999],
        [50_000, 70_123],
      ] as const) {
        const opened = await storage.open(object, { start, end });
        assert.equal(opened?.bytes, end - start + 1);
        const found = await buffer(opened.stream);
        assert.ok(bytes.subarray(start, end + 1).equals(found), `${start}-${end}`);
      }
    });

    test("a range beyond the object is our own mistake", async (t) => {
      const { storage } = await setup(t);
      const object = objectName(systemRandom);
      await storage.put(object, Buffer.alloc(10));
      await assert.rejects(storage.open(object, { start: 5, end: 10 }), AssertionError);
    });

    test("putting a name again replaces it, and an open reader still gets the old bytes", async (t) => {
      const { storage } = await setup(t);
      const [first, second] = [systemRandom.bytes(300_000), systemRandom.bytes(200_000)];
      const object = objectName(systemRandom);
      await storage.put(object, first);
      const opened = await storage.open(object);
      await storage.put(object, second);
      assert.ok(first.equals(await buffer(opened!.stream)));
      assert.ok(second.equals((await storage.read(object))!));
    });

    test("twenty writers of one name leave one of the objects whole", async (t) => {
      const { storage } = await setup(t);
      const object = objectName(systemRandom);
      const candidates = Array.from({ length: 20 }, (_, i) => Buffer.alloc(50_000 + i, i));
      await Promise.all(candidates.map((bytes) => storage.put(object, Readable.from([bytes]))));
      const stored = (await storage.read(object))!;
      assert.ok(candidates.some((bytes) => bytes.equals(stored)));
    });

    test("while an object is being written its name is absent", async (t) => {
      const { storage } = await setup(t);
      const object = objectName(systemRandom);
      const seen: unknown[] = [];
      async function* watch(): AsyncGenerator<Uint8Array> {
        yield Buffer.alloc(100_000);
        seen.push(await storage.stat(object), await storage.read(object));
        yield Buffer.alloc(100_000);
      }
      await storage.put(object, watch());
      assert.deepEqual(seen, [null, null]);
      assert.deepEqual(await storage.stat(object), { bytes: 200_000 });
    });

    test("a source that fails leaves nothing, and its own error reaches the caller", async (t) => {
      const { storage } = await setup(t);
      const failure = new RangeError("the peer went away");
      const object = objectName(systemRandom);
      async function* fail(): AsyncGenerator<Uint8Array> {
        yield Buffer.alloc(100_000);
        throw failure;
      }
      await assert.rejects(storage.put(object, fail()), failure);
      assert.equal(await storage.stat(object), null);
    });

    test("a source that fails leaves the object that was there before", async (t) => {
      const { storage } = await setup(t);
      const object = objectName(systemRandom);
      await storage.put(object, Buffer.from("before"));
      const broken = new Readable({ read: () => broken.destroy(new RangeError("gone")) });
      await assert.rejects(storage.put(object, broken), RangeError);
      assert.equal(String(await storage.read(object)), "before");
    });

    test("a reader that leaves early disturbs nobody", async (t) => {
      const { storage } = await setup(t);
      const bytes = systemRandom.bytes(2_000_000);
      const object = objectName(systemRandom);
      await storage.put(object, bytes);
      for (let i = 0; i < 20; i++) {
        const opened = (await storage.open(object))!;
        const closed = new Promise((resolve) => opened.stream.once("close", resolve));
        if (i % 2 === 0) await new Promise((resolve) => opened.stream.once("data", resolve));
        opened.stream.destroy();
        await closed;
      }
      assert.ok(bytes.equals((await storage.read(object))!));
    });

    for (const text of ["", ".", "..", "../escape", "a/b", "a\\b", "a\0b", "x".repeat(33)]) {
      test(`the name ${JSON.stringify(text)} is refused by every verb`, async (t) => {
        const { storage } = await setup(t);
        const verbs = [
          async () => storage.put(text, Buffer.alloc(1)),
          async () => storage.open(text),
          async () => storage.read(text),
          async () => storage.stat(text),
          async () => storage.remove(text),
          async () => storage.removeMany([text]),
        ];
        for (const verb of verbs) await assert.rejects(verb, AssertionError);
      });
    }

    test("a store that takes writes passes its check, again and again", async (t) => {
      const { storage } = await setup(t);
      await Promise.all([storage.check(), storage.check()]);
      await storage.check();
    });

    test("a store that takes no writes says so, and keeps no part of an object", async (t) => {
      const { storage, breakWrites } = await setup(t);
      const object = objectName(systemRandom);
      await breakWrites();
      await assert.rejects(storage.put(object, Buffer.alloc(1_000)), StorageError);
      await assert.rejects(storage.put(object, Readable.from([Buffer.alloc(9)])), StorageError);
      await assert.rejects(storage.check(), StorageError);
    });

    test("a write that fails ends its source", async (t) => {
      const { storage, breakWrites } = await setup(t);
      await breakWrites();
      // Larger than any part, so that it is destroyed before its end.
      let left = 1_024;
      const source = new Readable({
        read: () => source.push(left-- > 0 ? Buffer.alloc(65_536) : null),
      });
      await assert.rejects(storage.put(objectName(systemRandom), source), StorageError);
      assert.ok(source.destroyed);
    });
  });
}
