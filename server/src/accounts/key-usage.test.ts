import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { createIds } from "../lib/ids.ts";
import { systemRandom } from "../lib/random.ts";
import { createAccounts } from "./accounts.ts";
import {
  findLockedUsage,
  listUsages,
  loadCaptured,
  loadUsage,
  reserveMany,
  resolve,
} from "./key-usage.ts";
import type { Reservation } from "./key-usage.ts";
import { createKeys } from "./keys.ts";

async function setupUsage(setup: Setup) {
  const { db, clock } = await setup();
  const ids = createIds(clock, systemRandom);
  const openBooks = () => Promise.resolve();
  const account = await createAccounts({ db, clock, ids, openBooks }).createAccount("default");
  const keys = createKeys({ db, clock, random: systemRandom, ids, pepper: Buffer.from("pepper") });
  const createRef = async (mode: "live" | "test" = "live") => {
    const { key } = await keys.createKey({ accountId: account.id, mode, name: "key" });
    return { accountId: account.id, keyId: key.id };
  };
  const reserve = (reservations: readonly Reservation[]) =>
    db.transaction((tx) => reserveMany(tx, reservations));
  const finish = (task: Parameters<typeof resolve>[1]) => db.transaction((tx) => resolve(tx, task));
  return { db, account, createRef, reserve, finish };
}

const unlimited = { cap: null, tasksInFlight: null };

onEachDatabase((_name, setup) => {
  test("what a key reserves is held until its task ends, then only what was captured counts", async () => {
    const { db, createRef, reserve, finish } = await setupUsage(setup);
    const key = await createRef();
    assert.deepEqual(await reserve([{ ...key, ...unlimited, amount: 70 }]), [null]);
    assert.deepEqual(await loadUsage(db.read, key), {
      keyId: key.keyId,
      held: 70,
      captured: 0,
      inFlight: 1,
    });
    await finish({ ...key, held: 70, captured: 30 });
    assert.deepEqual(await loadUsage(db.read, key), {
      keyId: key.keyId,
      held: 0,
      captured: 30,
      inFlight: 0,
    });
  });

  test("a cap counts what is held and what was captured, to the last unit", async () => {
    const { createRef, reserve, finish } = await setupUsage(setup);
    const key = await createRef();
    const capped = { ...key, cap: 100, tasksInFlight: null };
    assert.deepEqual(await reserve([{ ...capped, amount: 60 }]), [null]);
    await finish({ ...key, held: 60, captured: 40 });
    assert.deepEqual(await reserve([{ ...capped, amount: 50 }]), [null]);
    assert.deepEqual(await reserve([{ ...capped, amount: 11 }]), [
      { reason: "spend_cap_reached", left: 10 },
    ]);
    assert.deepEqual(await reserve([{ ...capped, amount: 10 }]), [null]);
    assert.deepEqual(await reserve([{ ...capped, amount: 0 }]), [null]);
    assert.deepEqual(await reserve([{ ...capped, amount: 1 }]), [
      { reason: "spend_cap_reached", left: 0 },
    ]);
  });

  test("a cap that was lowered below what is spent leaves nothing, not less", async () => {
    const { createRef, reserve } = await setupUsage(setup);
    const key = await createRef();
    await reserve([{ ...key, ...unlimited, amount: 80 }]);
    assert.deepEqual(await reserve([{ ...key, cap: 50, tasksInFlight: null, amount: 1 }]), [
      { reason: "spend_cap_reached", left: 0 },
    ]);
  });

  test("a key has at most its number of tasks in flight, and a free task counts", async () => {
    const { createRef, reserve, finish } = await setupUsage(setup);
    const key = await createRef();
    const two = { ...key, cap: null, tasksInFlight: 2, amount: 0 };
    assert.deepEqual(await reserve([two]), [null]);
    assert.deepEqual(await reserve([two]), [null]);
    assert.deepEqual(await reserve([two]), [{ reason: "rate_limited", tasksInFlight: 2 }]);
    await finish({ ...key, held: 0, captured: 0 });
    assert.deepEqual(await reserve([two]), [null]);
  });

  test("of a list that does not fit as a whole, those that fit in its order are reserved", async () => {
    const { db, createRef, reserve } = await setupUsage(setup);
    const one = await createRef();
    const two = await createRef();
    const capped = { ...one, cap: 100, tasksInFlight: 3 };
    const answers = await reserve([
      { ...capped, amount: 60 },
      { ...two, ...unlimited, amount: 5 },
      { ...capped, amount: 50 },
      { ...capped, amount: 40 },
      { ...two, ...unlimited, amount: 6 },
      { ...capped, amount: 0 },
      { ...capped, amount: 0 },
    ]);
    assert.deepEqual(answers, [
      null,
      null,
      { reason: "spend_cap_reached", left: 40 },
      null,
      null,
      null,
      { reason: "rate_limited", tasksInFlight: 3 },
    ]);
    assert.deepEqual(await loadUsage(db.read, one), {
      keyId: one.keyId,
      held: 100,
      captured: 0,
      inFlight: 3,
    });
    assert.deepEqual(await loadUsage(db.read, two), {
      keyId: two.keyId,
      held: 11,
      captured: 0,
      inFlight: 2,
    });
  });

  test("a cap is exact when many submits race for it", async () => {
    const { db, createRef, reserve } = await setupUsage(setup);
    const key = await createRef();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        reserve([
          { ...key, cap: 100, tasksInFlight: null, amount: 9 },
          { ...key, cap: 100, tasksInFlight: null, amount: 7 },
        ]),
      ),
    );
    const { held, inFlight } = await loadUsage(db.read, key);
    assert.ok(held <= 100 && held > 100 - 7, `${held} of 100 is held`);
    assert.equal(inFlight, answers.flat().filter((answer) => answer === null).length);
  });

  test("a reservation of a transaction that fails leaves nothing behind", async () => {
    const { db, createRef } = await setupUsage(setup);
    const key = await createRef();
    await assert.rejects(
      db.transaction(async (tx) => {
        await reserveMany(tx, [{ ...key, ...unlimited, amount: 70 }]);
        throw new Error("the submit fails");
      }),
      /the submit fails/,
    );
    assert.deepEqual(await loadUsage(db.read, key), {
      keyId: key.keyId,
      held: 0,
      captured: 0,
      inFlight: 0,
    });
  });

  test("more than is held is never resolved", async () => {
    const { db, createRef, reserve, finish } = await setupUsage(setup);
    const key = await createRef();
    await reserve([{ ...key, ...unlimited, amount: 70 }]);
    await assert.rejects(finish({ ...key, held: 71, captured: 0 }), /holds what its tasks hold/);
    await assert.rejects(finish({ ...key, held: 70, captured: 71 }), /at most what it holds/);
    await finish({ ...key, held: 70, captured: 0 });
    await assert.rejects(finish({ ...key, held: 0, captured: 0 }), /holds what its tasks hold/);
    assert.deepEqual(await loadUsage(db.read, key), {
      keyId: key.keyId,
      held: 0,
      captured: 0,
      inFlight: 0,
    });
  });

  test("a key that does not exist has no usage and reserves nothing", async () => {
    const { db, account, reserve } = await setupUsage(setup);
    const nobody = { accountId: account.id, keyId: "key_none" };
    await assert.rejects(loadUsage(db.read, nobody), /usage of a key is missing/);
    await assert.rejects(
      reserve([{ ...nobody, ...unlimited, amount: 0 }]),
      /usage of a key is missing/,
    );
    assert.equal(await db.transaction((tx) => findLockedUsage(tx, nobody)), null);
  });

  test("what an account captured is the sum over its keys of that mode", async () => {
    const { db, account, createRef, reserve, finish } = await setupUsage(setup);
    const live = [await createRef(), await createRef()];
    const tested = await createRef("test");
    assert.equal(await loadCaptured(db.read, account.id, "live"), 0);
    for (const [i, key] of [...live, tested].entries()) {
      await reserve([{ ...key, ...unlimited, amount: 100 }]);
      await finish({ ...key, held: 100, captured: 10 ** i });
    }
    assert.equal(await loadCaptured(db.read, account.id, "live"), 11);
    assert.equal(await loadCaptured(db.read, account.id, "test"), 100);
    assert.equal(await loadCaptured(db.read, "acc_none", "live"), 0);
    const page = await listUsages(db.read, account.id, { after: live[0]!.keyId, limit: 1 });
    assert.deepEqual(page, [{ keyId: live[1]!.keyId, held: 0, captured: 10, inFlight: 0 }]);
  });
});
