import assert from "node:assert/strict";
import { test } from "node:test";

import { createTurnBudget } from "./turn-budget.ts";
import { nextTurn } from "./turn.ts";

/** What was done in each turn when all of it is asked for in the first; `names` tells who joined when. */
async function spendAll(
  names: string,
  pieces: readonly [name: string, weight: number][],
): Promise<string[]> {
  const turns = [""];
  let isRunning = true;
  // Begun before the budget's own, so that every turn is counted before its work is done.
  const count = (): void => {
    turns.push("");
    if (isRunning) setImmediate(count);
  };
  setImmediate(count);
  const budget = createTurnBudget(10);
  const members = new Map(Array.from(names, (name) => [name, budget.join()]));
  await Promise.all(
    pieces.map(async ([name, weight]) => {
      await members.get(name)?.spend(weight);
      turns.push((turns.pop() ?? "") + name);
    }),
  );
  isRunning = false;
  return turns;
}

test("work waits for the next turn once a turn's budget is spent", async () => {
  const pieces: [string, number][] = [
    ["a", 6],
    ["b", 6],
    ["c", 10],
    ["d", 1],
    ["e", 1],
  ];
  assert.deepEqual(await spendAll("abcde", pieces), ["ab", "c", "de"]);
});

test("of those who wait, who joined first goes first, as often as there is something to do", async () => {
  const pieces: [string, number][] = [
    ["c", 10],
    ["c", 10],
    ["b", 10],
    ["a", 10],
    ["b", 10],
    ["a", 10],
  ];
  assert.deepEqual(await spendAll("abc", pieces), ["c", "a", "a", "b", "b", "c"]);
});

test("a piece heavier than the budget has a turn of its own", async () => {
  const pieces: [string, number][] = [
    ["a", 100],
    ["b", 100],
  ];
  assert.deepEqual(await spendAll("ab", pieces), ["a", "b"]);
});

test("what a turn has left is not added to the next one's", async () => {
  const member = createTurnBudget(10).join();
  await member.spend(1);
  await nextTurn();
  await nextTurn();
  await member.spend(10);
  let isSpent = false;
  const waiting = member.spend(1).then(() => {
    isSpent = true;
  });
  await Promise.resolve();
  assert.equal(isSpent, false);
  await waiting;
});
