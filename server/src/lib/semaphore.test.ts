import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { createSemaphore } from "./semaphore.ts";

function setup(limit: number, waitingMax = 100) {
  const semaphore = createSemaphore({ limit, waitingMax, full: () => new Error("full") });
  const begun: number[] = [];
  const ends: PromiseWithResolvers<void>[] = [];
  const start = (n: number): Promise<number> => {
    const end = Promise.withResolvers<void>();
    ends[n] = end;
    return semaphore.run(async () => {
      begun.push(n);
      await end.promise;
      return n;
    });
  };
  const finish = async (n: number): Promise<void> => {
    ends[n]?.resolve();
    await nextTurn();
  };
  return { semaphore, begun, start, finish };
}

test("no more than the limit runs at once, and the rest begins in order", async () => {
  const { semaphore, begun, start, finish } = setup(2);
  const works = [0, 1, 2, 3].map(start);
  await nextTurn();
  assert.deepEqual(begun, [0, 1]);
  assert.deepEqual([semaphore.active, semaphore.waiting], [2, 2]);
  await finish(1);
  assert.deepEqual(begun, [0, 1, 2]);
  assert.deepEqual([semaphore.active, semaphore.waiting], [2, 1]);
  for (const n of [0, 2, 3]) await finish(n);
  assert.deepEqual(await Promise.all(works), [0, 1, 2, 3]);
  assert.deepEqual([semaphore.active, semaphore.waiting], [0, 0]);
});

test("a newcomer does not take a place that has just been handed over", async () => {
  const { semaphore, begun, start, finish } = setup(1);
  const works = [start(0), start(1)];
  await nextTurn();
  const done = finish(0);
  works.push(start(2));
  await done;
  assert.deepEqual(begun, [0, 1]);
  assert.equal(semaphore.active, 1);
  await finish(1);
  await finish(2);
  await Promise.all(works);
});

test("work that fails gives its place back", async () => {
  const { semaphore, begun, start, finish } = setup(1);
  const failed = semaphore.run(() => Promise.reject(new Error("it failed")));
  const next = start(1);
  await assert.rejects(failed, /it failed/);
  await nextTurn();
  assert.deepEqual(begun, [1]);
  await finish(1);
  await next;
  assert.equal(semaphore.active, 0);
});

test("when too many wait, a newcomer is refused at once and counts for nothing", async () => {
  const { semaphore, start, finish } = setup(1, 1);
  const works = [start(0), start(1)];
  await nextTurn();
  await assert.rejects(start(2), /full/);
  assert.deepEqual([semaphore.active, semaphore.waiting], [1, 1]);
  await finish(0);
  await finish(1);
  await Promise.all(works);
});
