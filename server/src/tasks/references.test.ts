import assert from "node:assert/strict";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import sharp from "sharp";

import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import {
  colours,
  dataUri,
  paintMask,
  paintPlain,
  readPicture,
} from "../../test/support/pictures.ts";
import type { Rgb } from "../../test/support/pictures.ts";
import { startReferenceServer } from "../../test/support/reference-server.ts";
import type { ReferenceServer } from "../../test/support/reference-server.ts";
import { createVendor, deaf, delivered, failing, watched } from "../../test/support/vendor.ts";
import { insertUpload, loadReferences } from "../images/store.ts";
import { systemRandom } from "../lib/random.ts";
import { dayMs, minuteMs, secondMs } from "../lib/time.ts";
import type { Job } from "../providers/adapter.ts";
import { createDiskStorage } from "../storage/disk.ts";
import { objectName } from "../storage/names.ts";
import { StorageError } from "../storage/storage.ts";
import type { Storage } from "../storage/storage.ts";

const funds = 100_000_000;

async function startServer(t: TestContext): Promise<ReferenceServer> {
  const server = await startReferenceServer();
  t.after(() => server.stop());
  return server;
}

function paint(colour: Rgb, width = 8, height = 6): Promise<Buffer> {
  return paintPlain({ colour, width, height, format: "png" });
}

async function listObjects(engine: TestEngine): Promise<string[]> {
  const entries = await readdir(engine.folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

async function assertFailed(
  engine: TestEngine,
  taskId: string,
  error: { code: string; param: string },
): Promise<void> {
  const task = await engine.read(taskId);
  assert.equal(task.status, "failed");
  assert.deepEqual({ code: task.error?.code, param: task.error?.param }, error);
  assert.deepEqual(await engine.balance(), { available: funds, held: 0 });
  assert.equal(engine.vendor.countOf("submit"), 0);
  await engine.checkLedger();
}

function readAll(job: Job): Promise<Buffer[]> {
  return Promise.all(job.references.map(async (each) => Buffer.from(await each.read())));
}

async function loadRows(engine: TestEngine, taskId: string) {
  return loadReferences(engine.db.read, engine.caller.accountId, taskId);
}

/** A folder that can be taken away. */
async function createLosableStorage(t: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-references-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const whole = createDiskStorage({ folder, random: systemRandom });
  const state = { isAway: false };
  const storage: Storage = {
    ...whole,
    read: (name) =>
      state.isAway ? Promise.reject(new StorageError("the store is away")) : whole.read(name),
  };
  return { storage, state };
}

onEachEngine((_name, open) => {
  test("while the store is away a request that needs its references waits, and is sent once", async (t) => {
    const server = await startServer(t);
    const url = server.serve("/red.png", await paint(colours.red));
    const { storage, state } = await createLosableStorage(t);
    let sent = 0;
    const look = async (job: Job): Promise<void> => {
      await readAll(job);
      sent += 1;
    };
    const submit = { ...watched(look, delivered()), hangs: true };
    await using engine = await open({ storage, vendors: [createVendor({ submit })] });
    const id = await engine.submit({ image_urls: [url] });
    state.isAway = true;
    await engine.start();
    await engine.run(() => engine.vendor.countOf("submit") === 1);
    await engine.pass(30 * secondMs);
    assert.deepEqual([sent, (await engine.find(id)).state], [0, "processing"]);
    state.isAway = false;
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).status, "completed");
    assert.equal(sent, 1);
    await engine.checkLedger();
  });

  test("a stop while the store is away sends nothing, and the task is made after the next start", async (t) => {
    const server = await startServer(t);
    const url = server.serve("/red.png", await paint(colours.red));
    const { storage, state } = await createLosableStorage(t);
    const look = async (job: Job): Promise<void> => void (await readAll(job));
    const submit = { ...watched(look, delivered()), hangs: true };
    await using engine = await open({ storage, vendors: [createVendor({ submit })] });
    const id = await engine.submit({ image_urls: [url] });
    state.isAway = true;
    const life = await engine.start();
    await engine.run(() => engine.vendor.countOf("submit") === 1);
    await engine.pass(secondMs);
    await life.stop();
    assert.equal((await engine.attempts(id))[0]?.state, "failed");
    state.isAway = false;
    await engine.start();
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).status, "completed");
    await engine.checkLedger();
  });

  test("references are ours, with their rows committed, before the first attempt", async (t) => {
    const server = await startServer(t);
    const pictures = [await paint(colours.red), await paint(colours.blue, 4, 9)];
    const urls = pictures.map((bytes, index) => server.serve(`/${index}.png`, bytes));
    await using engine = await open();
    const id = await engine.submit({ image_urls: urls });
    const seen: { bytes: Buffer[]; sizes: number[][]; rows: number }[] = [];
    engine.vendor.onSubmit(
      watched(async (job) => {
        const sizes = job.references.map(({ width, height }) => [width, height]);
        assert.equal(engine.unsynced(), 0);
        seen.push({ bytes: await readAll(job), sizes, rows: (await loadRows(engine, id)).length });
      }, delivered()),
    );
    await engine.start();
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).status, "completed");
    assert.deepEqual(seen, [
      {
        bytes: pictures,
        sizes: [
          [8, 6],
          [4, 9],
        ],
        rows: 2,
      },
    ]);
    assert.deepEqual(server.asked.toSorted(), ["/0.png", "/1.png"]);
  });

  test("every slot, every try and every restart uses the bytes that were fetched once", async (t) => {
    const server = await startServer(t);
    const bytes = await paint(colours.green);
    const url = server.serve("/one.png", bytes);
    const vendor = createVendor({ resend: "safe" });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ image_urls: [url], n: 2 });
    const seen: Buffer[] = [];
    const look = async (job: Job): Promise<void> => void seen.push(...(await readAll(job)));
    vendor.onSubmit(watched(look, failing("unavailable")), deaf());
    vendor.always({ submit: watched(look, delivered()) });
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 2);
    await engine.rest();
    first.crash();
    server.serve("/one.png", await paint(colours.red));
    await engine.start();
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).result?.images.length, 2);
    assert.equal(seen.length, 3);
    assert.ok(seen.every((each) => each.equals(bytes)));
    assert.equal(server.asked.length, 1);
  });

  test("a reference that cannot be had ends the task: nothing is sent, kept or paid", async (t) => {
    const server = await startServer(t);
    const good = server.serve("/good.png", await paint(colours.red));
    const bad = {
      missing: `${server.origin}/missing.png`,
      noPicture: server.serve("/text.png", Buffer.from("hello")),
      empty: server.serve("/empty.png", Buffer.alloc(0)),
      cut: server.serve("/cut.png", (await paint(colours.red, 64, 64)).subarray(0, 90)),
    };
    for (const url of Object.values(bad)) {
      await using engine = await open();
      const id = await engine.submit({ image_urls: [good, url], n: 2 });
      await engine.start();
      await engine.untilEnded(id);
      await assertFailed(engine, id, { code: "invalid_reference_image", param: "image_urls" });
      assert.match((await engine.read(id)).error?.message ?? "", /^image_urls\[1\]: /);
      assert.deepEqual([await listObjects(engine), await loadRows(engine, id)], [[], []]);
    }
  });

  test("pictures from the body are used as they were stored, in their places among the others", async (t) => {
    const server = await startServer(t);
    const pictures = [
      await paint(colours.red),
      await paint(colours.green),
      await paint(colours.blue),
    ];
    const urls = [
      dataUri(pictures[0]!),
      server.serve("/1.png", pictures[1]!),
      dataUri(pictures[2]!),
    ];
    await using engine = await open();
    const id = await engine.submit({ image_urls: urls });
    let seen: Buffer[] = [];
    engine.vendor.onSubmit(
      watched(async (job) => {
        seen = await readAll(job);
      }, delivered()),
    );
    await engine.start();
    await engine.untilEnded(id);
    assert.deepEqual(seen, pictures);
    assert.equal(server.asked.length, 1);
  });

  test("a link of our own is read from storage, and its bytes outlive the upload", async () => {
    await using engine = await open();
    const bytes = await paint(colours.cyan);
    const id = await engine.submit({ image_urls: [await addUpload(engine, bytes)] });
    let seen: Buffer[] = [];
    engine.vendor.onSubmit(
      watched(async (job) => {
        for (const object of await listObjects(engine)) {
          const rows = await loadRows(engine, id);
          if (!rows.some((row) => row.object === object)) await engine.storage.remove(object);
        }
        seen = await readAll(job);
      }, delivered()),
    );
    await engine.start();
    await engine.untilEnded(id);
    assert.deepEqual(seen, [bytes]);
  });

  test("a link of our own whose bytes are gone is a reference that cannot be had", async () => {
    await using engine = await open();
    const url = await addUpload(engine, await paint(colours.cyan));
    const id = await engine.submit({ image_urls: [url] });
    for (const object of await listObjects(engine)) await engine.storage.remove(object);
    await engine.start();
    await engine.untilEnded(id);
    await assertFailed(engine, id, { code: "invalid_reference_image", param: "image_urls" });
  });

  test("a mask that does not fit its fetched reference ends the task", async (t) => {
    const server = await startServer(t);
    const url = server.serve("/reference.png", await paint(colours.red, 8, 6));
    const masks = {
      otherSize: await paintMask(6, 8, { left: 0, top: 0, width: 2, height: 2 }),
      opaque: await paintMask(8, 6, null),
      noAlpha: await paint(colours.blue, 8, 6),
    };
    for (const [name, mask] of Object.entries(masks)) {
      await using engine = await open();
      const fetched = server.serve(`/${name}.png`, mask);
      const id = await engine.submit({ image_urls: [url], mask_url: fetched });
      await engine.start();
      await engine.untilEnded(id);
      await assertFailed(engine, id, { code: "invalid_mask", param: "mask_url" });
    }
  });

  test("a mask is proved although the engine died between storing and proving it", async (t) => {
    const server = await startServer(t);
    const url = server.serve("/reference.png", await paint(colours.red, 8, 6));
    const mask = server.serve("/mask.png", await paintMask(8, 6, null));
    await using engine = await open();
    const id = await engine.submit({ image_urls: [url], mask_url: mask });
    const first = await engine.start();
    const unwatch = engine.deps.watch.onChanged(id, () => first.crash());
    await engine.run(async () => (await loadRows(engine, id)).length === 2);
    await engine.rest();
    unwatch();
    assert.equal((await engine.find(id)).state, "pending");
    await engine.start();
    await engine.untilEnded(id);
    await assertFailed(engine, id, { code: "invalid_mask", param: "mask_url" });
    assert.equal(server.asked.length, 2);
  });

  test("a good mask reaches the vendor as a mask and as a PNG, whatever it came as", async (t) => {
    const server = await startServer(t);
    const url = server.serve("/reference.png", await paint(colours.red, 8, 6));
    const hole = { left: 1, top: 1, width: 2, height: 2 };
    const mask = await sharp(await paintMask(8, 6, hole))
      .webp({ lossless: true })
      .toBuffer();
    await using engine = await open();
    const id = await engine.submit({
      image_urls: [url],
      mask_url: server.serve("/mask.webp", mask),
    });
    const seen: unknown[] = [];
    engine.vendor.onSubmit(
      watched(async (job) => {
        const bytes = Buffer.from((await job.mask?.read()) ?? "");
        const { format } = await sharp(bytes).metadata();
        const { pixels, channels } = await readPicture(bytes);
        const alphas = pixels.filter((_value, index) => index % channels === channels - 1);
        const clear = alphas.filter((alpha) => alpha === 0).length;
        seen.push(job.references.length, job.mask?.contentType, format, clear);
      }, delivered()),
    );
    await engine.start();
    await engine.untilEnded(id);
    assert.deepEqual(seen, [1, "image/png", "png", 4]);
  });

  test("a cancellation calls a fetch off, and an orderly stop gives its task back uncounted", async (t) => {
    const server = await startServer(t);
    for (const verb of ["cancel", "stop"] as const) {
      const asked = Promise.withResolvers<void>();
      let isSilent = true;
      const bytes = await paint(colours.red);
      const url = server.answer(`/${verb}.png`, (_request, reply) => {
        asked.resolve();
        if (!isSilent) reply.end(bytes);
      });
      await using engine = await open();
      const id = await engine.submit({ image_urls: [url] });
      const life = await engine.start();
      await asked.promise;
      isSilent = false;
      if (verb === "cancel") {
        await engine.cancel(id);
        await engine.rest();
        assert.equal((await engine.read(id)).status, "cancelled");
        assert.equal(life.worker.tasksInHand, 0);
        await engine.pass(5 * secondMs);
        assert.equal(engine.vendor.countOf("submit"), 0);
      } else {
        await life.stop();
        const row = await engine.db.read
          .selectFrom("queue")
          .select(["state", "claims"])
          .executeTakeFirst();
        assert.deepEqual(row, { state: "ready", claims: 0 });
        await engine.start();
        await engine.untilEnded(id);
        assert.equal((await engine.read(id)).status, "completed");
      }
      await engine.checkLedger();
    }
  });

  test("references wait for a storage that fails; the task is neither lost nor blamed", async (t) => {
    const server = await startServer(t);
    const url = server.serve("/one.png", await paint(colours.red));
    await using engine = await open();
    await rm(engine.folder, { recursive: true });
    await writeFile(engine.folder, "a file where the folder should be");
    const id = await engine.submit({ image_urls: [url] });
    await engine.start();
    await engine.pass(minuteMs);
    assert.equal((await engine.find(id)).state, "pending");
    await rename(engine.folder, `${engine.folder}.away`);
    await mkdir(engine.folder);
    await engine.untilEnded(id);
    await rm(`${engine.folder}.away`);
    assert.equal((await engine.read(id)).status, "completed");
    assert.deepEqual(await engine.balance(), { available: funds - testPrice, held: 0 });
  });
});

/** A stored upload of the engine's caller; its link. */
async function addUpload(engine: TestEngine, bytes: Buffer): Promise<string> {
  const object = objectName(systemRandom);
  const now = engine.clock.now();
  await engine.storage.put(object, bytes);
  await engine.db.transaction((tx) =>
    insertUpload(tx, {
      account_id: engine.caller.accountId,
      mode: engine.caller.mode,
      id: engine.deps.ids("upload"),
      object,
      filename: "upload.png",
      content_type: "image/png",
      width: 8,
      height: 6,
      bytes: bytes.byteLength,
      created_at: now,
      expires_at: now + dayMs,
    }),
  );
  return engine.linkTo(object, now + dayMs);
}
