import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { createBatch } from "./batch.ts";

type Setup = { sizeMax?: number; waitingMax?: number; runsMax?: number };

/** A batch that doubles numbers, and the lists it was run with; a list runs until it is released. */
function setup({ sizeMax = 10, waitingMax = 100, runsMax }: Setup = {}) {
  const lists: number[][] = [];
  const gates: PromiseWithResolvers<void>[] = [];
  const batch = createBatch<number, number>({
    sizeMax,
    waitingMax,
    ...(runsMax !== undefined && { runsMax }),
    full: () => new Error("full"),
    run: async (items) => {
      lists.push([...items]);
      const gate = Promise.withResolvers<void>();
      gates.push(gate);
      await gate.promise;
      if (items.includes(13)) throw new Error(`a list with 13 of ${items.length}`);
      return items.map((item) => item * 2);
    },
  });
  const release = async (): Promise<void> => {
    while (gates.length === 0) await nextTurn();
    gates.shift()?.resolve();
    await nextTurn();
  };
  return { batch, lists, gates, release };
}

test("calls of one turn share a run, and each gets its own result", async () => {
  const { batch, lists, release } = setup();
  const results = Promise.all([1, 2, 3].map((item) => batch.add(item)));
  await release();
  assert.deepEqual(await results, [2, 4, 6]);
  assert.deepEqual(lists, [[1, 2, 3]]);
});

test("while a run is under way the next list gathers", async () => {
  const { batch, lists, release } = setup();
  const first = batch.add(1);
  await nextTurn();
  const later = [batch.add(2), batch.add(3)];
  assert.deepEqual(lists, [[1]]);
  await release();
  assert.equal(await first, 2);
  await release();
  assert.deepEqual(await Promise.all(later), [4, 6]);
  assert.deepEqual(lists, [[1], [2, 3]]);
});

test("a list is never longer than it may be, and order is kept", async () => {
  const { batch, lists, release } = setup({ sizeMax: 2 });
  const results = Promise.all([1, 2, 3, 4, 5].map((item) => batch.add(item)));
  for (let i = 0; i < 3; i += 1) await release();
  assert.deepEqual(await results, [2, 4, 6, 8, 10]);
  assert.deepEqual(lists, [[1, 2], [3, 4], [5]]);
});

test("a batch works again after it has been idle", async () => {
  const { batch, lists, release } = setup();
  for (const item of [1, 2]) {
    const result = batch.add(item);
    await release();
    assert.equal(await result, item * 2);
    await nextTurn();
  }
  assert.deepEqual(lists, [[1], [2]]);
});

test("one bad item does not fail its neighbours: the list is run item by item", async () => {
  const { batch, lists, release } = setup();
  const results = Promise.allSettled([1, 13, 3].map((item) => batch.add(item)));
  for (let i = 0; i < 4; i += 1) await release();
  const [first, bad, third] = await results;
  assert.deepEqual(
    [first, third],
    [
      { status: "fulfilled", value: 2 },
      { status: "fulfilled", value: 6 },
    ],
  );
  assert.ok(bad?.status === "rejected");
  assert.match(String(bad.reason), /a list with 13 of 1/);
  assert.deepEqual(lists, [[1, 13, 3], [1], [13], [3]]);
});

test("when too many wait, newcomers are refused at once and the others are served", async () => {
  const { batch, release } = setup({ waitingMax: 2 });
  const first = batch.add(1);
  await nextTurn();
  const waiting = [batch.add(2), batch.add(3)];
  await assert.rejects(batch.add(4), /full/);
  await release();
  assert.equal(await first, 2);
  await release();
  assert.deepEqual(await Promise.all(waiting), [4, 6]);
});

test("as many lists are under way at once as may be, and a list gets its own results whichever ends first", async () => {
  const { batch, lists, gates } = setup({ runsMax: 2 });
  const results = [];
  for (const item of [1, 2, 3]) {
    results.push(batch.add(item));
    await nextTurn();
  }
  assert.deepEqual(lists, [[1], [2]]);
  gates[1]?.resolve();
  assert.equal(await results[1], 4);
  await nextTurn();
  assert.deepEqual(lists, [[1], [2], [3]]);
  for (const gate of gates) gate.resolve();
  assert.deepEqual(await Promise.all(results), [2, 4, 6]);
});

test("a list that is shorter than those under way waits for more calls or for one of them to end", async () => {
  const { batch, lists, gates } = setup({ runsMax: 2 });
  const first = [1, 2, 3].map((item) => batch.add(item));
  await nextTurn();
  const later = [batch.add(4), batch.add(5)];
  await nextTurn();
  assert.deepEqual(lists, [[1, 2, 3]]);
  later.push(batch.add(6));
  await nextTurn();
  assert.deepEqual(lists, [
    [1, 2, 3],
    [4, 5, 6],
  ]);
  const last = batch.add(7);
  await nextTurn();
  for (const gate of gates) gate.resolve();
  await Promise.all([...first, ...later]);
  await nextTurn();
  assert.deepEqual(lists.at(-1), [7]);
  for (const gate of gates) gate.resolve();
  assert.equal(await last, 14);
});
