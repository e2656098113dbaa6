import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import * as fc from "fast-check";

import { onEachEngine } from "../../test/support/engine.ts";
import type { TestEngine } from "../../test/support/engine.ts";
import type { Tx } from "../db/database.ts";
import { AppError, AssertionError } from "../lib/errors.ts";
import { abandonAttempts, endAttempt, insertAttempts, saveHandle } from "./attempt-store.ts";
import { cancelTask } from "./cancel.ts";
import { failTask } from "./fail.ts";
import { endingPorts, endSlots } from "./finish.ts";
import { lockQueueRow } from "./queue-store.ts";
import {
  attemptTransitions,
  isFinal,
  slotTransitions,
  sourcesOf,
  taskTransitions,
} from "./state.ts";
import { findTask, requestCancel, saveOutcome, startTask } from "./store.ts";
import type { SlotEnd } from "./task.ts";

type Table = Readonly<Record<string, readonly string[]>>;

const tables: Record<"Tasks" | "Slots" | "Attempts", { table: Table; first: string }> = {
  Tasks: { table: taskTransitions, first: "pending" },
  Slots: { table: slotTransitions, first: "open" },
  Attempts: { table: attemptTransitions, first: "sent" },
};

test("the sources of a state are exactly the states that lead to it", () => {
  for (const { table } of Object.values(tables)) {
    for (const target of Object.keys(table)) {
      for (const source of Object.keys(table)) {
        const leads = table[source]!.includes(target);
        assert.equal(sourcesOf(table, target).includes(source), leads, `${source} → ${target}`);
      }
    }
  }
  assert.deepEqual(sourcesOf(taskTransitions, "completed"), ["processing"]);
  assert.deepEqual(sourcesOf(taskTransitions, "cancelled"), ["pending", "processing"]);
  assert.deepEqual(sourcesOf(attemptTransitions, "sent"), []);
});

test("exactly the states in which something has ended are final", () => {
  const finals = Object.values(tables).map(({ table }) =>
    Object.keys(table).filter((state) => isFinal(table, state)),
  );
  assert.deepEqual(finals, [
    ["completed", "failed", "cancelled"],
    ["done", "failed"],
    ["done", "failed", "unknown"],
  ]);
});

test("the diagrams in docs/task-states.md draw the tables, and every state has its paragraph", async () => {
  const text = await readFile(new URL("../../../docs/task-states.md", import.meta.url), "utf8");
  for (const [heading, { table, first }] of Object.entries(tables)) {
    const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
    assert.ok(section !== undefined, heading);
    const drawn = [...section.matchAll(/^ {2}(\S+) --> (\S+)$/gm)].map(([, from, to]) => [
      from,
      to,
    ]);
    const expected = [
      ["[*]", first],
      ...Object.entries(table).flatMap(([from, targets]) => targets.map((to) => [from, to])),
      ...Object.keys(table).flatMap((state) => (isFinal(table, state) ? [[state, "[*]"]] : [])),
    ];
    assert.deepEqual(drawn.map(String).toSorted(), expected.map(String).toSorted(), heading);
    const described = [...section.matchAll(/^### (\S+)\n\n\S.{40,}/gm)].map(([, state]) => state);
    assert.deepEqual(described, Object.keys(table), heading);
  }
});

type Rows = { task: object; slots: object[]; attempts: { id: string }[] };

async function snapshot(engine: TestEngine, id: string): Promise<Rows> {
  const { read } = engine.db;
  const tasks = await read.selectFrom("tasks").selectAll().where("id", "=", id).execute();
  const attempts = read.selectFrom("attempts").selectAll().where("task_id", "=", id);
  return {
    task: tasks[0]!,
    slots: await engine.slots(id),
    attempts: await attempts.orderBy("id").execute(),
  };
}

/** A row goes along an arrow of its table or stays in its state, and does not change once it is final. */
function assertLegal(table: Table, before: object, after: object): void {
  const from = (before as { state: string }).state;
  const to = (after as { state: string }).state;
  if (isFinal(table, from)) assert.deepEqual(after, before);
  else assert.ok(from === to || table[from]!.includes(to), `${from} → ${to}`);
}

function assertLegalStep(before: Rows, after: Rows): void {
  assertLegal(taskTransitions, before.task, after.task);
  for (const [slot, row] of before.slots.entries()) {
    assertLegal(slotTransitions, row, after.slots[slot]!);
  }
  for (const row of before.attempts) {
    assertLegal(
      attemptTransitions,
      row,
      after.attempts.find(({ id }) => id === row.id)!,
    );
  }
  const isOver = isFinal(taskTransitions, (before.task as { state: "pending" }).state);
  if (isOver) assert.deepEqual(after, before);
}

const slotCount = 3;
const attemptCount = 4;
const someSlots = fc.uniqueArray(fc.nat(slotCount - 1), { minLength: 1 });
const attempt = fc.nat(attemptCount - 1).map((n) => `att_${n}`);

const move = fc.oneof(
  fc.record({ do: fc.constant("begin" as const), attempt, slots: someSlots }),
  fc.record({ do: fc.constant("save handle" as const), attempt }),
  fc.record({
    do: fc.constant("end attempt" as const),
    attempt,
    state: fc.constantFrom("done" as const, "failed" as const, "unknown" as const),
  }),
  fc.record({ do: fc.constant("end slots" as const), slots: someSlots, isDone: fc.boolean() }),
  fc.record({ do: fc.constant("abandon" as const) }),
  fc.record({ do: fc.constant("ask to cancel" as const) }),
  fc.record({ do: fc.constant("cancel" as const) }),
  fc.record({ do: fc.constant("fail" as const) }),
  fc.record({
    do: fc.constant("save outcome" as const),
    state: fc.constantFrom("completed" as const, "failed" as const, "cancelled" as const),
  }),
);

type Move = typeof move extends fc.Arbitrary<infer Value> ? Value : never;

/** Tries a move as the engine would, or as a mistaken engine might; a refusal is as good as a success. */
async function perform(engine: TestEngine, id: string, wanted: Move): Promise<void> {
  try {
    await performOrThrow(engine, id, wanted);
  } catch (error) {
    // An attempt that exists already, a slot that has ended, a task that has.
    const isRefusal = error instanceof AssertionError || error instanceof AppError;
    if (!isRefusal && wanted.do !== "begin") throw error;
  }
}

async function performOrThrow(engine: TestEngine, id: string, wanted: Move): Promise<void> {
  const { db, deps, caller } = engine;
  const { accountId, mode } = caller;
  const ref = { accountId, id };
  const now = engine.clock.now();
  // What concerns an attempt is only ever done behind a lock of the task's queue row.
  const whileOpen = (work: (tx: Tx) => Promise<void>): Promise<void> =>
    db.transaction(async (tx) => {
      if (await lockQueueRow(tx, accountId, id)) await work(tx);
    });
  switch (wanted.do) {
    case "begin":
      return whileOpen(async (tx) => {
        if (!(await startTask(tx, accountId, id))) return;
        const begun = {
          id: wanted.attempt,
          slots: wanted.slots,
          channel: "vendor",
          upstreamModel: "model",
          state: "sent" as const,
          handle: null,
          failure: null,
          sentAt: now,
          tier: "standard" as const,
          placeUntil: null,
        };
        await insertAttempts(tx, ref, [begun]);
      });
    case "save handle":
      return whileOpen((tx) => saveHandle(tx, ref, wanted.attempt, { at: now }));
    case "end attempt": {
      const end = {
        id: wanted.attempt,
        state: wanted.state,
        failure: null,
        usage: {},
        cost: 0,
        now,
      };
      return whileOpen((tx) => endAttempt(tx, ref, end));
    }
    case "abandon":
      return whileOpen(async (tx) => {
        await abandonAttempts(tx, accountId, id, now);
      });
    case "end slots": {
      const ends = wanted.slots.map((slot): SlotEnd =>
        wanted.isDone
          ? { slot, state: "done", captured: 10 }
          : { slot, state: "failed", error: { code: "no_image" } },
      );
      return db.transaction(async (tx) => {
        const task = await findTask(tx, accountId, id);
        await endSlots(tx, { task: task!, ends, now, ...endingPorts(deps) });
      });
    }
    case "ask to cancel":
      return db.transaction((tx) => requestCancel(tx, accountId, id, now));
    case "cancel":
      return cancelTask(deps, { accountId, mode, taskId: id });
    case "fail":
      return failTask(deps, ref, { code: "internal_error" });
    case "save outcome":
      await db.transaction((tx) =>
        saveOutcome(tx, {
          accountId,
          taskId: id,
          state: wanted.state,
          error: null,
          captured: 0,
          usage: null,
          endedAt: now,
          expiresAt: null,
        }),
      );
  }
}

onEachEngine((_name, open) => {
  test("no sequence of moves, legal or not, leaves the tables, and what has ended never changes", async () => {
    await using engine = await open({ funds: 1_000_000_000_000 });
    const property = fc.asyncProperty(
      fc.array(move, { minLength: 5, maxLength: 25 }),
      async (moves) => {
        const id = await engine.submit({ n: slotCount });
        let before = await snapshot(engine, id);
        for (const wanted of moves) {
          await perform(engine, id, wanted);
          const after = await snapshot(engine, id);
          assertLegalStep(before, after);
          before = after;
        }
      },
    );
    await fc.assert(property, { numRuns: 40 });
    await engine.checkLedger();
  });
});
