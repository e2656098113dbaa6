/** What becomes of work at channels: which one delivers, unknown outcomes, dead links, and what all of it costs us. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import { endAll, loadCosts } from "../../test/support/task-ends.ts";
import {
  createVendor,
  delivered,
  failedPicture,
  failing,
  picture,
  running,
} from "../../test/support/vendor.ts";
import type { Answer } from "../../test/support/vendor.ts";
import { minuteMs, secondMs } from "../lib/time.ts";

/** A host that answers with a PNG for `/good`, and with 404 for everything else. */
async function openPictureHost() {
  const png = picture();
  const bytes = png.kind === "bytes" ? png.bytes : Buffer.alloc(0);
  const paths: string[] = [];
  const server = createServer((request, response) => {
    paths.push(request.url ?? "");
    const isThere = request.url === "/good";
    response.writeHead(isThere ? 200 : 404, { "content-type": "image/png" });
    response.end(isThere ? bytes : "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    paths,
    link: (path: string): Answer => ({
      give: () => ({
        status: "done",
        pictures: [{ kind: "url", url: `http://127.0.0.1:${port}${path}` }],
        usage: {},
      }),
    }),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

onEachEngine((_name, open) => {
  test("the official price is paid where the official channel delivered, within the hold", async () => {
    const standard = createVendor({ tiers: ["standard"], submit: failing("unavailable") });
    const official = createVendor({ name: "official", tiers: ["official"], costRatioPpm: 500_000 });
    await using engine = await open({ vendors: [standard, official] });
    const id = await engine.submit({ official_fallback: true });
    const { held } = await engine.balance();
    await engine.start();
    assert.deepEqual(await endAll(engine, [id]), ["completed"]);
    const { price } = await engine.find(id);
    const tier = price.tiers.official;
    assert.ok(tier?.billing === "picture");
    const [slot] = await engine.slots(id);
    assert.equal(slot?.captured, tier.each);
    assert.ok(slot.captured <= held);
    const attempts = await engine.attempts(id);
    assert.deepEqual(
      attempts.map((attempt) => [attempt.channel, attempt.tier, attempt.state]),
      [
        ["vendor", "standard", "failed"],
        ["official", "official", "done"],
      ],
    );
    assert.deepEqual(await loadCosts(engine), [
      ["official", Math.round(tier.each / 2), "delivered"],
    ]);
    await engine.checkLedger();
  });

  test("a channel may opt into one more try after an outcome that nobody knows", async () => {
    const vendor = createVendor({ unknownOutcome: "retry_once" });
    vendor.onSubmit(failing("lost"), delivered(), failing("vanished"), failing("garbled"));
    await using engine = await open({ vendors: [vendor] });
    await engine.start();
    assert.deepEqual(await endAll(engine, [await engine.submit()]), ["completed"]);
    assert.equal(vendor.countOf("submit"), 2);
    assert.deepEqual(await loadCosts(engine), [
      ["vendor", testPrice, "wasted"],
      ["vendor", testPrice, "delivered"],
    ]);
    assert.deepEqual(await endAll(engine, [await engine.submit()]), ["outcome_unknown"]);
    assert.equal(vendor.countOf("submit"), 4);
    assert.equal((await engine.balance()).available, 100_000_000 - testPrice);
    await engine.checkLedger();
  });

  test("what the vendor reports is booked as our cost, and never sets the price of a picture", async () => {
    const vendor = createVendor({ costRatioPpm: 2_000_000, picturesMax: 2 });
    vendor.onSubmit(delivered(undefined, { cost: 1_234 }), delivered(), failing("refused"));
    await using engine = await open({ vendors: [vendor] });
    await engine.start();
    // One after the other: the vendor's answers are in the order of its calls.
    for (const n of [1, 2, 1]) await endAll(engine, [await engine.submit({ n })]);
    const booked = await loadCosts(engine);
    assert.deepEqual(
      booked.toSorted((a, b) => Number(a[1]) - Number(b[1])),
      [
        ["vendor", 1_234, "delivered"],
        ["vendor", 2 * 2 * testPrice, "delivered"],
      ],
    );
    assert.equal((await engine.balance()).available, 100_000_000 - 3 * testPrice);
    await engine.checkLedger();
  });

  test("work that is still under way when its task is ended by force goes to waste", async () => {
    const vendor = createVendor({
      submit: running(),
      poll: running(5_000),
      timeoutMs: 10 * minuteMs,
    });
    await using engine = await open({ vendors: [vendor], deadlineMs: minuteMs });
    const id = await engine.submit({ n: 2 });
    await engine.start();
    assert.deepEqual(await endAll(engine, [id]), ["generation_timeout"]);
    assert.deepEqual(await loadCosts(engine), [
      ["vendor", testPrice, "wasted"],
      ["vendor", testPrice, "wasted"],
    ]);
    vendor.always({ poll: delivered() });
    await engine.pass(20 * secondMs);
    assert.equal((await loadCosts(engine)).length, 2);
    assert.equal((await engine.balance()).available, 100_000_000);
  });

  test("a cancellation asks the vendor to stop what it has, and delivers what comes all the same", async () => {
    const vendor = createVendor({ canCancel: true, submit: running(60_000), poll: delivered() });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    await engine.run(async () => (await engine.attempts(id))[0]?.state === "running");
    await engine.cancel(id);
    await engine.rest();
    const [attempt] = await engine.attempts(id);
    const asked = vendor.calls.filter(({ verb }) => verb === "cancel");
    assert.deepEqual(
      asked.map(({ attemptId, handle }) => [attemptId, handle]),
      [[attempt!.id, attempt!.handle]],
    );
    assert.deepEqual(await endAll(engine, [id]), ["completed"]);
  });

  test("a picture of a finished attempt that failed in passing is tried again, and the others are kept", async () => {
    const vendor = createVendor({ picturesMax: 4 });
    vendor.onSubmit(
      delivered([
        picture(),
        failedPicture("unavailable", { retryAfterMs: 4_000 }),
        failedPicture("refused"),
      ]),
    );
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 3 });
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.pass(secondMs);
    const meanwhile = await engine.read(id);
    assert.deepEqual([meanwhile.status, meanwhile.progress], ["processing", 66]);
    assert.deepEqual(await endAll(engine, [id]), ["completed"]);
    assert.deepEqual(
      vendor.calls.map(({ slots }) => slots),
      [[0, 1, 2], [1]],
    );
    const { result } = await engine.read(id);
    assert.deepEqual(
      result?.images.map(({ index }) => index),
      [0, 1],
    );
    assert.equal(result.errors?.[0]?.code, "content_policy_violation");
    await engine.checkLedger();
  });

  test("a link that has expired is asked for once more, and the picture delivered", async () => {
    await using host = await openPictureHost();
    const vendor = createVendor({ submit: running() });
    vendor.onPoll(host.link("/expired"), host.link("/good"));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    assert.deepEqual(await endAll(engine, [id]), ["completed"]);
    assert.deepEqual(host.paths, ["/expired", "/good"]);
    assert.equal(vendor.countOf("submit"), 1);
  });

  test("a link that stays dead is no image, free for the caller, and our cost is wasted", async () => {
    await using host = await openPictureHost();
    const vendor = createVendor({ submit: running(), poll: host.link("/gone") });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    await engine.start();
    assert.deepEqual(await endAll(engine, [id]), ["no_image"]);
    assert.deepEqual(host.paths, ["/gone", "/gone"]);
    assert.equal(vendor.countOf("submit"), 1);
    assert.deepEqual(await loadCosts(engine), [["vendor", testPrice, "wasted"]]);
    assert.equal((await engine.balance()).available, 100_000_000);
  });

  test("an attempt whose channel has gone is unknown, and says which channel that was", async () => {
    const vendor = createVendor({ submit: running(), poll: running(5_000) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const life = await engine.start();
    await engine.run(() => vendor.countOf("poll") === 1);
    life.crash();
    await engine.db.transaction((tx) =>
      tx.updateTable("attempts").set({ channel: "gone" }).execute(),
    );
    await engine.start();
    assert.deepEqual(await endAll(engine, [id]), ["outcome_unknown"]);
    const [attempt] = await engine.attempts(id);
    assert.equal(attempt?.state, "unknown");
    assert.match(attempt.failure?.message ?? "", /channel "gone" does not exist/);
    assert.deepEqual(await loadCosts(engine), [["gone", testPrice, "wasted"]]);
  });
});
