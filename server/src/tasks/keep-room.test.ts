/** Finished pictures that wait for a storage: in files and not in memory, and what becomes of them without room. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import {
  assertCompleted,
  assertWasted,
  countFiles,
  openAway,
  tinyBytes,
} from "../../test/support/away-storage.ts";
import { until } from "../../test/support/client.ts";
import { onEachEngine } from "../../test/support/engine.ts";
import { startPeer } from "../../test/support/peers.ts";
import { pngChunk, pngHeader } from "../../test/support/picture-bytes.ts";
import { createVendor, delivered, running } from "../../test/support/vendor.ts";
import type { Answer } from "../../test/support/vendor.ts";
import { createPictureProcesses } from "../images/processes.ts";
import { createLog } from "../lib/log.ts";
import { systemRandom } from "../lib/random.ts";
import { minuteMs, secondMs, systemClock } from "../lib/time.ts";
import { createDiskStorage } from "../storage/disk.ts";
import type { Storage } from "../storage/storage.ts";

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
