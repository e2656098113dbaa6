import assert from "node:assert/strict";
import test from "node:test";

import { AppError } from "../lib/errors.ts";
import { createByteBudget } from "./byte-budget.ts";

const mebibyte = 1_048_576;

function isOverloaded(error: unknown): boolean {
  return error instanceof AppError && error.reason === "overloaded";
}

test("bodies pass while they fit together, and again once one is gone", () => {
  const budget = createByteBudget(10 * mebibyte);
  const giveBack = budget.take(6 * mebibyte);
  budget.take(4 * mebibyte);
  assert.throws(() => budget.take(mebibyte), isOverloaded);
  giveBack?.();
  budget.take(6 * mebibyte);
  assert.throws(() => budget.take(mebibyte), isOverloaded);
});

test("giving back twice gives back once", () => {
  const budget = createByteBudget(10 * mebibyte);
  const giveBack = budget.take(5 * mebibyte);
  budget.take(5 * mebibyte);
  giveBack?.();
  giveBack?.();
  budget.take(5 * mebibyte);
  assert.throws(() => budget.take(mebibyte), isOverloaded);
});

test("small bodies always pass, and one larger than the whole passes alone", () => {
  const budget = createByteBudget(mebibyte);
  const giveBack = budget.take(2 * mebibyte);
  assert.equal(budget.take(65_536), null);
  assert.throws(() => budget.take(65_537), isOverloaded);
  giveBack?.();
  budget.take(65_537);
});
