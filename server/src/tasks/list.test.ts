import assert from "node:assert/strict";
import { test } from "node:test";

import { CompiledQuery } from "kysely";

import type { Task as WireTask } from "../../../client/src/tasks.ts";
import { onEachDatabase } from "../../test/support/databases.ts";
import { onEachEngine } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import { createLinks } from "../storage/links.ts";
import { secondMs } from "../lib/time.ts";
import { createLister } from "./list.ts";
import type { ListInput } from "./list.ts";
import { selectMatching } from "./list-store.ts";
import { createReader } from "./read.ts";

function createList(engine: TestEngine, scanMax?: number) {
  const readTask = createReader({
    ...engine.deps,
    links: createLinks({ secret: Buffer.alloc(32, 9), clock: engine.clock }),
    retentionMs: 1_000_000,
    publicUrl: () => "http://darkroom.test",
  });
  const lister = createLister({ db: engine.db, readTask, ...(scanMax ? { scanMax } : {}) });
  return async (input: Partial<ListInput> = {}, by = engine.caller) => {
    const page = await lister({ ...by, language: "en", limit: 20, ...input });
    return { ...page, ids: page.tasks.map((json) => (JSON.parse(json) as WireTask).id) };
  };
}

/** Ids of `count` tasks, the oldest first, ten seconds apart. */
async function submitMany(engine: TestEngine, count: number, by = engine.caller) {
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    ids.push(await engine.submit({}, by));
    await engine.clock.advance(10 * secondMs);
  }
  return ids;
}

onEachEngine((_name, open) => {
  test("a list goes through all tasks of the account, newest first, each once", async () => {
    await using engine = await open();
    const ids = await submitMany(engine, 5);
    const list = createList(engine);
    const first = await list({ limit: 2 });
    assert.deepEqual(first.ids, [ids[4], ids[3]]);
    assert.deepEqual([first.hasMore, first.lastId], [true, ids[3]]);
    const second = await list({ limit: 2, after: ids[3]! });
    assert.deepEqual(second.ids, [ids[2], ids[1]]);
    const last = await list({ limit: 2, after: ids[1]! });
    assert.deepEqual(last.ids, [ids[0]]);
    assert.deepEqual([last.hasMore, last.lastId], [false, ids[0]]);
    assert.deepEqual(await list({ after: ids[0]! }), {
      tasks: [],
      ids: [],
      hasMore: false,
      lastId: null,
    });
  });

  test("every filter leaves out what does not match, alone and together", async () => {
    await using engine = await open();
    const { accountId } = engine.caller;
    const sibling = await engine.createCaller({ accountId });
    const start = engine.clock.now();
    const [one, two] = await submitMany(engine, 2);
    const [three] = await submitMany(engine, 1, sibling);
    await engine.cancel(two!);
    const list = createList(engine);
    assert.deepEqual((await list({ state: "cancelled" })).ids, [two]);
    assert.deepEqual((await list({ state: "pending" })).ids, [three, one]);
    assert.deepEqual((await list({ submittedBy: sibling.keyId })).ids, [three]);
    assert.deepEqual((await list({ model: "flux-2-pro" })).ids, []);
    const created = { createdFrom: start + 10 * secondMs, createdBefore: start + 20 * secondMs };
    assert.deepEqual((await list(created)).ids, [two]);
    assert.deepEqual((await list({ ...created, state: "pending" })).ids, []);
    assert.deepEqual((await list({ ...created, after: two! })).ids, []);
    assert.deepEqual((await list({ createdFrom: start + 1 })).ids, [three, two]);
  });

  test("tasks of another account or mode are on no list", async () => {
    await using engine = await open();
    const [own] = await submitMany(engine, 1);
    const { accountId } = engine.caller;
    const tester = await engine.createCaller({ accountId, mode: "test" });
    const stranger = await engine.createCaller();
    const list = createList(engine);
    assert.deepEqual((await list({}, tester)).ids, []);
    assert.deepEqual((await list({}, stranger)).ids, []);
    assert.deepEqual((await list()).ids, [own]);
  });

  test("a page looks through a bounded number of tasks, and says where it stopped", async () => {
    await using engine = await open();
    const ids = await submitMany(engine, 5);
    await engine.cancel(ids[0]!);
    const list = createList(engine, 2);
    const pages = [await list({ state: "cancelled" })];
    while (pages.at(-1)!.hasMore) {
      pages.push(await list({ state: "cancelled", after: pages.at(-1)!.lastId! }));
    }
    assert.deepEqual(
      pages.map((page) => page.ids),
      [[], [], [ids[0]]],
    );
  });
});

onEachDatabase((name, setup) => {
  test("a list finds its tasks through the primary key, in their order, without sorting", async () => {
    const { db } = await setup();
    const filter = {
      accountId: "acc_1",
      mode: "live",
      from: "task_0",
      before: "task_Z",
      createdFrom: 0,
      createdBefore: 5,
      state: "failed",
      model: "m",
      submittedBy: "key_1",
    } as const;
    const query = selectMatching(db.read, filter, 21).compile();
    const plan = await db.transaction(async (tx) => {
      // What PostgreSQL chooses for an empty table says nothing; whether the index serves does.
      if (name === "postgres") {
        await tx.executeQuery(CompiledQuery.raw("set local enable_seqscan to off"));
        await tx.executeQuery(CompiledQuery.raw("set local enable_bitmapscan to off"));
      }
      const explain = name === "sqlite" ? "explain query plan" : "explain";
      const { parameters } = query;
      const { rows } = await tx.executeQuery(
        CompiledQuery.raw(`${explain} ${query.sql}`, [...parameters]),
      );
      return JSON.stringify(rows);
    });
    const wanted = {
      sqlite: /SEARCH tasks USING INDEX sqlite_autoindex_tasks_1/,
      postgres: /Index Scan Backward using tasks_pkey/,
    };
    assert.match(plan, wanted[name]);
    assert.doesNotMatch(plan, /sort|TEMP B-TREE/i);
  });
});
