import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachEngine, testPrice } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import {
  brokenPicture,
  createVendor,
  delivered,
  failedPicture,
  failing,
  held,
  picture,
  running,
} from "../../test/support/vendor.ts";
import { setPrice } from "../billing/prices.ts";
import { systemRandom } from "../lib/random.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import type { FailureKind } from "../providers/adapter.ts";
import { pauseBeforeRetry, triesMax, turnedAwayMax } from "./failure.ts";

const funds = 100_000_000;
/** Pauses without chance. */
const random = { bytes: systemRandom.bytes, fraction: () => 0.5 };

async function assertEnd(
  engine: TestEngine,
  taskId: string,
  { code, pictures = 0 }: { code?: string; pictures?: number },
): Promise<void> {
  const task = await engine.read(taskId);
  assert.equal(task.status, code === undefined ? "completed" : "failed");
  assert.equal(task.error?.code, code);
  const captured = pictures * testPrice;
  assert.deepEqual(await engine.balance(), { available: funds - captured, held: 0 });
  await engine.checkLedger();
}

onEachEngine((_name, open) => {
  test("each kind of failure on one channel ends, is repeated or is given up as the table says", async () => {
    const cases: Record<FailureKind, { submits: number; code: string }> = {
      refused: { submits: 1, code: "content_policy_violation" },
      bad_request: { submits: 1, code: "provider_rejected" },
      unauthorized: { submits: 1, code: "provider_unavailable" },
      exhausted: { submits: 1, code: "provider_unavailable" },
      unserved: { submits: 1, code: "provider_unavailable" },
      rate_limited: { submits: turnedAwayMax, code: "provider_unavailable" },
      unavailable: { submits: triesMax, code: "provider_unavailable" },
      lost: { submits: 1, code: "outcome_unknown" },
      vanished: { submits: 1, code: "outcome_unknown" },
      garbled: { submits: 1, code: "outcome_unknown" },
    };
    for (const [kind, { submits, code }] of Object.entries(cases)) {
      const vendor = createVendor({ submit: failing(kind as FailureKind) });
      await using engine = await open({ vendors: [vendor] });
      const id = await engine.submit();
      await engine.start();
      await engine.untilEnded(id, 30 * minuteMs);
      await assertEnd(engine, id, { code });
      assert.equal(vendor.submitted.length, submits, kind);
      assert.equal(new Set(vendor.submitted).size, submits, kind);
      const attempts = await engine.attempts(id);
      const state = code === "outcome_unknown" ? "unknown" : "failed";
      assert.deepEqual(
        attempts.map((attempt) => attempt.state),
        Array.from({ length: submits }, () => state),
      );
      assert.ok(attempts.every(({ failure }) => failure?.kind === kind));
    }
  });

  test("another channel gets what the first certainly did not make, and nothing else", async () => {
    const goesOn: Record<FailureKind, boolean> = {
      refused: false,
      bad_request: false,
      unauthorized: true,
      exhausted: true,
      unserved: true,
      rate_limited: true,
      unavailable: true,
      lost: false,
      vanished: false,
      garbled: false,
    };
    for (const [kind, isTaken] of Object.entries(goesOn)) {
      const first = createVendor({ priority: 1, submit: failing(kind as FailureKind) });
      const second = createVendor({ name: "second" });
      await using engine = await open({ vendors: [first, second] });
      const id = await engine.submit();
      await engine.start();
      await engine.untilEnded(id, 5 * secondMs);
      assert.equal(first.submitted.length, 1, kind);
      assert.equal(second.submitted.length, isTaken ? 1 : 0, kind);
      assert.equal((await engine.read(id)).status, isTaken ? "completed" : "failed", kind);
      await engine.checkLedger();
    }
  });

  test("pauses between tries grow, and are never shorter than the vendor asked for", async () => {
    const vendor = createVendor({ submit: failing("unavailable") });
    vendor.onSubmit(failing("unavailable"), failing("rate_limited", { retryAfterMs: 7_000 }));
    await using engine = await open({ vendors: [vendor], random });
    const id = await engine.submit();
    await engine.start();
    await engine.untilEnded(id);
    await assertEnd(engine, id, { code: "provider_unavailable" });
    const times = vendor.calls.map(({ at }) => at);
    const pauses = times.slice(1).map((at, index) => at - times[index]!);
    assert.deepEqual(pauses, [
      pauseBeforeRetry(1, 0.5, undefined),
      7_000,
      pauseBeforeRetry(3, 0.5, undefined),
      pauseBeforeRetry(4, 0.5, undefined),
    ]);
  });

  test("a long wait is spent in the queue, not in a worker's hand, and survives it", async () => {
    const vendor = createVendor();
    vendor.onSubmit(failing("rate_limited", { retryAfterMs: 45_000 }));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const first = await engine.start();
    const begun = engine.clock.now();
    await engine.run(() => vendor.countOf("submit") === 1);
    await engine.pass(secondMs);
    assert.equal(first.worker.tasksInHand, 0);
    const row = await engine.db.read
      .selectFrom("queue")
      .select(["state", "worker_id"])
      .executeTakeFirst();
    assert.deepEqual(row, { state: "parked", worker_id: null });
    first.crash();
    await engine.start();
    await engine.untilEnded(id);
    await assertEnd(engine, id, { pictures: 1 });
    const waited = vendor.calls[1]!.at - begun;
    assert.ok(waited >= 45_000 && waited < 48_000, `${waited} ms`);
  });

  test("tries are counted over a restart", async () => {
    const vendor = createVendor({ submit: failing("unavailable", { retryAfterMs: 20_000 }) });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit();
    const first = await engine.start();
    await engine.run(() => vendor.countOf("submit") === 2);
    await engine.rest();
    first.crash();
    await engine.start();
    await engine.untilEnded(id);
    assert.equal(vendor.submitted.length, triesMax);
    await assertEnd(engine, id, { code: "provider_unavailable" });
  });

  test("n pictures are n attempts where the vendor makes one at a time, sent at once", async () => {
    const vendor = createVendor();
    const answers = [held(), held(), held()];
    vendor.onSubmit(...answers);
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 3 });
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 3, secondMs);
    assert.deepEqual(
      vendor.calls.map(({ slots }) => slots),
      [[0], [1], [2]],
    );
    for (const answer of answers) answer.release(delivered());
    await engine.untilEnded(id);
    await assertEnd(engine, id, { pictures: 3 });
  });

  test("n pictures are as few attempts as the vendor's own n allows", async () => {
    const vendor = createVendor({ picturesMax: 3 });
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 4 });
    await engine.start();
    await engine.untilEnded(id);
    await assertEnd(engine, id, { pictures: 4 });
    assert.deepEqual(
      vendor.calls.map(({ slots }) => slots),
      [[0, 1, 2], [3]],
    );
  });

  test("each slot has its own outcome, and only delivered pictures are charged", async () => {
    const vendor = createVendor();
    vendor.onSubmit(failing("refused"), delivered(), delivered([brokenPicture()]), failing("lost"));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 4 });
    await engine.start();
    await engine.untilEnded(id);
    await assertEnd(engine, id, { pictures: 1 });
    const { result, cost } = await engine.read(id);
    assert.equal(cost, 0.0387);
    assert.deepEqual(
      result?.images.map(({ index }) => index),
      [1],
    );
    assert.deepEqual(
      result?.errors?.map(({ index, code }) => [index, code]),
      [
        [0, "content_policy_violation"],
        [2, "no_image"],
        [3, "outcome_unknown"],
      ],
    );
  });

  test("pictures of one attempt have their own outcomes too", async () => {
    const vendor = createVendor({ picturesMax: 4 });
    vendor.onSubmit(
      delivered([
        picture(),
        failedPicture("refused"),
        failedPicture("bad_request", { taskError: "no_image" }),
        picture(3),
      ]),
    );
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 4 });
    await engine.start();
    await engine.untilEnded(id);
    await assertEnd(engine, id, { pictures: 2 });
    const { result } = await engine.read(id);
    assert.deepEqual(
      result?.errors?.map(({ index, code }) => [index, code]),
      [
        [1, "content_policy_violation"],
        [2, "no_image"],
      ],
    );
    assert.equal((await engine.attempts(id))[0]?.state, "done");
  });

  test("a slot is tried again while the others are done already, and the task waits for it", async () => {
    const vendor = createVendor();
    vendor.onSubmit(delivered(), failing("unavailable"), delivered());
    await using engine = await open({ vendors: [vendor], random });
    const id = await engine.submit({ n: 3 });
    await engine.start();
    await engine.run(() => vendor.countOf("submit") === 3);
    await engine.rest();
    const meanwhile = await engine.read(id);
    assert.deepEqual([meanwhile.status, meanwhile.progress], ["processing", 66]);
    await engine.untilEnded(id);
    await assertEnd(engine, id, { pictures: 3 });
    assert.deepEqual(vendor.calls.at(-1)?.slots, [1]);
  });

  test("what a vendor reports for several pictures is charged in shares that add up", async () => {
    const model = "gemini-3.1-flash-lite-image";
    const report = { inputTokens: 10, outputImageTokens: 1_601 };
    const vendor = createVendor({ picturesMax: 4 });
    vendor.onSubmit(delivered([picture(), picture(1), failedPicture("refused")], report));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ model, n: 3 });
    await engine.start();
    await engine.untilEnded(id);
    const task = await engine.read(id);
    // 5 tokens in at 0.25 a million for each, 800 and 801 out at 30: 24,001.25 and 24,031.25 micro-USD.
    assert.equal(task.cost, 0.048032);
    assert.equal(task.usage?.input_tokens, 10);
    assert.equal(task.usage?.output_tokens_details?.image_tokens, 1_601);
    await engine.checkLedger();
  });

  test("nobody pays for the share of a picture that cannot be used", async () => {
    const model = "gemini-3.1-flash-lite-image";
    const report = { inputTokens: 8, outputImageTokens: 1_600 };
    const vendor = createVendor({ picturesMax: 4 });
    const rotten = { kind: "bytes", bytes: Buffer.from("no picture") } as const;
    vendor.onSubmit(delivered([rotten, picture()], report));
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ model, n: 2 });
    await engine.start();
    await engine.untilEnded(id);
    const task = await engine.read(id);
    assert.deepEqual([task.result?.images?.length, task.cost], [1, 0.024001]);
    await engine.checkLedger();
  });

  test("text and image tokens are charged at their own rates where the vendor tells them apart", async () => {
    const model = "gpt-image-2-official";
    const price = async (usage: object): Promise<number> => {
      const vendor = createVendor({ picturesMax: 4 });
      vendor.onSubmit(delivered([picture(), picture(1)], usage));
      await using engine = await open({ vendors: [vendor] });
      const id = await engine.submit({ model, n: 2, prompt: "word ".repeat(2_000) });
      await engine.start();
      await engine.untilEnded(id);
      return (await engine.read(id)).cost;
    };
    const out = { outputImageTokens: 20 };
    const asText = await price({ ...out, inputTextTokens: 2_000, inputImageTokens: 0 });
    const asImage = await price({ ...out, inputTextTokens: 0, inputImageTokens: 2_000 });
    assert.ok(asImage > asText, `${asImage} > ${asText}`);
  });

  test("with official_fallback a picture is charged at the tier that delivered it", async () => {
    const model = "gemini-3-pro-image-preview";
    const standard = createVendor({ tiers: ["standard"] });
    const official = createVendor({ name: "official", tiers: ["official"], priority: 9 });
    standard.onSubmit(delivered(), failing("exhausted"));
    await using engine = await open({ vendors: [standard, official] });
    await engine.db.transaction(async (tx) => {
      for (const [row, price] of [
        ["1K", 100_000],
        ["official/1K", 250_000],
      ] as const) {
        await setPrice(tx, { model, row, price, now: engine.clock.now() });
      }
    });
    const id = await engine.submit({ model, n: 2, resolution: "1K", official_fallback: true });
    assert.equal((await engine.balance()).held, 500_000);
    await engine.start();
    await engine.untilEnded(id);
    assert.deepEqual(
      (await engine.slots(id)).map(({ captured }) => captured),
      [100_000, 250_000],
    );
    assert.deepEqual(official.calls[0]?.slots, [1]);
    await engine.checkLedger();
  });

  test("a channel of the official tier alone takes no task at the standard price", async () => {
    const official = createVendor({ name: "official", tiers: ["official"] });
    await using engine = await open({ vendors: [official] });
    await assert.rejects(engine.submit(), { reason: "no_channel" });
    assert.deepEqual(await engine.balance(), { available: funds, held: 0 });
    const model = "gemini-2.5-flash-image-preview-official";
    const id = await engine.submit({ model });
    await engine.start();
    await engine.untilEnded(id);
    assert.equal((await engine.read(id)).status, "completed");
  });

  test("a slot is tried again at its time, however long the others take", async () => {
    const vendor = createVendor({ poll: delivered() });
    vendor.onSubmit(
      running(60_000),
      failing("unavailable", { retryAfterMs: 2_000 }),
      failing("unavailable", { retryAfterMs: 15_000 }),
    );
    await using engine = await open({ vendors: [vendor] });
    const id = await engine.submit({ n: 3 });
    await engine.start();
    await engine.untilEnded(id);
    await assertEnd(engine, id, { pictures: 3 });
    const begun = vendor.calls[0]!.at;
    assert.deepEqual(
      vendor.calls.slice(3).map(({ verb, slots, at }) => [verb, slots[0], at - begun]),
      [
        ["submit", 1, 2_000],
        ["submit", 2, 15_000],
        ["poll", 0, 60_000],
      ],
    );
  });
});
