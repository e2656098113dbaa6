/** A real S3 server that goes away and comes back while finished pictures want to be kept. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { until } from "../../test/support/client.ts";
import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import type { EngineOptions, OpenEngine, TestEngine } from "../../test/support/engine.ts";
import { pngChunk, pngHeader } from "../../test/support/hostile-pictures.ts";
import { startPeer } from "../../test/support/peers.ts";
import { startS3Server } from "../../test/support/s3-server.ts";
import type { S3Fault } from "../../test/support/s3-server.ts";
import {
  brokenPicture,
  createVendor,
  delivered,
  picture,
  running,
} from "../../test/support/vendor.ts";
import type { Answer } from "../../test/support/vendor.ts";
import { sumWaste } from "../billing/costs.ts";
import { createPictureProcesses } from "../images/processes.ts";
import { must } from "../lib/errors.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { minuteMs, secondMs, systemClock } from "../lib/time.ts";
import { createDiskStorage } from "../storage/disk.ts";
import { createS3Storage } from "../storage/s3.ts";
import { findS3Target } from "../storage/s3-target.ts";
import type { Storage } from "../storage/storage.ts";

const checkKey = "darkroom-check";

/** An engine with its pictures in a bucket, which is away until it is told to come back. */
async function openAway(t: TestContext, open: OpenEngine, options: EngineOptions = {}) {
  const server = await startS3Server(t);
  const setting = `s3://${server.bucket}?endpoint=${server.endpoint}`;
  const storage = createS3Storage({
    target: must(findS3Target(setting), setting),
    credentials: server.credentials,
    clock: systemClock,
    random: systemRandom,
    retryPauseMs: 1,
  });
  t.after(() => storage.close());
  const refusal: S3Fault = { kind: "refuse", status: 503, code: "SlowDown" };
  server.fault.choose = () => refusal;
  const engine = await open({ ...options, storage });
  return {
    engine,
    comeBack: () => {
      server.fault.choose = () => null;
    },
    /** Takes so many pictures, and every check. */
    takeOnly: (count: number) => {
      let left = count;
      server.fault.choose = (request) => {
        if (!isPut(request) || left === 0) return isPut(request) ? refusal : null;
        left -= 1;
        return null;
      };
    },
    /** Requests that bring a picture, tries that were refused included. */
    puts: () => server.requests.filter(isPut).length,
    checks: () => server.requests.filter((one) => one.includes(checkKey)).length,
    listObjects: async () => (await server.listKeys()).filter((key) => key !== checkKey),
    countWaiting: () => countFiles(engine.spoolFolder),
  };
}

function isPut(request: string): boolean {
  return request.startsWith("PUT ") && !request.includes(checkKey);
}

async function countFiles(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isFile() && !entry.name.includes(".lock")).length;
}

async function assertCompleted(engine: TestEngine, id: string, pictures = 1): Promise<void> {
  const task = await engine.read(id);
  assert.equal(task.status, "completed", JSON.stringify(task.error));
  assert.equal(task.result?.images.length, pictures);
  assert.equal((await engine.balance()).held, 0);
  await engine.checkLedger();
}

/** Failed, uncharged, and what it may have cost us is in the waste. */
async function assertWasted(engine: TestEngine, id: string, code: string): Promise<void> {
  const task = await engine.read(id);
  assert.deepEqual([task.status, task.error?.code, task.cost], ["failed", code, 0]);
  assert.deepEqual(await engine.balance(), { available: 100_000_000, held: 0 });
  const waste = await sumWaste(engine.db.read, 0);
  assert.equal(waste.attempts, 1);
  assert.ok(waste.amount > 0);
  await engine.checkLedger();
}

const tinyBytes = Buffer.from((picture() as { bytes: Uint8Array }).bytes);

/** Done with a picture of that many bytes, which only the answer refers to. */
function deliveredLarge(byteLength: number): Answer {
  return {
    give: () => {
      const filler = pngChunk("teSt", Buffer.alloc(byteLength, 7));
      const header = pngHeader({ width: 4, height: 4 });
      const bytes = Buffer.concat([header, filler, tinyBytes.subarray(header.byteLength)]);
      return { status: "done", pictures: [{ kind: "bytes", bytes }], usage: {} };
    },
  };
}

onEachEngine((name, open) => {
  test("finished pictures wait in files while the store is away, and are kept as soon as it is back", async (t) => {
    const { engine: opened, ...bucket } = await openAway(t, open);
    await using engine = opened;
    const id = await engine.submit({ n: 4 });
    await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 4);
    const putsBefore = bucket.puts();
    await engine.pass(20_000);
    assert.equal((await engine.find(id)).state, "processing");
    assert.equal(bucket.puts(), putsBefore, "who waits does not try");
    assert.ok(bucket.checks() >= 18 && bucket.checks() <= 22, `${bucket.checks()} checks`);
    bucket.comeBack();
    await engine.untilEnded(id, 2_000);
    await assertCompleted(engine, id, 4);
    assert.deepEqual(await engine.balance(), { available: 100_000_000 - 4 * testPrice, held: 0 });
    assert.equal(engine.vendor.countOf("submit"), 4);
    assert.equal((await bucket.listObjects()).length, 4);
    assert.equal(await bucket.countWaiting(), 0);
    assert.equal((await sumWaste(engine.db.read, 0)).amount, 0);
  });

  test("what a vendor tells of by URL is downloaded once, before its link expires", async (t) => {
    const vendor = createVendor({ submit: running(), poll: delivered() });
    const { engine: opened, ...bucket } = await openAway(t, open, { vendors: [vendor] });
    await using engine = opened;
    let downloads = 0;
    const host = await startPeer(t, (_request, response) => {
      downloads += 1;
      response.end(tinyBytes);
    });
    vendor.onPoll(delivered([{ kind: "url", url: host.url("/picture.png") }]));
    const id = await engine.submit();
    await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    await engine.pass(minuteMs);
    bucket.comeBack();
    await engine.untilEnded(id, 2_000);
    await assertCompleted(engine, id);
    assert.deepEqual([downloads, vendor.countOf("poll")], [1, 1]);
  });

  test("at the deadline the task fails, the picture goes to waste, and nothing is stored later", async (t) => {
    const { engine: opened, ...bucket } = await openAway(t, open, { deadlineMs: minuteMs });
    await using engine = opened;
    const id = await engine.submit();
    await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    await engine.untilEnded(id, 62_000);
    await assertWasted(engine, id, "generation_timeout");
    await engine.rest();
    assert.equal(await bucket.countWaiting(), 0);
    bucket.comeBack();
    await engine.pass(5_000);
    assert.deepEqual(await bucket.listObjects(), []);
  });

  test("a picture whose worker died is asked for again by its handle, and not paid for twice", async (t) => {
    const vendor = createVendor({ submit: running(), poll: delivered() });
    const { engine: opened, ...bucket } = await openAway(t, open, { vendors: [vendor] });
    await using engine = opened;
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    first.crash();
    bucket.comeBack();
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    assert.deepEqual([vendor.countOf("submit"), vendor.countOf("poll")], [1, 2]);
    assert.equal((await bucket.listObjects()).length, 1);
  });

  test("a picture whose worker died is unknown where nobody can be asked for it", async (t) => {
    const { engine: opened, ...bucket } = await openAway(t, open);
    await using engine = opened;
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    first.crash();
    bucket.comeBack();
    await engine.start();
    await engine.untilEnded(id);
    await assertWasted(engine, id, "outcome_unknown");
    assert.equal(engine.vendor.countOf("submit"), 1);
  });

  test("a worker that stops lets go of its spool, and the next one asks for the picture", async (t) => {
    const vendor = createVendor({ submit: running(), poll: delivered() });
    const { engine: opened, ...bucket } = await openAway(t, open, { vendors: [vendor] });
    await using engine = opened;
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    await first.stop();
    assert.deepEqual(await readdir(engine.spoolFolder), []);
    bucket.comeBack();
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id);
    assert.equal(vendor.countOf("submit"), 1);
  });

  test("without room to wait in, a picture is let go of and asked for again once the store is back", async (t) => {
    const vendor = createVendor({ submit: running(), poll: delivered() });
    const options = { vendors: [vendor], spoolBytesMax: 0 };
    const { engine: opened, ...bucket } = await openAway(t, open, options);
    await using engine = opened;
    const id = await engine.submit();
    await engine.start();
    await engine.run(() => vendor.countOf("poll") === 1);
    await engine.pass(minuteMs);
    assert.deepEqual([vendor.countOf("poll"), await bucket.countWaiting()], [1, 0]);
    bucket.comeBack();
    await engine.untilEnded(id, 5_000);
    await assertCompleted(engine, id);
    assert.deepEqual([vendor.countOf("submit"), vendor.countOf("poll")], [1, 2]);
  });

  test("without room to wait in, a link is asked again once the store is back", async (t) => {
    let downloads = 0;
    const host = await startPeer(t, (_request, response) => {
      downloads += 1;
      response.end(tinyBytes);
    });
    const vendor = createVendor({
      submit: delivered([{ kind: "url", url: host.url("/picture.png") }]),
    });
    const options = { vendors: [vendor], spoolBytesMax: 0 };
    const { engine: opened, ...bucket } = await openAway(t, open, options);
    await using engine = opened;
    const id = await engine.submit();
    await engine.start();
    await engine.run(() => downloads === 1);
    await engine.pass(minuteMs);
    assert.equal(downloads, 1);
    bucket.comeBack();
    await engine.untilEnded(id, 5_000);
    await assertCompleted(engine, id);
    assert.deepEqual([downloads, vendor.countOf("submit")], [2, 1]);
  });

  test("without room to wait in and nobody to ask, the outcome is unknown and goes to waste", async (t) => {
    const { engine: opened } = await openAway(t, open, { spoolBytesMax: 0 });
    await using engine = opened;
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await assertWasted(engine, id, "outcome_unknown");
    assert.equal(engine.vendor.countOf("submit"), 1);
  });

  test("while much waits for the store no new task is begun, and what is under way goes on", async (t) => {
    const vendor = createVendor({ submit: running(), poll: delivered() });
    const spoolBytesMax = 2 * tinyBytes.byteLength;
    const options = { vendors: [vendor], spoolBytesMax };
    const { engine: opened, ...bucket } = await openAway(t, open, options);
    await using engine = opened;
    vendor.onSubmit(running(), running(), running(30_000));
    const ids = [await engine.submit({ n: 2 }), await engine.submit()];
    await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 2);
    ids.push(await engine.submit());
    await engine.pass(40_000);
    assert.equal(vendor.countOf("submit"), 3);
    assert.equal(vendor.countOf("poll"), 3);
    bucket.comeBack();
    for (const id of ids) await engine.untilEnded(id, 10_000);
    assert.equal(vendor.countOf("submit"), 4);
    assert.equal((await bucket.listObjects()).length, 4);
    await assertCompleted(engine, ids[0]!, 2);
  });

  test("bytes that are no picture are refused at once, whether the store is there or not", async (t) => {
    const vendor = createVendor();
    const { engine: opened, ...bucket } = await openAway(t, open, { vendors: [vendor] });
    await using engine = opened;
    const waiting = await engine.submit();
    await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    vendor.onSubmit(delivered([brokenPicture()]));
    const broken = await engine.submit();
    await engine.untilEnded(broken, 2_000);
    assert.equal((await engine.read(broken)).error?.code, "no_image");
    assert.equal((await engine.find(waiting)).state, "processing");
  });

  test("a store that takes a few pictures and no more is asked about once a second, and nothing is lost", async (t) => {
    const { engine: opened, ...bucket } = await openAway(t, open, { storeBytesMax: 1 });
    await using engine = opened;
    const ids = [];
    for (let index = 0; index < 5; index += 1) ids.push(await engine.submit({ n: 4 }));
    await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === 20);
    bucket.takeOnly(5);
    await engine.run(async () => (await bucket.listObjects()).length === 5);
    const before = bucket.puts();
    await engine.pass(20_000);
    // A request is sent four times before the store counts as away.
    const tries = (bucket.puts() - before) / 4;
    assert.ok(tries >= 5 && tries <= 25, `${tries} tries`);
    assert.equal(await bucket.countWaiting(), 15);
    bucket.comeBack();
    for (const id of ids) await engine.untilEnded(id, 40_000);
    for (const id of ids) await assertCompleted(engine, id, 4);
    assert.equal(engine.vendor.countOf("submit"), 20);
    assert.equal((await bucket.listObjects()).length, 20);
    assert.equal(await bucket.countWaiting(), 0);
  });

  test("pictures that the converters have no room for wait in the spool, not in memory", async (t) => {
    const pictures = createPictureProcesses({
      clock: systemClock,
      log: createLog("silent"),
      processesMax: 1,
      outputsWaitingMax: 0,
    });
    t.after(() => pictures.close());
    const { engine: opened, ...bucket } = await openAway(t, open, { pictures });
    await using engine = opened;
    bucket.comeBack();
    const id = await engine.submit({ model: "gpt-image-1-official", quality: "low", n: 4 });
    await engine.start();
    await engine.untilEnded(id);
    await assertCompleted(engine, id, 4);
    const task = await engine.read(id);
    assert.deepEqual(new Set(task.result?.images.map(({ width }) => width)), new Set([1024]));
    assert.equal(engine.vendor.countOf("submit"), 4);
    assert.equal(await bucket.countWaiting(), 0);
  });

  test("at the deadline the pictures at hand are delivered and charged, and those that still wait fail", async (t) => {
    const vendor = createVendor({ picturesMax: 2, submit: running(), poll: delivered() });
    const options = { vendors: [vendor], deadlineMs: minuteMs };
    const { engine: opened, ...bucket } = await openAway(t, open, options);
    await using engine = opened;
    bucket.takeOnly(1);
    const id = await engine.submit({ n: 2 });
    // Without a rescue, which would end the task by force.
    await engine.start({ another: true });
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    await engine.untilEnded(id, minuteMs);
    await assertCompleted(engine, id);
    const { result } = await engine.read(id);
    assert.deepEqual(
      result?.errors?.map(({ code }) => code),
      ["generation_timeout"],
    );
    assert.deepEqual(await engine.balance(), { available: 100_000_000 - testPrice, held: 0 });
    assert.equal(await bucket.countWaiting(), 0);
    assert.equal((await bucket.listObjects()).length, 1);
  });

  test("at the deadline also what had to be let go of is given up", async (t) => {
    const vendor = createVendor({ submit: running(), poll: delivered() });
    const options = { vendors: [vendor], deadlineMs: minuteMs, spoolBytesMax: 0 };
    const { engine: opened } = await openAway(t, open, options);
    await using engine = opened;
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id, 62_000);
    await assertWasted(engine, id, "generation_timeout");
    assert.equal(vendor.countOf("poll"), 1);
  });

  test("past its deadline a picture is let go of, also when nobody has ended the task", async (t) => {
    const { engine: opened, ...bucket } = await openAway(t, open, { deadlineMs: minuteMs });
    await using engine = opened;
    const id = await engine.submit();
    await engine.start({ another: true });
    await engine.run(async () => (await bucket.countWaiting()) === 1);
    await engine.pass(minuteMs);
    assert.equal(await bucket.countWaiting(), 0);
    assert.equal((await engine.find(id)).state, "processing");
  });

  test("what a slow store has no room for waits in files, and nothing is lost", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "darkroom-slow-"));
    t.after(() => rm(folder, { recursive: true }));
    const storage = createDiskStorage({ folder, random: systemRandom });
    const slow = Promise.withResolvers<void>();
    const put: Storage["put"] = async (object, bytes) => {
      await slow.promise;
      return storage.put(object, bytes);
    };
    const storeBytesMax = 2 * tinyBytes.byteLength;
    await using engine = await open({ storage: { ...storage, put }, storeBytesMax });
    const id = await engine.submit({ n: 4 });
    await engine.start();
    // Nothing is at rest while a write is under way, so that time is not moved here.
    await until(
      () => countFiles(engine.spoolFolder),
      (files) => files === 2,
    );
    slow.resolve();
    await engine.untilEnded(id);
    await assertCompleted(engine, id, 4);
    assert.equal(await countFiles(engine.spoolFolder), 0);
  });

  if (name !== "sqlite") return;
  test("pictures that wait take no memory", async (t) => {
    const largeBytes = 4 * 2 ** 20;
    const count = 24;
    const vendor = createVendor({ submit: deliveredLarge(largeBytes) });
    const { engine: opened, ...bucket } = await openAway(t, open, { vendors: [vendor] });
    await using engine = opened;
    for (let index = 0; index < count; index += 1) await engine.submit();
    const before = measureBuffers();
    await engine.start();
    await engine.run(async () => (await bucket.countWaiting()) === count);
    await engine.pass(5 * secondMs);
    const held = measureBuffers() - before;
    assert.ok(held < 2 * largeBytes, `${held} bytes are still referred to`);
  });
});

/** Bytes of buffers that something refers to. */
function measureBuffers(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (const _ of [1, 2, 3]) collect();
  return process.memoryUsage().arrayBuffers;
}
