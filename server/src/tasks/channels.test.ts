/** What channels do to tasks: places, breakers and faults. */
import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { onEachEngine, testModel } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { endAll, loadCosts } from "../../test/support/task-ends.ts";
import {
  createVendor,
  delivered,
  failedPicture,
  failing,
  running,
  silent,
} from "../../test/support/vendor.ts";
import type { Answer, Vendor } from "../../test/support/vendor.ts";
import { loadLoads } from "../channels/load-store.ts";
import { countPlaces } from "../channels/load.ts";
import type { ChannelRow } from "../db/schema.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { listPlaces } from "./place-store.ts";

const capOf = (places: number): ReadonlyMap<string, number> => new Map([["*", places]]);

/** The rows of places say what the attempts hold. */
async function assertLoad(engine: TestEngine): Promise<void> {
  const held = await listPlaces(engine.db.read);
  const rows = await loadLoads(engine.db.read);
  assert.deepEqual(
    rows.filter(({ in_flight }) => in_flight > 0),
    countPlaces(held),
  );
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
    assert.deepEqual(await loadCosts(engine), []);
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
