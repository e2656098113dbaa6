import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { createWorks } from "./works.ts";

test("slots are in work from the beginning to the end of their piece", async () => {
  const works = createWorks();
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  works.begin([0, 2], first.promise);
  works.begin([1], second.promise);
  assert.deepEqual((await works.look()).busy, new Set([0, 2, 1]));
  first.resolve();
  await nextTurn();
  assert.deepEqual([...(await works.look()).busy], [1]);
  second.resolve();
  await works.end();
  assert.equal((await works.look()).busy.size, 0);
});

test("who has looked hears of the next end, also of one that came before it listened", async () => {
  const works = createWorks();
  const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  works.begin([0], first.promise);
  works.begin([1], second.promise);
  const { changed } = await works.look();
  first.resolve();
  await nextTurn();
  await changed;
  let hasChanged = false;
  const later = (await works.look()).changed.then(() => (hasChanged = true));
  await nextTurn();
  assert.equal(hasChanged, false);
  second.resolve();
  await later;
});

test("a piece that fails is an end like any other, and the next look throws what it failed with", async () => {
  const works = createWorks();
  const { changed } = await works.look();
  works.begin([0], Promise.reject(new Error("the first")));
  works.begin([1], Promise.reject(new Error("the second")));
  await changed;
  await assert.rejects(works.look(), /the first/);
});

test("a piece that hands its slots over to others is no change, one that keeps some of them back is", async () => {
  for (const [handed, isChange] of [
    [[0, 1], false],
    [[0], true],
  ] as const) {
    const works = createWorks();
    const inner = Promise.withResolvers<void>();
    let hasChanged = false;
    void (await works.look()).changed.then(() => (hasChanged = true));
    works.begin(
      [0, 1],
      nextTurn().then(() => works.begin(handed, inner.promise)),
    );
    for (let i = 0; i < 5; i += 1) await nextTurn();
    assert.equal(hasChanged, isChange);
    inner.resolve();
    await works.end();
    assert.equal(hasChanged, true);
  }
});

test("the end waits for every piece, failed ones and those that others have begun", async () => {
  const works = createWorks();
  const inner = Promise.withResolvers<void>();
  const outer = nextTurn().then(() => works.begin([1], inner.promise));
  works.begin([0], outer);
  works.begin([2], Promise.reject(new Error("it failed")));
  let hasEnded = false;
  const ended = works.end().then(() => (hasEnded = true));
  for (let i = 0; i < 5; i += 1) await nextTurn();
  assert.equal(hasEnded, false);
  inner.resolve();
  await ended;
});
