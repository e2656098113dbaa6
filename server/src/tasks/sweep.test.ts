import assert from "node:assert/strict";
import { mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { onEachEngine, testModel } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { colours, dataUri, paintPlain } from "../../test/support/pictures.ts";
import { createVendor, running } from "../../test/support/vendor.ts";
import { insertUpload } from "../images/store.ts";
import { systemRandom } from "../lib/random.ts";
import { dayMs, hourMs, minuteMs } from "../lib/time.ts";
import { objectName } from "../storage/names.ts";
import { insertIdempotency } from "./idempotency-store.ts";

const retentionMs = 30 * dayMs;

async function listObjects(engine: TestEngine): Promise<string[]> {
  const entries = await readdir(engine.folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => name);
}

async function paintReference(): Promise<string> {
  const plain = { colour: colours.red, width: 8, height: 8, format: "png" } as const;
  return dataUri(await paintPlain(plain));
}

/** Ends one task with a reference; resolves at its end. */
async function makeTask(engine: TestEngine): Promise<string> {
  const id = await engine.submit({ image_urls: [await paintReference()] });
  const life = await engine.start();
  await engine.untilEnded(id);
  await life.stop();
  return id;
}

async function countRows(engine: TestEngine): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const tables = ["tasks", "slots", "attempts", "outputs", "references", "ledger"] as const;
  for (const table of tables) {
    counts[table] = (await engine.db.read.selectFrom(table).selectAll().execute()).length;
  }
  return counts;
}

onEachEngine((_name, open) => {
  test("result bytes go an hour after their links, references a day after the end, rows stay", async () => {
    await using engine = await open();
    const id = await makeTask(engine);
    const rows = await countRows(engine);
    const before = await engine.read(id);
    const expiresAt = before.result!.images[0]!.expires_at;
    assert.equal(expiresAt, before.completed! + dayMs / 1_000);

    await engine.clock.advance(dayMs - minuteMs);
    await engine.sweep();
    assert.equal((await listObjects(engine)).length, 2);
    await engine.clock.advance(minuteMs);
    await engine.sweep();
    const [output] = await engine.db.read.selectFrom("outputs").select("object").execute();
    assert.deepEqual(await listObjects(engine), [output?.object]);
    await engine.clock.advance(hourMs - 1);
    await engine.sweep();
    assert.equal((await listObjects(engine)).length, 1);
    await engine.clock.advance(1);
    await engine.sweep();
    assert.deepEqual(await listObjects(engine), []);
    assert.deepEqual(await countRows(engine), rows);
    assert.deepEqual(await engine.read(id), before);
    assert.equal(await engine.sweep(), false);
  });

  test("a task's rows go when its retention ends; the ledger stays for ever", async () => {
    await using engine = await open();
    const id = await makeTask(engine);
    const { ledger } = await countRows(engine);
    await engine.clock.advance(retentionMs - 1);
    await engine.sweep();
    assert.equal((await engine.read(id)).id, id);
    await engine.clock.advance(1);
    await engine.sweep();
    assert.deepEqual(await countRows(engine), {
      tasks: 0,
      slots: 0,
      attempts: 0,
      outputs: 0,
      references: 0,
      ledger,
    });
    await assert.rejects(engine.read(id), /is missing/);
    await engine.checkLedger();
  });

  test("a task is kept as long as its links work; bytes that are still there then go with it", async () => {
    await using engine = await open({ retentionMs: minuteMs });
    await makeTask(engine);
    await engine.clock.advance(dayMs - 1);
    await engine.sweep();
    assert.equal((await countRows(engine))["tasks"], 1);
    assert.equal((await listObjects(engine)).length, 2);
    await engine.clock.advance(1);
    await engine.sweep();
    assert.equal((await countRows(engine))["tasks"], 0);
    assert.deepEqual(await listObjects(engine), []);
  });

  test("bytes go before the rows that name them: a storage that fails leaves nothing behind", async () => {
    await using engine = await open({ retentionMs: minuteMs });
    await makeTask(engine);
    await engine.clock.advance(dayMs);
    const away = `${engine.folder}.away`;
    await rename(engine.folder, away);
    await writeFile(engine.folder, "a file where the folder should be");
    await engine.sweep().catch(() => undefined);
    assert.equal((await countRows(engine))["outputs"], 1);
    await rm(engine.folder);
    await rename(away, engine.folder);
    await engine.sweep();
    assert.deepEqual(await listObjects(engine), []);
    assert.equal((await countRows(engine))["tasks"], 0);
  });

  test("an object that cannot be removed stops no other, and is tried again", async () => {
    await using engine = await open();
    await makeTask(engine);
    const [output] = await engine.db.read.selectFrom("outputs").select("object").execute();
    const stuck = join(engine.folder, output!.object.slice(0, 2), output!.object);
    await rm(stuck);
    await mkdir(join(stuck, "in the way"), { recursive: true });
    await engine.clock.advance(2 * dayMs);
    await engine.sweep();
    assert.deepEqual(await listObjects(engine), []);
    const removeAt = async () =>
      (await engine.db.read.selectFrom("outputs").select("remove_at").execute())[0]?.remove_at;
    assert.notEqual(await removeAt(), null);
    await rm(stuck, { recursive: true });
    await engine.sweep();
    assert.equal(await removeAt(), null);
  });

  test("a task that has not ended keeps its rows and bytes, however old it is", async () => {
    const vendor = createVendor({ submit: running(10 * dayMs), timeoutMs: 100 * dayMs });
    await using engine = await open({
      vendors: [vendor],
      retentionMs: minuteMs,
      deadlineMs: 100 * dayMs,
    });
    const id = await engine.submit({ image_urls: [await paintReference()] });
    const life = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.rest();
    life.crash();
    await engine.clock.advance(40 * dayMs);
    await engine.sweep();
    assert.equal((await engine.read(id)).status, "processing");
    assert.equal((await listObjects(engine)).length, 1);
  });

  test("uploads go with their bytes at their expiry", async () => {
    await using engine = await open();
    const now = engine.clock.now();
    const objects = [objectName(systemRandom), objectName(systemRandom)];
    for (const [index, object] of objects.entries()) {
      await engine.storage.put(object, Buffer.from("bytes"));
      await engine.db.transaction((tx) =>
        insertUpload(tx, {
          account_id: engine.caller.accountId,
          mode: "live",
          id: engine.deps.ids("upload"),
          object,
          filename: "a.png",
          content_type: "image/png",
          width: 1,
          height: 1,
          bytes: 5,
          created_at: now,
          expires_at: now + (index + 1) * dayMs,
        }),
      );
    }
    await engine.clock.advance(dayMs - 1);
    await engine.sweep();
    assert.equal((await listObjects(engine)).length, 2);
    await engine.clock.advance(1);
    await engine.sweep();
    assert.deepEqual(await listObjects(engine), [objects[1]]);
    const uploads = await engine.db.read.selectFrom("uploads").select("object").execute();
    assert.deepEqual(uploads, [{ object: objects[1] }]);
  });

  test("idempotency keys go at their expiry, in rounds that are never too large", async () => {
    await using engine = await open();
    const { accountId } = engine.caller;
    const now = engine.clock.now();
    const rows = Array.from({ length: 501 }, (_, index) => ({
      account_id: accountId,
      mode: "live" as const,
      route: "POST /v1/images/generations",
      key: `key ${index}`,
      digest: "d",
      task_id: `task_${index}`,
      expires_at: now + index,
    }));
    await engine.db.transaction((tx) => insertIdempotency(tx, rows));
    const count = async () =>
      (await engine.db.read.selectFrom("idempotency").select("key").execute()).length;
    await engine.sweep();
    assert.equal(await count(), 500);
    await engine.clock.advance(499);
    assert.equal(await engine.sweep(), false);
    assert.equal(await count(), 1);
    await engine.db.transaction((tx) => insertIdempotency(tx, rows));
    await engine.clock.advance(dayMs);
    assert.equal(await engine.sweep(), true);
    assert.equal(await count(), 1);
    assert.equal(await engine.sweep(), false);
    assert.equal(await count(), 0);
  });

  test("a failed task's references go too, and a cancelled one's", async () => {
    await using engine = await open();
    const id = await engine.submit({ image_urls: [await paintReference()], model: testModel });
    await engine.cancel(id);
    assert.equal((await listObjects(engine)).length, 1);
    await engine.clock.advance(dayMs);
    await engine.sweep();
    assert.deepEqual(await listObjects(engine), []);
  });
});
