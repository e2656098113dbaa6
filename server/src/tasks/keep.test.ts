/** A real S3 server that goes away and comes back while finished pictures want to be kept. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "node:test";

import {
  assertCompleted,
  assertWasted,
  openAway,
  tinyBytes,
} from "../../test/support/away-storage.ts";
import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import { startPeer } from "../../test/support/peers.ts";
import { brokenPicture, createVendor, delivered, running } from "../../test/support/vendor.ts";
import { sumWaste } from "../billing/costs.ts";
import { minuteMs } from "../lib/time.ts";

onEachEngine((_name, open) => {
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
});
