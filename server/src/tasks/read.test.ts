import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine } from "../../test/support/engine.ts";
import { createVendor, failing, running } from "../../test/support/vendor.ts";
import { createCatalogue } from "../models/catalogue.ts";
import { createLinks } from "../storage/links.ts";
import { minuteMs } from "../lib/time.ts";
import { createReader } from "./read.ts";
import { describeTaskError } from "./errors.ts";

onEachEngine((_name, open) => {
  test("an account reads its tasks with any key of the mode; others find nothing", async () => {
    await using engine = await open();
    const id = await engine.submit();
    const { accountId } = engine.caller;
    const sibling = await engine.createCaller({ accountId });
    const tester = await engine.createCaller({ accountId, mode: "test" });
    const stranger = await engine.createCaller();
    assert.equal((await engine.read(id, "en", sibling)).id, id);
    await assert.rejects(engine.read(id, "en", tester), /is missing/);
    await assert.rejects(engine.read(id, "en", stranger), /is missing/);
    await assert.rejects(engine.read("task_unknown"), /is missing/);
  });

  test("a task that has ended is still nobody else's, also when it was read before", async () => {
    await using engine = await open();
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await engine.read(id);
    const stranger = await engine.createCaller();
    const tester = await engine.createCaller({ accountId: engine.caller.accountId, mode: "test" });
    await assert.rejects(engine.read(id, "en", stranger), /is missing/);
    await assert.rejects(engine.read(id, "en", tester), /is missing/);
  });

  test("every read sees the task as it stands: pending, processing, ended", async () => {
    const vendor = createVendor({ submit: running(2_000) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    assert.equal((await engine.read(id)).status, "pending");
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    assert.equal((await engine.read(id)).status, "processing");
    await engine.untilEnded(id);
    const task = await engine.read(id);
    assert.equal(task.status, "completed");
    assert.equal(task.actual_time, task.completed! - task.created);
    assert.ok(task.actual_time >= 2);
  });

  test("an error is in the language of each read", async () => {
    const vendor = createVendor({ submit: failing("refused") });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    for (const language of ["zh", "en", "de", "zh"] as const) {
      const { error } = await engine.read(id, language);
      assert.equal(error?.message, describeTaskError("content_policy_violation", language));
    }
  });

  test("a link leads to the picture's bytes and keeps its expiry however often it is read", async () => {
    await using engine = await open();
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    const [image] = (await engine.read(id)).result!.images;
    await engine.clock.advance(minuteMs);
    assert.deepEqual((await engine.read(id)).result!.images[0], image);
    const links = createLinks({ secret: Buffer.alloc(32, 9), clock: engine.clock });
    const link = links.recognise(image!.url[0]!, ["http://darkroom.test"]);
    assert.equal(link?.state, "valid");
    const bytes = await engine.storage.read(link.object);
    assert.equal(bytes?.byteLength, image?.bytes);
    assert.equal(link.expiresAtMs, image!.expires_at * 1_000);
  });

  test("after its retention a task is gone, also from what was kept ready and before the sweep", async () => {
    await using engine = await open({ retentionMs: minuteMs });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await engine.read(id);
    await engine.clock.advance(minuteMs - 1);
    await engine.read(id);
    await engine.clock.advance(1);
    await assert.rejects(engine.read(id), /is missing/);
  });

  test("an end is shown only when it is durable, and ended says that it is the last word", async () => {
    await using engine = await open();
    const id = await engine.submit();
    let synced = 0;
    const readTask = createReader({
      ...engine.deps,
      db: {
        ...engine.deps.db,
        durable: async () => {
          synced += 1;
          await engine.deps.db.durable();
        },
      },
      links: createLinks({ secret: Buffer.alloc(32, 9), clock: engine.clock }),
      retentionMs: minuteMs,
      publicUrl: () => "http://darkroom.test",
    });
    const input = { ...engine.caller, taskId: id, language: "en" } as const;
    assert.deepEqual([(await readTask(input))?.ended, synced], [false, 0]);
    await engine.cancel(id);
    assert.deepEqual([(await readTask(input))?.ended, synced], [true, 1]);
    assert.deepEqual([(await readTask(input))?.ended, synced], [true, 1]);
  });

  test("a task of a model that the operator has removed can still be read", async () => {
    await using engine = await open();
    const id = await engine.submit();
    const catalogue = createCatalogue(
      engine.deps.catalogue.list().filter((model) => model.id === "flux-2-pro"),
    );
    const readTask = createReader({
      ...engine.deps,
      catalogue,
      links: createLinks({ secret: Buffer.alloc(32, 9), clock: engine.clock }),
      retentionMs: minuteMs,
      publicUrl: () => "http://darkroom.test",
    });
    const text = await readTask({ ...engine.caller, taskId: id, language: "en" });
    assert.match(text!.json, /"estimated_time":60/);
  });
});
