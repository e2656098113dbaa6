import assert from "node:assert/strict";
import { test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { isUniqueViolation } from "../db/errors.ts";
import { AppError } from "../lib/errors.ts";
import { microsPerUsd as usd } from "../lib/money.ts";
import { loadBook } from "./balance.ts";
import type { Credit, Hold, Settlement } from "./entries.ts";
import { credit, holdMany, openBooks, settle } from "./ledger.ts";

const live = { accountId: "acc_1", mode: "live", keyId: "key_1" } as const;
const tested = { ...live, mode: "test" } as const;

/** An account with its two books, and each verb as a transaction of its own. */
async function setupLedger(setup: Setup, liveFunds = 0) {
  const { db, clock } = await setup();
  const now = clock.now();
  const add = (wanted: Omit<Credit, "now" | "note"> & { note?: string }) =>
    db.transaction((tx) => credit(tx, { note: null, now, ...wanted }));
  await db.transaction((tx) => openBooks(tx, "acc_1", now));
  if (liveFunds > 0) await add({ ...live, amount: liveFunds, reference: "funds" });
  return {
    db,
    now,
    add,
    hold: (...holds: Hold[]) => db.transaction((tx) => holdMany(tx, holds, now)),
    finish: (task: Omit<Settlement, "now">) => db.transaction((tx) => settle(tx, { ...task, now })),
    entries: (id: string) =>
      db.read
        .selectFrom("ledger")
        .select(["id", "mode", "kind", "available", "held", "task_id", "key_id", "created_at"])
        .where("id", "like", `%${id}%`)
        .orderBy("id")
        .execute(),
    book: (book = live as Pick<Hold, "accountId" | "mode">) => loadBook(db.read, book),
  };
}

onEachDatabase((_name, setup) => {
  test("a new account has an empty live book and 1,000 USD of play money", async () => {
    const { book } = await setupLedger(setup);
    assert.deepEqual(await book(live), { available: 0, held: 0 });
    assert.deepEqual(await book(tested), { available: 1_000 * usd, held: 0 });
  });

  test("a hold moves money from available to held and is written down", async () => {
    const { hold, book, entries, now } = await setupLedger(setup, 100);
    assert.deepEqual(await hold({ ...live, taskId: "task_1", amount: 70 }), [null]);
    assert.deepEqual(await book(), { available: 30, held: 70 });
    assert.deepEqual(await entries("task_1"), [
      {
        id: "hold:task_1",
        mode: "live",
        kind: "hold",
        available: -70,
        held: 70,
        task_id: "task_1",
        key_id: "key_1",
        created_at: now,
      },
    ]);
  });

  test("a hold of the last unit is taken, and one unit more is told what is missing", async () => {
    const { hold, book } = await setupLedger(setup, 100);
    assert.deepEqual(await hold({ ...live, taskId: "task_1", amount: 101 }), [{ missing: 1 }]);
    assert.deepEqual(await book(), { available: 100, held: 0 });
    assert.deepEqual(await hold({ ...live, taskId: "task_2", amount: 100 }), [null]);
    assert.deepEqual(await book(), { available: 0, held: 100 });
  });

  test("a free task is held and settled at nothing, with money or without", async () => {
    const { hold, finish, entries } = await setupLedger(setup);
    assert.deepEqual(await hold({ ...live, taskId: "task_1", amount: 0 }), [null]);
    await finish({ ...live, taskId: "task_1", held: 0, captures: [{ slot: 0, amount: 0 }] });
    const rows = await entries("task_1");
    assert.deepEqual(
      rows.map((row) => [row.id, row.available, row.held]),
      [
        ["capture:task_1:0", 0, 0],
        ["hold:task_1", 0, 0],
        ["release:task_1", 0, 0],
      ],
    );
  });

  test("of a list that the account cannot pay as a whole, those that fit in its order are held", async () => {
    const { db, add, hold, book, entries } = await setupLedger(setup, 100);
    const other = { accountId: "acc_2", mode: "live", keyId: "key_2" } as const;
    await db.transaction((tx) => openBooks(tx, "acc_2", 0));
    await add({ ...other, amount: 1_000, reference: "funds" });
    const answers = await hold(
      { ...live, taskId: "task_1", amount: 60 },
      { ...other, taskId: "task_2", amount: 500 },
      { ...live, taskId: "task_3", amount: 50 },
      { ...tested, taskId: "task_4", amount: 7 },
      { ...live, taskId: "task_5", amount: 40 },
      { ...live, taskId: "task_6", amount: 1 },
      { ...live, taskId: "task_7", amount: 0 },
    );
    assert.deepEqual(answers, [null, null, { missing: 10 }, null, null, { missing: 1 }, null]);
    assert.deepEqual(await book(live), { available: 0, held: 100 });
    assert.deepEqual(await book(other), { available: 500, held: 500 });
    assert.deepEqual(await book(tested), { available: 1_000 * usd - 7, held: 7 });
    assert.deepEqual(
      (await entries("hold:")).map((row) => row.task_id),
      ["task_1", "task_2", "task_4", "task_5", "task_7"],
    );
  });

  test("of many submits that race for the last money exactly those that fit are held", async () => {
    const { hold, book } = await setupLedger(setup, 5 * usd);
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) => hold({ ...live, taskId: `task_${i}`, amount: usd })),
    );
    assert.equal(answers.flat().filter((answer) => answer === null).length, 5);
    assert.deepEqual(
      answers.flat().filter((answer) => answer !== null),
      Array.from({ length: 7 }, () => ({ missing: usd })),
    );
    assert.deepEqual(await book(), { available: 0, held: 5 * usd });
  });

  test("two lists that name the same books in opposite order do not block each other", async () => {
    const { db, add, hold } = await setupLedger(setup, 1_000);
    const other = { accountId: "acc_2", mode: "live", keyId: "key_2" } as const;
    await db.transaction((tx) => openBooks(tx, "acc_2", 0));
    await add({ ...other, amount: 1_000, reference: "funds" });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => {
        const pair = [
          { ...live, taskId: `task_a${i}`, amount: 1 },
          { ...other, taskId: `task_b${i}`, amount: 1 },
        ];
        return hold(...(i % 2 === 0 ? pair : pair.toReversed()));
      }),
    );
    assert.deepEqual(answers.flat(), Array(40).fill(null));
  });

  test("a settled task is charged for what was delivered and gets the rest back", async () => {
    const { hold, finish, book, entries } = await setupLedger(setup, 100);
    await hold({ ...live, taskId: "task_1", amount: 80 });
    const captures = [
      { slot: 0, amount: 20 },
      { slot: 2, amount: 15 },
    ];
    await finish({ ...live, taskId: "task_1", held: 80, captures });
    assert.deepEqual(await book(), { available: 65, held: 0 });
    const rows = await entries("task_1");
    assert.deepEqual(
      rows.map((row) => [row.id, row.kind, row.available, row.held]),
      [
        ["capture:task_1:0", "capture", 0, -20],
        ["capture:task_1:2", "capture", 0, -15],
        ["hold:task_1", "hold", -80, 80],
        ["release:task_1", "release", 45, -45],
      ],
    );
  });

  test("a release is written even when nothing is left of the hold", async () => {
    const { hold, finish, book, entries } = await setupLedger(setup, 100);
    await hold({ ...live, taskId: "task_1", amount: 100 });
    await finish({ ...live, taskId: "task_1", held: 100, captures: [{ slot: 0, amount: 100 }] });
    assert.deepEqual(await book(), { available: 0, held: 0 });
    assert.equal((await entries("release:task_1")).length, 1);
  });

  test("the same task is held only once", async () => {
    const { hold, book } = await setupLedger(setup, 100);
    await hold({ ...live, taskId: "task_1", amount: 10 });
    await assert.rejects(hold({ ...live, taskId: "task_1", amount: 10 }), isUniqueViolation);
    assert.deepEqual(await book(), { available: 90, held: 10 });
  });

  test("a hold is resolved only once, also while others of the account are open", async () => {
    const { hold, finish, book } = await setupLedger(setup, 100);
    await hold(
      { ...live, taskId: "task_1", amount: 10 },
      { ...live, taskId: "task_2", amount: 10 },
    );
    const release = { ...live, taskId: "task_1", held: 10, captures: [] };
    const results = await Promise.allSettled([
      finish(release),
      finish({ ...release, captures: [{ slot: 0, amount: 10 }] }),
    ]);
    assert.deepEqual(results.map((result) => result.status).toSorted(), ["fulfilled", "rejected"]);
    assert.equal((await book()).held, 10);
    await assert.rejects(finish(release), isUniqueViolation);
    assert.equal((await book()).held, 10);
  });

  test("nothing is resolved that was not held, nor at another amount or in the other book", async () => {
    const { hold, finish, book } = await setupLedger(setup, 100);
    await hold(
      { ...live, taskId: "task_1", amount: 10 },
      { ...tested, taskId: "task_2", amount: 10 },
    );
    const release = { ...live, taskId: "task_1", held: 10, captures: [] };
    for (const wrong of [
      { ...release, taskId: "task_9" },
      { ...release, held: 9 },
      { ...release, held: 11 },
      { ...release, ...tested },
      { ...release, taskId: "task_2" },
    ]) {
      await assert.rejects(finish(wrong), /exists and has the amount/, JSON.stringify(wrong));
    }
    assert.deepEqual(await book(live), { available: 90, held: 10 });
    assert.equal((await book(tested)).held, 10);
  });

  test("more than the hold, less than nothing and parts of a unit are never captured", async () => {
    const { hold, finish, book } = await setupLedger(setup, 100);
    await hold({ ...live, taskId: "task_1", amount: 10 });
    for (const amounts of [[11], [6, 5], [-1], [0.5], [Number.NaN]]) {
      const captures = amounts.map((amount, slot) => ({ slot, amount }));
      await assert.rejects(
        finish({ ...live, taskId: "task_1", held: 10, captures }),
        /at most what it holds|whole number of micro-USD/,
      );
    }
    assert.deepEqual(await book(), { available: 90, held: 10 });
  });

  test("a picture is charged only once", async () => {
    const { hold, finish } = await setupLedger(setup, 100);
    await hold({ ...live, taskId: "task_1", amount: 10 });
    const captures = [
      { slot: 0, amount: 3 },
      { slot: 0, amount: 3 },
    ];
    await assert.rejects(
      finish({ ...live, taskId: "task_1", held: 10, captures }),
      isUniqueViolation,
    );
  });

  test("holds that are no whole amounts are refused before anything is written", async () => {
    const { hold, book } = await setupLedger(setup, 100);
    for (const amount of [-1, 0.5, Number.NaN, Number.MAX_SAFE_INTEGER + 1]) {
      await assert.rejects(
        hold({ ...live, taskId: "task_1", amount: 1 }, { ...live, taskId: "task_2", amount }),
        /whole number of micro-USD/,
      );
    }
    assert.deepEqual(await book(), { available: 100, held: 0 });
  });

  test("an account without books can hold nothing", async () => {
    const { hold, add } = await setupLedger(setup);
    const nobody = { ...live, accountId: "acc_none" };
    await assert.rejects(hold({ ...nobody, taskId: "task_1", amount: 0 }), /book of an account/);
    await assert.rejects(add({ ...nobody, amount: 1, reference: "x" }), /has its books/);
  });

  test("a test book fills up to 1,000 USD when a hold would leave less than 100", async () => {
    const { hold, finish, book, entries } = await setupLedger(setup);
    assert.deepEqual(await hold({ ...tested, taskId: "task_1", amount: 900 * usd }), [null]);
    assert.deepEqual(await book(tested), { available: 100 * usd, held: 900 * usd });
    assert.deepEqual(await entries("credit:refill"), []);
    assert.deepEqual(await hold({ ...tested, taskId: "task_2", amount: 1 }), [null]);
    assert.deepEqual(await book(tested), { available: 1_000 * usd, held: 900 * usd + 1 });
    const [refill] = await entries("credit:refill");
    assert.deepEqual([refill?.id, refill?.available], ["credit:refill:task_2", 900 * usd + 1]);
    await finish({ ...tested, taskId: "task_1", held: 900 * usd, captures: [] });
    assert.deepEqual(await book(tested), { available: 1_900 * usd, held: 1 });
  });

  test("a test book pays for more than it ever has, and a race fills it up only as needed", async () => {
    const { hold, book, entries } = await setupLedger(setup);
    const answers = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        hold({ ...tested, taskId: `task_${i}`, amount: 400 * usd }),
      ),
    );
    assert.deepEqual(answers.flat(), Array(6).fill(null));
    assert.deepEqual(await book(tested), { available: 1_000 * usd, held: 2_400 * usd });
    assert.equal((await entries("credit:refill")).length, 2);
    assert.deepEqual(await hold({ ...tested, taskId: "task_9", amount: 5_000 * usd }), [null]);
    assert.equal((await book(tested)).available, 1_000 * usd);
  });

  test("a live book never fills up", async () => {
    const { hold, entries } = await setupLedger(setup, 150 * usd);
    await hold({ ...live, taskId: "task_1", amount: 140 * usd });
    assert.deepEqual(await hold({ ...live, taskId: "task_2", amount: 11 * usd }), [
      { missing: usd },
    ]);
    assert.deepEqual(await entries("credit:refill"), []);
  });

  test("a credit with the same reference is added once, however often and from wherever it comes", async () => {
    const { add, book } = await setupLedger(setup);
    const payment = { ...live, amount: 25 * usd, reference: "invoice-7", note: "first payment" };
    const added = await Promise.all(Array.from({ length: 5 }, () => add(payment)));
    assert.equal(added.filter((isNew) => isNew).length, 1);
    assert.deepEqual(await book(), { available: 25 * usd, held: 0 });
  });

  test("a reference that stands for another credit is refused by name", async () => {
    const { add, book } = await setupLedger(setup);
    const payment = { ...live, amount: 25 * usd, reference: "invoice-7" };
    await add(payment);
    for (const other of [
      { ...payment, amount: 26 * usd },
      { ...payment, ...tested },
    ]) {
      await assert.rejects(
        add(other),
        (error) =>
          error instanceof AppError &&
          error.param === "reference" &&
          error.message.includes('"invoice-7" already stands for a live credit of 25.00 USD'),
      );
    }
    assert.equal((await book()).available, 25 * usd);
  });

  test("a credit that is no credit is refused by name", async () => {
    const { add, book } = await setupLedger(setup);
    const payment = { ...live, amount: 1, reference: "r" };
    const cases = [
      [{ amount: 0 }, "amount"],
      [{ amount: -1 }, "amount"],
      [{ amount: 0.5 }, "amount"],
      [{ reference: "" }, "reference"],
      [{ reference: "two words" }, "reference"],
      [{ reference: "x".repeat(201) }, "reference"],
      [{ note: "x".repeat(501) }, "note"],
      [{ note: "a\0" }, "note"],
    ] as const;
    for (const [change, param] of cases) {
      await assert.rejects(
        add({ ...payment, ...change }),
        (error) => error instanceof AppError && error.param === param,
        JSON.stringify(change),
      );
    }
    assert.equal((await book()).available, 0);
  });

  test("verbs of a transaction that fails leave nothing behind", async () => {
    const { db, now, book, entries } = await setupLedger(setup, 100);
    await assert.rejects(
      db.transaction(async (tx) => {
        await holdMany(tx, [{ ...live, taskId: "task_1", amount: 70 }], now);
        await settle(tx, { ...live, taskId: "task_1", held: 70, captures: [], now });
        throw new Error("the task is gone");
      }),
      /the task is gone/,
    );
    assert.deepEqual(await book(), { available: 100, held: 0 });
    assert.deepEqual(await entries("task_1"), []);
  });

  test("an entry of the ledger can be neither changed nor deleted", async () => {
    const { db, hold, entries } = await setupLedger(setup, 100);
    await hold({ ...live, taskId: "task_1", amount: 70 });
    const before = await entries("");
    const change = db.transaction((tx) => tx.updateTable("ledger").set({ note: "x" }).execute());
    await assert.rejects(change, /append-only/);
    const removal = db.transaction((tx) => tx.deleteFrom("ledger").execute());
    await assert.rejects(removal, /append-only/);
    assert.deepEqual(await entries(""), before);
  });

  test("a list longer than one statement takes is held as a whole", async () => {
    const { db, now, book, entries } = await setupLedger(setup, 100);
    const holds = Array.from({ length: 100 }, (_, i) => ({
      ...live,
      taskId: `task_${i}`,
      amount: 1,
    }));
    assert.deepEqual(await db.transaction((tx) => holdMany(tx, holds, now)), Array(100).fill(null));
    assert.deepEqual(await book(), { available: 0, held: 100 });
    assert.equal((await entries("hold:")).length, 100);
  });
});
