import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { createIds } from "../lib/ids.ts";
import { systemRandom } from "../lib/random.ts";
import { dayMs } from "../lib/time.ts";
import { createAccounts } from "./accounts.ts";
import {
  findLockedUsage,
  listUsages,
  loadCaptured,
  loadUsage,
  reserveMany,
  resolve,
} from "./key-usage.ts";
import type { Reservation, Resolution } from "./key-usage.ts";
import { createKeys } from "./keys.ts";

async function setupUsage(setup: Setup) {
  const { db, clock } = await setup();
  const ids = createIds(clock, systemRandom);
  const openBooks = () => Promise.resolve();
  const accounts = createAccounts({ db, clock, ids, openBooks });
  const account = await accounts.createAccount("default");
  const keys = createKeys({ db, clock, random: systemRandom, ids, pepper: Buffer.from("pepper") });
  const createRef = async (mode: "live" | "test" = "live") => {
    const { key } = await keys.createKey({ accountId: account.id, mode, name: "key" });
    return { accountId: account.id, keyId: key.id };
  };
  const reserve = (reservations: readonly Claim[]) =>
    db.transaction((tx) =>
      reserveMany(
        tx,
        reservations.map((one) => ({ ...noLimits, ...one })),
        clock.now(),
      ),
    );
  const finish = ({ submittedAt = clock.now(), ...task }: Ended) =>
    db.transaction((tx) => resolve(tx, { ...task, submittedAt }));
  return { db, clock, accounts, account, createRef, reserve, finish };
}

const noLimits = { mode: "live", spendPerDay: null, accountLimits: null } as const;

/** What a test says of a reservation; the rest is without limits. */
type Claim = Omit<Reservation, keyof typeof noLimits> & Partial<Reservation>;
type Ended = Omit<Resolution, "submittedAt"> & { submittedAt?: number };

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
    assert.deepEqual(await reserve([two]), [
      { reason: "task_limit_reached", whose: "key", tasksInFlight: 2 },
    ]);
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
      { reason: "task_limit_reached", whose: "key", tasksInFlight: 3 },
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

  test("a key spends at most its amount a day, counting holds and then what was captured", async () => {
    const { clock, createRef, reserve, finish } = await setupUsage(setup);
    const key = { ...(await createRef()), ...unlimited, spendPerDay: 100 };
    assert.deepEqual(await reserve([{ ...key, amount: 60 }]), [null]);
    const refused = { reason: "daily_spend_reached", whose: "key", spendPerDay: 100 } as const;
    assert.deepEqual(await reserve([{ ...key, amount: 41 }]), [{ ...refused, left: 40 }]);
    await finish({ ...key, held: 60, captured: 25 });
    assert.deepEqual(await reserve([{ ...key, amount: 75 }]), [null]);
    assert.deepEqual(await reserve([{ ...key, amount: 1 }]), [{ ...refused, left: 0 }]);
    await clock.advance(dayMs);
    assert.deepEqual(await reserve([{ ...key, amount: 100 }]), [null]);
    // The end of yesterday's task gives nothing back to today.
    await finish({ ...key, held: 75, captured: 0, submittedAt: clock.now() - dayMs });
    assert.deepEqual(await reserve([{ ...key, amount: 1 }]), [{ ...refused, left: 0 }]);
  });

  test("a list of one key stays within its day, in the list's order", async () => {
    const { createRef, reserve } = await setupUsage(setup);
    const key = { ...(await createRef()), ...unlimited, spendPerDay: 10 };
    const answers = await reserve([6, 5, 4, 0].map((amount) => ({ ...key, amount })));
    assert.deepEqual(
      answers.map((answer) => answer?.reason ?? null),
      [null, "daily_spend_reached", null, null],
    );
  });

  test("an account's limits hold over all its keys of a mode, and leave the other mode alone", async () => {
    const { accounts, createRef, reserve, finish } = await setupUsage(setup);
    const { limits } = await accounts.setAccount("default", { tasksInFlight: 2, spendPerDay: 50 });
    const [one, two, play] = [await createRef(), await createRef(), await createRef("test")];
    const claim = { ...unlimited, accountLimits: limits };
    assert.deepEqual(await reserve([{ ...one, ...claim, amount: 30 }]), [null]);
    assert.deepEqual(await reserve([{ ...two, ...claim, amount: 21 }]), [
      { reason: "daily_spend_reached", whose: "account", spendPerDay: 50, left: 20 },
    ]);
    assert.deepEqual(await reserve([{ ...two, ...claim, amount: 20 }]), [null]);
    assert.deepEqual(await reserve([{ ...one, ...claim, amount: 0 }]), [
      { reason: "task_limit_reached", whose: "account", tasksInFlight: 2 },
    ]);
    assert.deepEqual(await reserve([{ ...play, ...claim, mode: "test", amount: 50 }]), [null]);
    await finish({ ...one, held: 30, captured: 0 });
    assert.deepEqual(await reserve([{ ...two, ...claim, amount: 30 }]), [null]);
  });

  test("an account's limits count what its keys used before they were set, and are read afresh", async () => {
    const { accounts, createRef, reserve } = await setupUsage(setup);
    const key = { ...(await createRef()), ...unlimited };
    await reserve([{ ...key, amount: 5 }]);
    const { limits } = await accounts.setAccount("default", { tasksInFlight: 2 });
    await accounts.setAccount("default", { tasksInFlight: 1 });
    const answers = await reserve([{ ...key, accountLimits: limits, amount: 0 }]);
    assert.deepEqual(answers, [
      { reason: "task_limit_reached", whose: "account", tasksInFlight: 1 },
    ]);
  });

  test("submits at once over several keys never exceed the account's limits", async () => {
    const { db, accounts, account, createRef, reserve } = await setupUsage(setup);
    const { limits } = await accounts.setAccount("default", { tasksInFlight: 7, spendPerDay: 60 });
    const keys = [await createRef(), await createRef(), await createRef()];
    const claim = { ...unlimited, accountLimits: limits, amount: 10 };
    const answers = await Promise.all(
      Array.from({ length: 15 }, (_, i) =>
        reserve([0, 1].map((j) => ({ ...keys[(i + j) % 3]!, ...claim }))),
      ),
    );
    assert.equal(answers.flat().filter((answer) => answer === null).length, 6);
    const usages = await listUsages(db.read, account.id, { after: "", limit: 10 });
    assert.equal(
      usages.reduce((sum, { held }) => sum + held, 0),
      60,
    );
  });

  test("a reservation of a transaction that fails leaves nothing behind", async () => {
    const { db, clock, createRef } = await setupUsage(setup);
    const key = await createRef();
    await assert.rejects(
      db.transaction(async (tx) => {
        const one = { ...noLimits, ...unlimited, ...key, amount: 70 };
        await reserveMany(tx, [one], clock.now());
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
