import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Kysely,
  SqliteAdapter,
  SqliteQueryCompiler,
  DummyDriver,
  SqliteIntrospector,
} from "kysely";
import type { Compilable } from "kysely";

import { planOnce } from "./plan-once.ts";
import type { Tables } from "./schema.ts";

const db = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (handle) => new SqliteIntrospector(handle),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
});
const lane = "a lane";
const limit = 5;
const isParameter = (value: unknown): boolean => value === lane || value === limit;

/** The statement that runs for a query, and what is bound to it. */
function write(query: Compilable): { sql: string; bound: unknown } {
  const { query: node, queryId } = query.compile();
  const { sql, parameters } = db.getExecutor().compileQuery(planOnce(node, isParameter), queryId);
  return { sql, bound: parameters };
}

test("constants stand in the text, where a planner can hold them against a partial index", () => {
  const query = db
    .selectFrom("queue")
    .select("tag")
    .where("lane", "=", lane)
    .where("state", "=", "parked")
    .where("claims", "in", [1, 2]);
  assert.deepEqual(write(query), {
    sql: 'select "tag" from "queue" where "lane" = ? and "state" = \'parked\' and "claims" in (1, 2)',
    bound: [lane],
  });
});

test("a limit that is bound is an expression, so that SQLite does not look at its value", () => {
  const query = db.selectFrom("queue").select("tag").limit(limit);
  assert.deepEqual(write(query), {
    sql: 'select "tag" from "queue" limit (? | 0)',
    bound: [limit],
  });
});

test("a limit that is a constant stands in the text", () => {
  const query = db.selectFrom("queue").select("tag").limit(1);
  assert.deepEqual(write(query), { sql: 'select "tag" from "queue" limit 1', bound: [] });
});
