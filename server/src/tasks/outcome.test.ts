import assert from "node:assert/strict";
import { test } from "node:test";

import type { TaskErrorCode } from "../models/task-errors.ts";
import { outcomeOf } from "./outcome.ts";
import type { Slot } from "./task.ts";

/** `done`, or the code a slot failed with. */
function slotsOf(...ends: ("done" | TaskErrorCode)[]): Slot[] {
  return ends.map((end, slot) =>
    end === "done"
      ? { slot, state: "done", captured: 1, error: null }
      : { slot, state: "failed", captured: 0, error: { code: end } },
  );
}

test("one picture completes a task, whatever became of the others and of a cancellation", () => {
  const slots = slotsOf("no_image", "done", "cancelled");
  for (const isCancelled of [true, false]) {
    assert.deepEqual(outcomeOf(slots, isCancelled), { state: "completed", error: null });
  }
});

test("without a picture a task fails with the error of its first slot", () => {
  assert.deepEqual(outcomeOf(slotsOf("no_image", "outcome_unknown"), false), {
    state: "failed",
    error: { code: "no_image" },
  });
  assert.deepEqual(outcomeOf(slotsOf("cancelled", "outcome_unknown"), false), {
    state: "failed",
    error: { code: "outcome_unknown" },
  });
});

test("without a picture a task whose cancellation was asked for is cancelled", () => {
  const cancelled = { state: "cancelled", error: { code: "cancelled" } };
  assert.deepEqual(outcomeOf(slotsOf("outcome_unknown", "cancelled"), true), cancelled);
  assert.deepEqual(outcomeOf(slotsOf("cancelled", "cancelled"), false), cancelled);
});
