import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { microsPerUsd as usd } from "../lib/money.ts";
import { createBalances, loadBook } from "./balance.ts";
import { credit, holdMany, openBooks } from "./ledger.ts";

const caller = { accountId: "acc_1", keyId: "key_1", mode: "live", cap: null } as const;

/** An account with 10 USD of which 4 are held, and keys that used what `usage` says. */
async function setupBalances(setup: Setup, usage = { held: 0, captured: 0 }) {
  const { db } = await setup();
  await db.transaction(async (tx) => {
    await openBooks(tx, "acc_1", 1);
    await credit(tx, { ...caller, amount: 10 * usd, reference: "funds", note: null, now: 1 });
    await holdMany(tx, [{ ...caller, taskId: "task_1", amount: 4 * usd }], 2);
  });
  return createBalances({
    read: db.read,
    loadUsage: (_handle, key) => {
      assert.deepEqual([key.accountId, key.keyId], ["acc_1", "key_1"]);
      return Promise.resolve(usage);
    },
    loadCaptured: (_handle, _accountId, mode) => Promise.resolve(mode === "live" ? 7 : 3),
  });
}

onEachDatabase((_name, setup) => {
  test("a key without a cap has no remainder, and what it used is what it captured", async () => {
    const balances = await setupBalances(setup, { held: 5, captured: 2 });
    assert.deepEqual(await balances.readKeyBalance(caller), { remain: null, used: 2 });
  });

  test("a capped key may spend what its cap leaves, holds deducted", async () => {
    const balances = await setupBalances(setup, { held: usd, captured: 2 * usd });
    assert.deepEqual(await balances.readKeyBalance({ ...caller, cap: 5 * usd }), {
      remain: 2 * usd,
      used: 2 * usd,
    });
  });

  test("a capped key may spend no more than its account has", async () => {
    const balances = await setupBalances(setup, { held: usd, captured: 2 * usd });
    const { remain } = await balances.readKeyBalance({ ...caller, cap: 50 * usd });
    assert.equal(remain, 6 * usd);
  });

  test("a key whose cap was lowered below what it spent may spend nothing", async () => {
    const balances = await setupBalances(setup, { held: usd, captured: 2 * usd });
    assert.equal((await balances.readKeyBalance({ ...caller, cap: usd })).remain, 0);
  });

  test("an account shows its book of the caller's mode, holds deducted", async () => {
    const balances = await setupBalances(setup);
    assert.deepEqual(await balances.readAccountBalance(caller), { remain: 6 * usd, used: 7 });
    assert.deepEqual(await balances.readAccountBalance({ ...caller, mode: "test" }), {
      remain: 1_000 * usd,
      used: 3,
    });
  });

  test("an account that does not exist has no book", async () => {
    const { db } = await setup();
    await assert.rejects(loadBook(db.read, caller), /book of an account is missing/);
  });
});
