import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";

import { createGate } from "./gate.ts";

/** Work behind a gate: which has begun, and how to end it. */
function setup(limit: number) {
  const gate = createGate(limit);
  const begun: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<void>>();
  const start = (name: string, weight: number, owner = "one"): Promise<string> => {
    const end = Promise.withResolvers<void>();
    ends.set(name, end);
    return gate.run(owner, weight, async () => {
      begun.push(name);
      await end.promise;
      return name;
    });
  };
  const finish = async (name: string): Promise<void> => {
    ends.get(name)?.resolve();
    await nextTurn();
  };
  return { gate, begun, ends, start, finish };
}

test("work begins while its weight fits, and waits in order when it does not", async () => {
  const { begun, start, finish } = setup(10);
  const works = [start("a", 6), start("b", 4), start("c", 5), start("d", 1)];
  await nextTurn();
  assert.deepEqual(begun, ["a", "b"]);
  await finish("b");
  // `d` would fit, but it must not overtake: a heavy piece would wait for ever.
  assert.deepEqual(begun, ["a", "b"]);
  await finish("a");
  assert.deepEqual(begun, ["a", "b", "c", "d"]);
  await finish("c");
  await finish("d");
  assert.deepEqual(await Promise.all(works), ["a", "b", "c", "d"]);
});

test("a piece heavier than the gate passes alone", async () => {
  const { begun, start, finish } = setup(10);
  const works = [start("light", 1), start("heavy", 25), start("next", 1)];
  await nextTurn();
  assert.deepEqual(begun, ["light"]);
  await finish("light");
  assert.deepEqual(begun, ["light", "heavy"]);
  await finish("heavy");
  assert.deepEqual(begun, ["light", "heavy", "next"]);
  await finish("next");
  await Promise.all(works);
});

test("what weighs nothing is never kept waiting by weight alone", async () => {
  const { begun, start, finish } = setup(10);
  const works = [start("full", 10), start("nothing", 0)];
  await nextTurn();
  assert.deepEqual(begun.toSorted(), ["full", "nothing"]);
  await finish("full");
  await finish("nothing");
  await Promise.all(works);
});

test("work that fails gives its weight back", async () => {
  const { gate, begun, start, finish } = setup(10);
  await assert.rejects(
    gate.run("one", 10, () => Promise.reject(new Error("it failed"))),
    /it failed/,
  );
  const next = start("next", 10);
  await nextTurn();
  assert.deepEqual(begun, ["next"]);
  await finish("next");
  await next;
});

test("owners take turns, so that one's many do not hide another's one", async () => {
  const { begun, start, finish } = setup(10);
  const works = [
    start("a1", 10, "a"),
    start("a2", 10, "a"),
    start("a3", 10, "a"),
    start("b1", 10, "b"),
  ];
  await nextTurn();
  for (const name of ["a1", "a2", "b1", "a3"]) {
    assert.equal(begun.at(-1), name);
    await finish(name);
  }
  await Promise.all(works);
});

test("a gate says whether work would have to wait, for its weight or for others in the line", async () => {
  const { gate, start, finish } = setup(10);
  assert.ok(gate.hasRoom(99));
  const works = [start("a", 6)];
  assert.deepEqual([gate.hasRoom(4), gate.hasRoom(5), gate.hasRoom(0)], [true, false, true]);
  works.push(start("b", 5));
  assert.deepEqual([gate.hasRoom(1), gate.hasRoom(0)], [false, true]);
  await finish("a");
  assert.ok(gate.hasRoom(5));
  await finish("b");
  await Promise.all(works);
  assert.ok(gate.hasRoom(99));
});
