/** The judge of a chaos run finds each of the promises broken that it is there to hold. */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { Order } from "../crash/orders.ts";
import type { BookedTask } from "./books.ts";
import { judge } from "./judge.ts";
import type { Evidence, Told } from "./judge.ts";

const mark = "c0n0x";
const id = "task_01";

function order(changes: Partial<Order> = {}): Order {
  const task = { id, status: "completed", progress: 100, cost: 0.05, result: { images: [{}] } };
  return {
    kind: "handle",
    body: { prompt: `${mark} a lighthouse` },
    promised: {
      status: "completed",
      pictures: 1,
      missing: 0,
      width: 1_024,
      height: 1_024,
      format: "jpeg",
    },
    insets: [],
    mark,
    key: `key-${mark}`,
    taskId: id,
    originals: 1,
    lost: 0,
    cancels: 0,
    ended: `,"data":${JSON.stringify(task)}}`,
    rank: 2,
    progress: 100,
    ...changes,
  };
}

function booked(changes: Partial<BookedTask> = {}): BookedTask {
  return {
    id,
    mark,
    state: "completed",
    pictures: 1,
    captured: 50_000,
    endedAt: 1_000,
    deadlineAt: 2_000,
    outputs: 1,
    captures: 1,
    attempts: { done: 1 },
    failures: "",
    ...changes,
  };
}

const told: Told = { mark, webhookId: "evt_1", body: JSON.stringify({ id, status: "completed" }) };

function evidence(changes: Partial<Evidence> = {}): Evidence {
  return {
    orders: [order()],
    books: [booked()],
    billed: [{ mark, pictures: 1 }],
    told: [told],
    ...changes,
  };
}

test("a task that was made, paid for, charged and told of once is in order", () => {
  const { problems, counts } = judge(evidence({ told: [told, told] }));
  assert.deepEqual(problems, []);
  assert.deepEqual(counts.ends, { completed: 1 });
  assert.deepEqual([counts.accepted, counts.pictures, counts.wasted], [1, 1, 0]);
});

const failed = { status: "failed", progress: 100, cost: 0 };
const endedAs = (code: string): string =>
  `,"data":${JSON.stringify({ ...failed, id, error: { code } })}}`;
const failedRow = {
  state: "failed",
  captured: 0,
  outputs: 0,
  captures: 0,
  attempts: { unknown: 1 },
};
const failedTold = { ...told, body: JSON.stringify({ id, status: "failed" }) };

test("a picture of which nobody knows is wasted, and no broken promise", () => {
  const { problems, counts } = judge(
    evidence({
      orders: [order({ ended: endedAs("outcome_unknown") })],
      books: [booked(failedRow)],
      told: [failedTold],
    }),
  );
  assert.deepEqual(problems, []);
  assert.deepEqual([counts.wasted, counts.unknownAttempts], [1, 1]);
});

const breaches: Record<string, { changes: Partial<Evidence>; found: RegExp }> = {
  "an accepted task that is not there": { changes: { books: [] }, found: /task_01 is lost/ },
  "a submit with a key that never had a reply": {
    changes: { orders: [order({ taskId: null, ended: null })] },
    found: /never acknowledged/,
  },
  "an order that made two tasks": {
    changes: { books: [booked(), booked({ id: "task_02" })] },
    found: /has made 2 tasks/,
  },
  "a vendor's job that was paid for twice": {
    changes: { billed: [1, 1].map((pictures) => ({ mark, pictures })) },
    found: /1 pictures were paid for 2 times/,
  },
  "a picture that no vendor has made": { changes: { billed: [] }, found: /1 pictures of 0 made/ },
  "a charge too many": { changes: { books: [booked({ captures: 2 })] }, found: /2 charges/ },
  "a caller who is told of another cost": {
    changes: { books: [booked({ captured: 60_000 })] },
    found: /costs 50000, charged 60000/,
  },
  "a task that ended late": {
    changes: { books: [booked({ endedAt: 62_001 })] },
    found: /has not ended in time/,
  },
  "a task that has not ended": {
    changes: { books: [booked({ endedAt: null })] },
    found: /has not ended in time/,
  },
  "a task whose caller never saw its end": {
    changes: { orders: [order({ ended: null })] },
    found: /has not ended for its caller/,
  },
  "a failure that no fault explains": {
    changes: {
      orders: [order({ ended: endedAs("internal_error") })],
      books: [booked(failedRow)],
      told: [failedTold],
    },
    found: /failed as internal_error/,
  },
  "a webhook that never arrived": { changes: { told: [] }, found: /its webhook never arrived/ },
  "a webhook with two bodies": {
    changes: { told: [told, { ...told, body: `${told.body} ` }] },
    found: /1 of 2 webhooks differ/,
  },
  "a webhook under two ids": {
    changes: { told: [told, { ...told, webhookId: "evt_2" }] },
    found: /1 of 2 webhooks differ/,
  },
  "a webhook that tells of another end": {
    changes: { told: [failedTold] },
    found: /tells of task_01 failed/,
  },
};

for (const [breach, { changes, found }] of Object.entries(breaches)) {
  test(`the judge finds ${breach}`, () => {
    const { problems } = judge(evidence(changes));
    assert.ok(
      problems.some((problem) => found.test(problem)),
      JSON.stringify(problems),
    );
  });
}
