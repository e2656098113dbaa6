import assert from "node:assert/strict";
import { test } from "node:test";

import { CompiledQuery } from "kysely";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { AppError } from "../lib/errors.ts";
import { hourMs } from "../lib/time.ts";
import type { Mode } from "../db/schema.ts";
import { credit, holdMany, openBooks, settle } from "./ledger.ts";
import { createUsageReports } from "./usage-report.ts";
import type { UsageRequest } from "./usage-report.ts";

const start = Date.UTC(2026, 8, 1, 20);

type Sale = {
  task: string;
  at: number;
  amounts: readonly number[];
  model?: string;
  keyId?: string;
  mode?: Mode;
  tokens?: number;
};

async function setupReports(setup: Setup, pageRows = 3) {
  const { db, clock } = await setup();
  const funds = { accountId: "acc_1", mode: "live", amount: 1_000, reference: "r" } as const;
  await db.transaction(async (tx) => {
    await openBooks(tx, "acc_1", start);
    await credit(tx, { ...funds, note: null, now: start });
  });
  const sell = async ({ task, at, amounts, ...sale }: Sale) => {
    const { keyId = "key_1", mode = "live", model = "m-one", tokens = 0 } = sale;
    const book = { accountId: "acc_1", mode, keyId, taskId: task };
    await db.transaction(async (tx) => {
      await holdMany(tx, [{ ...book, amount: 100 }], at);
      const captures = amounts.map((amount, slot) => ({ slot, amount }));
      const sold = { model, inputTokens: tokens, outputTokens: 2 * tokens };
      await settle(tx, { ...book, held: 100, captures, sold, now: at });
    });
  };
  const reportUsage = createUsageReports({ read: db.read, clock, pageRows });
  const report = (wanted: Partial<UsageRequest> = {}) =>
    reportUsage({
      accountId: "acc_1",
      mode: "live",
      keyId: null,
      start,
      end: start + 24 * hourMs,
      models: null,
      groupBy: { model: false, date: false },
      timeZone: "UTC",
      ...wanted,
    });
  return { db, sell, report };
}

function figures(amount: number, requests: number, tokens = 0) {
  return { amount, requests, inputTokens: tokens, outputTokens: 2 * tokens };
}

onEachDatabase((name, setup) => {
  test("what was delivered is added up over many pages; a task with several pictures is one request", async () => {
    const { sell, report } = await setupReports(setup);
    for (let i = 0; i < 5; i++) {
      await sell({ task: `task_${i}`, at: start + i, amounts: [10, 5], tokens: 7 });
    }
    assert.deepEqual(await report(), { total: figures(75, 5, 35), groups: [] });
  });

  test("tasks that delivered nothing are left out, free ones are counted", async () => {
    const { sell, report } = await setupReports(setup);
    await sell({ task: "task_1", at: start, amounts: [] });
    await sell({ task: "task_2", at: start, amounts: [0], tokens: 3 });
    assert.deepEqual((await report()).total, figures(0, 1, 3));
  });

  test("a report holds what ended from its start to before its end, of one book", async () => {
    const { sell, report } = await setupReports(setup);
    const end = start + hourMs;
    await sell({ task: "task_1", at: start - 1, amounts: [1] });
    await sell({ task: "task_2", at: start, amounts: [2] });
    await sell({ task: "task_3", at: end - 1, amounts: [4] });
    await sell({ task: "task_4", at: end, amounts: [8] });
    await sell({ task: "task_5", at: start, amounts: [16], mode: "test" });
    assert.deepEqual((await report({ end })).total, figures(6, 2));
    assert.deepEqual((await report({ end, mode: "test" })).total, figures(16, 1));
    assert.deepEqual((await report({ end, accountId: "acc_2" })).total, figures(0, 0));
  });

  test("one key or some models are reported alone, models in any letter case", async () => {
    const { sell, report } = await setupReports(setup);
    await sell({ task: "task_1", at: start, amounts: [1] });
    await sell({ task: "task_2", at: start, amounts: [2], keyId: "key_2" });
    await sell({ task: "task_3", at: start, amounts: [4], model: "M-Two" });
    assert.deepEqual((await report({ keyId: "key_2" })).total, figures(2, 1));
    assert.deepEqual((await report({ models: new Set(["m-two"]) })).total, figures(4, 1));
    assert.deepEqual((await report({ models: new Set(["m"]) })).total, figures(0, 0));
  });

  test("groups are by model, by the date of the zone, or by both, in order", async () => {
    const { sell, report } = await setupReports(setup);
    await sell({ task: "task_1", at: start, amounts: [1], model: "b" });
    await sell({ task: "task_2", at: start + 3 * hourMs, amounts: [2], model: "a" });
    await sell({ task: "task_3", at: start + 5 * hourMs, amounts: [4], model: "b" });
    const byModel = await report({ groupBy: { model: true, date: false } });
    assert.deepEqual(byModel.groups, [
      { model: "a", ...figures(2, 1) },
      { model: "b", ...figures(5, 2) },
    ]);
    const byDate = { model: false, date: true };
    assert.deepEqual((await report({ groupBy: byDate })).groups, [
      { date: "2026-09-01", ...figures(3, 2) },
      { date: "2026-09-02", ...figures(4, 1) },
    ]);
    const berlin = { groupBy: { model: true, date: true }, timeZone: "Europe/Berlin" };
    assert.deepEqual((await report(berlin)).groups, [
      { date: "2026-09-01", model: "b", ...figures(1, 1) },
      { date: "2026-09-02", model: "a", ...figures(2, 1) },
      { date: "2026-09-02", model: "b", ...figures(4, 1) },
    ]);
    const kathmandu = { groupBy: byDate, timeZone: "Asia/Kathmandu", start: start - hourMs };
    assert.equal((await report(kathmandu)).groups[0]?.date, "2026-09-02");
  });

  test("captures are found through the index that leaves holds out, in their order", async () => {
    const { db } = await setupReports(setup);
    const explain = name === "sqlite" ? "explain query plan" : "explain";
    const statement = CompiledQuery.raw(
      `${explain} select id from ledger where account_id = 'a' and mode = 'live'
        and created_at >= 1 and (created_at, id) > (1, '') and created_at < 5
        and kind = 'capture' and kind <> 'hold' order by created_at, id limit 3`,
    );
    const plan = await db.transaction(async (tx) => {
      // What PostgreSQL chooses for an empty table says nothing; whether the index serves does.
      if (name === "postgres") {
        await tx.executeQuery(CompiledQuery.raw("set local enable_seqscan to off"));
        await tx.executeQuery(CompiledQuery.raw("set local enable_bitmapscan to off"));
      }
      return JSON.stringify((await tx.executeQuery(statement)).rows);
    });
    assert.match(plan, /ledger_moves/);
    assert.doesNotMatch(plan, /sort|TEMP B-TREE/i);
  });

  test("too many reports at once are refused by the word that says it is no zero", async () => {
    const { report } = await setupReports(setup);
    const results = await Promise.allSettled(Array.from({ length: 40 }, () => report()));
    const refused = results.flatMap((result) =>
      result.status === "rejected" ? [result.reason as unknown] : [],
    );
    assert.equal(refused.length, 6);
    for (const error of refused) {
      assert.ok(error instanceof AppError);
      assert.equal(error.reason, "usage_unavailable");
    }
  });
});
