import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { CompiledQuery } from "kysely";

import { AssertionError } from "../lib/errors.ts";
import { createRunner } from "./sqlite-driver.ts";

function setup(t: TestContext, cachedMax?: number) {
  const database = new DatabaseSync(":memory:");
  t.after(() => database.close());
  const run = createRunner(database, cachedMax);
  const query = (sql: string, ...parameters: unknown[]) => run(CompiledQuery.raw(sql, parameters));
  return { database, query };
}

const refused: Record<string, unknown> = {
  undefined: undefined,
  "a boolean": true,
  "a Date": new Date(0),
  "a bigint": 1n,
  "not a number": Number.NaN,
  infinity: Number.POSITIVE_INFINITY,
  "an unsafe integer": 2 ** 53,
  "an object": {},
};

for (const [name, value] of Object.entries(refused)) {
  test(`a parameter that is ${name} is refused with the statement it was for`, (t) => {
    const { query } = setup(t);
    assert.throws(
      () => query("select ? as first, ? as second", 1, value),
      (error) =>
        error instanceof AssertionError && /parameter 2 .*select \? as first/.test(error.message),
    );
  });
}

test("a refused parameter's value is not repeated, because it may be a secret", (t) => {
  const { query } = setup(t);
  assert.throws(
    () => query("select ?", { key: "sk-live-secret" }),
    (error) => error instanceof Error && !error.message.includes("secret"),
  );
});

test("strings, numbers, null and bytes come back as they went in", (t) => {
  const { query } = setup(t);
  const values = ["text", 5, -1.5, Number.MAX_SAFE_INTEGER, null];
  const { rows } = query("select ? as a, ? as b, ? as c, ? as d, ? as e", ...values);
  assert.deepEqual(rows, [{ a: "text", b: 5, c: -1.5, d: Number.MAX_SAFE_INTEGER, e: null }]);
  const bytes = query("select ? as bytes", Uint8Array.of(1, 2)).rows;
  assert.deepEqual(bytes, [{ bytes: Uint8Array.of(1, 2) }]);
});

test("a whole number is an integer in SQL, as it is on PostgreSQL", (t) => {
  const { query } = setup(t);
  const { rows } = query("select 'slot:' || ? as label, 7 / ? as half, typeof(?) as kind", 5, 2, 1);
  assert.deepEqual(rows, [{ label: "slot:5", half: 3, kind: "integer" }]);
});

test("an integer that no number holds exactly is an error, not another integer", (t) => {
  const { query } = setup(t);
  assert.throws(() => query("select 9007199254740993 as big"), { code: "ERR_OUT_OF_RANGE" });
});

test("a statement that changes rows says how many, and one that returns rows gives them", (t) => {
  const { query } = setup(t);
  query("create table t (a integer) strict");
  assert.equal(query("insert into t values (?), (?)", 1, 2).numAffectedRows, 2n);
  assert.deepEqual(query("update t set a = a + 1 returning a").rows, [{ a: 2 }, { a: 3 }]);
  assert.equal(query("delete from t where a > 9").numAffectedRows, 0n);
});

test("a statement is prepared once while it is in use, and the one idle longest is dropped", (t) => {
  const { database, query } = setup(t, 2);
  const prepare = t.mock.method(database, "prepare");
  query("select 1");
  query("select 2");
  query("select 1");
  assert.equal(prepare.mock.callCount(), 2);
  query("select 3");
  query("select 1");
  assert.equal(prepare.mock.callCount(), 3);
  query("select 2");
  assert.equal(prepare.mock.callCount(), 4);
});

test("a statement that failed works when it is run again", (t) => {
  const { query } = setup(t);
  query("create table t (a integer primary key) strict");
  query("insert into t values (?)", 1);
  assert.throws(() => query("insert into t values (?)", 1), { errcode: 1555 });
  query("insert into t values (?)", 2);
  assert.deepEqual(query("select a from t order by a").rows, [{ a: 1 }, { a: 2 }]);
});
