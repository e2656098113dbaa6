import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import type { Setup } from "../../test/support/databases.ts";
import { AppError } from "../lib/errors.ts";
import { createIds } from "../lib/ids.ts";
import { systemRandom } from "../lib/random.ts";
import { createAccounts, loadRatios, parseRatio } from "./accounts.ts";

async function setupAccounts(setup: Setup) {
  const { db, clock } = await setup();
  const opened: string[] = [];
  const accounts = createAccounts({
    db,
    clock,
    ids: createIds(clock, systemRandom),
    openBooks: (_tx, accountId) => {
      opened.push(accountId);
      return Promise.resolve();
    },
  });
  return { db, clock, accounts, opened };
}

function isRefused(param: string, text: string) {
  return (error: unknown) =>
    error instanceof AppError &&
    error.reason === "invalid_parameter" &&
    error.param === param &&
    error.message.includes(text);
}

onEachDatabase((_name, setup) => {
  test("a new account is found by its name and pays list prices", async () => {
    const { accounts, clock, opened } = await setupAccounts(setup);
    const account = await accounts.createAccount("default");
    assert.match(account.id, /^acc_/);
    assert.equal(account.ratioPpm, 1_000_000);
    assert.equal(account.createdAt, clock.now());
    assert.deepEqual(await accounts.findAccountByName("default"), account);
    assert.equal(await accounts.findAccountByName("Default"), null);
    assert.deepEqual(opened, [account.id]);
  });

  test("of two accounts made with one name at the same time only one exists", async () => {
    const { accounts } = await setupAccounts(setup);
    const results = await Promise.allSettled([
      accounts.createAccount("team"),
      accounts.createAccount("team"),
    ]);
    assert.deepEqual(results.map((result) => result.status).toSorted(), ["fulfilled", "rejected"]);
    const refused = results.find((result) => result.status === "rejected");
    assert.ok(isRefused("name", '"team" is taken')(refused?.reason));
    assert.equal((await accounts.listAccounts()).length, 1);
  });

  test("an account whose books cannot be opened does not exist", async () => {
    const { db, clock } = await setup();
    const accounts = createAccounts({
      db,
      clock,
      ids: createIds(clock, systemRandom),
      openBooks: () => Promise.reject(new Error("no books")),
    });
    await assert.rejects(accounts.createAccount("default"), /no books/);
    assert.equal(await accounts.findAccountByName("default"), null);
  });

  test("accounts are listed in pages in the order they were made", async () => {
    const { accounts } = await setupAccounts(setup);
    for (const name of ["one", "two", "three"]) await accounts.createAccount(name);
    const first = await accounts.listAccounts({ limit: 2 });
    const rest = await accounts.listAccounts({ limit: 2, after: first[1]!.id });
    assert.deepEqual(
      [...first, ...rest].map((account) => account.name),
      ["one", "two", "three"],
    );
  });

  test("a changed ratio is read at once and only for its account", async () => {
    const { db, accounts } = await setupAccounts(setup);
    const one = await accounts.createAccount("one");
    const two = await accounts.createAccount("two");
    const changed = await accounts.setRatio("one", 800_000);
    assert.deepEqual(changed, { ...one, ratioPpm: 800_000 });
    assert.deepEqual(
      await loadRatios(db.read, [two.id, one.id, one.id]),
      new Map([
        [two.id, 1_000_000],
        [one.id, 800_000],
      ]),
    );
    assert.deepEqual(await loadRatios(db.read, []), new Map());
    await assert.rejects(loadRatios(db.read, [one.id, "acc_none"]), /account is missing/);
    await assert.rejects(accounts.setRatio("nobody", 1), isRefused("name", '"nobody"'));
    await assert.rejects(accounts.setRatio("one", 0.5), /whole number/);
  });

  test("a name that people could not read back is refused", async () => {
    const { accounts } = await setupAccounts(setup);
    for (const name of ["", " ", "-x", "a\nb", "a\0", "x".repeat(65), "a/b"]) {
      await assert.rejects(accounts.createAccount(name), isRefused("name", "is not allowed"));
    }
    for (const name of ["acc_01JD0000000000000000000000", "acc_", "ACC_studio"]) {
      await assert.rejects(accounts.createAccount(name), isRefused("name", "looks like an id"));
    }
    assert.equal((await accounts.createAccount("Ärzte & Co".replace("&", "-"))).name, "Ärzte - Co");
  });
});

describe("an operator's ratio", () => {
  test("is read to six decimals without a float", () => {
    assert.equal(parseRatio("1"), 1_000_000);
    assert.equal(parseRatio("0.8"), 800_000);
    assert.equal(parseRatio(" 1.000001 "), 1_000_001);
    assert.equal(parseRatio("0"), 0);
    assert.equal(parseRatio("1000"), 1_000_000_000);
  });

  test("is refused when it is no number from 0 to 1000", () => {
    for (const text of ["", "-1", "1e3", "0.1234567", "1000.000001", "x", "1,5", "."]) {
      assert.throws(() => parseRatio(text), isRefused("ratio", JSON.stringify(text)), text);
    }
  });
});
