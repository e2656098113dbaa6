/** What channels do to tasks: places, breakers, faults, unknown outcomes, and what all of it costs us. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import * as fc from "fast-check";

import { onEachEngine, testModel, testPrice } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import {
  createVendor,
  delivered,
  failedPicture,
  failing,
  picture,
  running,
  silent,
} from "../../test/support/vendor.ts";
import type { Answer, Vendor } from "../../test/support/vendor.ts";
import { countPlaces } from "../channels/load.ts";
import { loadLoads } from "../channels/load-store.ts";
import type { ChannelRow } from "../db/schema.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { listPlaces } from "./place-store.ts";

const capOf = (places: number): ReadonlyMap<string, number> => new Map([["*", places]]);

async function costs(engine: TestEngine) {
  const rows = await engine.db.read
    .selectFrom("costs")
    .select(["channel", "amount", "fate"])
    .orderBy("created_at")
    .orderBy("attempt_id")
    .execute();
  return rows.map(({ channel, amount, fate }) => [channel, amount, fate]);
}

/** The rows of places say what the attempts hold. */
async function assertLoad(engine: TestEngine): Promise<void> {
  const held = await listPlaces(engine.db.read);
  const rows = await loadLoads(engine.db.read);
  assert.deepEqual(
    rows.filter(({ in_flight }) => in_flight > 0),
    countPlaces(held),
  );
}

async function endAll(engine: TestEngine, ids: readonly string[], withinMs?: number) {
  for (const id of ids) await engine.untilEnded(id, withinMs);
  await engine.rest();
  return Promise.all(ids.map(async (id) => (await engine.read(id)).error?.code ?? "completed"));
}

async function submitMany(engine: TestEngine, count: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i += 1) ids.push(await engine.submit());
  return ids;
}

/** How many attempts the vendor had at once at most, from its own log: a submit begins one, a poll that is done ends it. */
function peakOf(vendor: Vendor, ended: ReadonlySet<string>): number {
  const live = new Set<string>();
  let peak = 0;
  for (const { verb, attemptId } of vendor.calls) {
    if (verb === "submit") live.add(attemptId);
    peak = Math.max(peak, live.size);
    if (verb === "poll" && ended.has(attemptId)) live.delete(attemptId);
  }
  return peak;
}

/** A row with the name of a vendor of the test; the vendor itself needs none. */
function rowFor(name: string): ChannelRow {
  return {
    name,
    provider: "openai",
    source: "operator",
    base_url: "https://vendor.test",
    secret: null,
    secret_hint: null,
    models_json: "[]",
    tiers_json: '["standard"]',
    priority: 0,
    weight: 1,
    cost_ratio_ppm: 1_000_000,
    caps_json: "{}",
    timeout_ms: 60_000,
    unknown_outcome: "fail",
    allow_json: "[]",
    settings_json: "{}",
    disabled_at: null,
    disabled_reason: null,
    fault: null,
    fault_reason: null,
    fault_at: null,
    fault_until: null,
    revision: 1,
    created_at: 0,
    updated_at: 0,
  };
}

/** A host that answers with a PNG at its first `good` requests for `/good`, and 404 for everything else. */
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

onEachEngine((name, open) => {
  test("a cap of two is never passed by twenty tasks, and all of them are done", async () => {
    const vendor = createVendor({ caps: capOf(2), submit: running(700), poll: delivered() });
    await using engine = await open({ vendors: [vendor] });
    const ids = await submitMany(engine, 20);
    const { worker } = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 2);
    await engine.pass(300);
    assert.ok(worker.tasksInHand <= 4, `${worker.tasksInHand} tasks wait in the worker's hands`);
    await assertLoad(engine);
    const ends = await endAll(engine, ids);
    assert.deepEqual(new Set(ends), new Set(["completed"]));
    assert.equal(vendor.countOf("submit"), 20);
    assert.equal(peakOf(vendor, new Set(vendor.submitted)), 2);
    assert.deepEqual(await listPlaces(engine.db.read), []);
    await assertLoad(engine);
    const begun = vendor.calls[0]!.at;
    const last = vendor.calls.at(-1)!.at;
    assert.ok(last - begun < 15 * secondMs, `a free place is used at once: ${last - begun} ms`);
    await engine.checkLedger();
  });

  test("a full channel is passed over for one with a place, and a picture of several waits for its own", async () => {
    const first = createVendor({
      priority: 1,
      caps: new Map([[`up-${testModel}`, 1]]),
      submit: running(5_000),
      poll: delivered(),
    });
    const second = createVendor({ name: "second", caps: capOf(1), submit: running(1_000) });
    await using engine = await open({ vendors: [first, second] });
    const id = await engine.submit({ n: 4 });
    await engine.start();
    assert.deepEqual(await endAll(engine, [id]), ["completed"]);
    assert.equal(peakOf(first, new Set(first.submitted)), 1);
    assert.equal(peakOf(second, new Set(second.submitted)), 1);
    assert.ok(second.countOf("submit") >= 2);
    assert.equal((await engine.read(id)).result?.images.length, 4);
    await assertLoad(engine);
  });

  test("an outcome that nobody knows keeps its place until its channel's time is up", async () => {
    const vendor = createVendor({ caps: capOf(1), timeoutMs: minuteMs });
    vendor.onSubmit(failing("lost"));
    await using engine = await open({ vendors: [vendor] });
    const [first, second] = await submitMany(engine, 2);
    await engine.start();
    assert.deepEqual(await endAll(engine, [first!]), ["outcome_unknown"]);
    await engine.pass(30 * secondMs);
    assert.equal(vendor.countOf("submit"), 1);
    await assertLoad(engine);
    assert.deepEqual(await endAll(engine, [second!]), ["completed"]);
    const waited = vendor.calls[1]!.at - vendor.calls[0]!.at;
    assert.ok(waited >= minuteMs && waited < minuteMs + 10 * secondMs, `${waited} ms`);
    await assertLoad(engine);
  });

  test("after a crash a full channel is still asked about the work it has", async () => {
    const vendor = createVendor({ caps: capOf(1), submit: running(), poll: running(2_000) });
    await using engine = await open({ vendors: [vendor] });
    const ids = await submitMany(engine, 3);
    const life = await engine.start();
    await engine.run(() => vendor.countOf("poll") === 1);
    life.crash();
    vendor.always({ poll: delivered() });
    await engine.start(name === "sqlite" ? {} : { another: false });
    assert.deepEqual(await endAll(engine, ids), ["completed", "completed", "completed"]);
    assert.equal(vendor.countOf("submit"), 3);
    await assertLoad(engine);
  });

  test("what is refused is never tried again, and never counts against its channel", async () => {
    const vendor = createVendor({ submit: failing("refused") });
    const second = createVendor({ name: "second", priority: -1 });
    await using engine = await open({ vendors: [vendor, second] });
    const ids = await submitMany(engine, 8);
    await engine.start();
    const ends = await endAll(engine, ids);
    assert.deepEqual(new Set(ends), new Set(["content_policy_violation"]));
    assert.equal(vendor.countOf("submit"), 8);
    assert.equal(second.countOf("submit"), 0);
    assert.deepEqual(await costs(engine), []);
    vendor.always({ submit: delivered() });
    const next = await engine.submit();
    assert.deepEqual(await endAll(engine, [next]), ["completed"]);
    assert.equal(vendor.countOf("submit"), 9);
  });

  test("five failures in a row close a channel to all but one trial, and the others wait for it", async () => {
    const vendor = createVendor({ submit: failing("garbled") });
    await using engine = await open({ vendors: [vendor] });
    await engine.start();
    for (let i = 0; i < 5; i += 1) await endAll(engine, [await engine.submit()]);
    const openedAt = engine.clock.now();
    const ids = await submitMany(engine, 4);
    await engine.pass(9 * secondMs);
    assert.equal(vendor.countOf("submit"), 5);
    vendor.always({ submit: running(3_000), poll: delivered() });
    await engine.run(() => vendor.countOf("submit") === 6, 5 * secondMs);
    await engine.pass(2 * secondMs);
    assert.equal(vendor.countOf("submit"), 6, "one trial, not four");
    assert.deepEqual(new Set(await endAll(engine, ids)), new Set(["completed"]));
    assert.equal(vendor.countOf("submit"), 9);
    assert.ok(vendor.calls[5]!.at - openedAt >= 9 * secondMs);
    await engine.checkLedger();
  });

  test("a closed channel is passed over while another one serves", async () => {
    const vendor = createVendor({ priority: 1, submit: failing("lost") });
    const second = createVendor({ name: "second" });
    await using engine = await open({ vendors: [vendor, second] });
    await engine.start();
    for (let i = 0; i < 5; i += 1) await endAll(engine, [await engine.submit()]);
    const next = await submitMany(engine, 3);
    assert.deepEqual(new Set(await endAll(engine, next, secondMs)), new Set(["completed"]));
    assert.deepEqual([vendor.countOf("submit"), second.countOf("submit")], [5, 3]);
  });

  test("a key that is not accepted is written to the channel's row, and the task goes elsewhere", async () => {
    for (const kind of ["unauthorized", "exhausted"] as const) {
      const vendor = createVendor({ priority: 1, submit: failing(kind) });
      const second = createVendor({ name: "second" });
      await using engine = await open({ vendors: [vendor, second] });
      await engine.db.transaction((tx) =>
        tx.insertInto("channels").values(rowFor("vendor")).execute(),
      );
      const id = await engine.submit();
      await engine.start();
      assert.deepEqual(await endAll(engine, [id]), ["completed"]);
      assert.equal(second.countOf("submit"), 1);
      const row = await engine.db.read
        .selectFrom("channels")
        .select(["fault", "fault_reason", "fault_until"])
        .executeTakeFirstOrThrow();
      assert.equal(row.fault, kind);
      assert.equal(row.fault_reason, `the vendor says ${kind}`);
      assert.ok(row.fault_until! > engine.clock.now());
    }
  });

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
    assert.deepEqual(await costs(engine), [["official", Math.round(tier.each / 2), "delivered"]]);
    await engine.checkLedger();
  });

  test("a channel may opt into one more try after an outcome that nobody knows", async () => {
    const vendor = createVendor({ unknownOutcome: "retry_once" });
    vendor.onSubmit(failing("lost"), delivered(), failing("vanished"), failing("garbled"));
    await using engine = await open({ vendors: [vendor] });
    await engine.start();
    assert.deepEqual(await endAll(engine, [await engine.submit()]), ["completed"]);
    assert.equal(vendor.countOf("submit"), 2);
    assert.deepEqual(await costs(engine), [
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
    const booked = await costs(engine);
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
    assert.deepEqual(await costs(engine), [
      ["vendor", testPrice, "wasted"],
      ["vendor", testPrice, "wasted"],
    ]);
    vendor.always({ poll: delivered() });
    await engine.pass(20 * secondMs);
    assert.equal((await costs(engine)).length, 2);
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
    assert.deepEqual(await costs(engine), [["vendor", testPrice, "wasted"]]);
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
    assert.deepEqual(await costs(engine), [["gone", testPrice, "wasted"]]);
  });

  test("whatever vendors answer, the places counted are the places held, and no cap is passed", async () => {
    const answers: readonly (() => Answer)[] = [
      () => delivered(),
      () => running(400),
      () => failing("unavailable"),
      () => failing("refused"),
      () => failing("lost"),
      () => failing("rate_limited", { retryAfterMs: 500 }),
      () => delivered([failedPicture("unavailable")]),
      () => silent(),
    ];
    const script = fc.array(fc.constantFrom(...answers), { minLength: 3, maxLength: 12 });
    const property = fc.asyncProperty(script, script, async (one, two) => {
      const options = { caps: capOf(2), timeoutMs: 5 * secondMs, poll: delivered() } as const;
      const first = createVendor({ ...options, priority: 1, unknownOutcome: "retry_once" });
      const second = createVendor({ ...options, name: "second" });
      first.onSubmit(...one.map((make) => make()));
      second.onSubmit(...two.map((make) => make()));
      await using engine = await open({ vendors: [first, second] });
      const ids = [await engine.submit({ n: 3 }), ...(await submitMany(engine, 3))];
      await engine.start();
      const isOver = async (): Promise<boolean> => {
        await assertLoad(engine);
        for (const row of await loadLoads(engine.db.read)) {
          assert.ok(row.in_flight <= 2, `${row.channel} has ${row.in_flight} attempts`);
        }
        const tasks = await Promise.all(ids.map((id) => engine.find(id)));
        return tasks.every(({ openSlots }) => openSlots === 0);
      };
      await engine.run(isOver, 10 * minuteMs);
      await engine.pass(15 * secondMs);
      assert.deepEqual(await listPlaces(engine.db.read), [], "no place is held for ever");
      await assertLoad(engine);
      await engine.checkLedger();
    });
    await fc.assert(property, { numRuns: 4 });
  });
});
