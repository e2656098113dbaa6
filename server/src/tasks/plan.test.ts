import assert from "node:assert/strict";
import { test } from "node:test";

import { triesMax } from "./failure.ts";
import type { Decision } from "./failure.ts";
import { planTask } from "./plan.ts";
import type { PlanInput } from "./plan.ts";
import type { Attempt } from "./task.ts";

const now = 1_000_000;

type Tried = { again: Decision["again"]; retryInMs?: number };

let made = 0;

function attemptOn(channel: string, slots: readonly number[], tried: Tried | null): Attempt {
  made += 1;
  return {
    id: `att_${String(made).padStart(6, "0")}`,
    slots,
    channel,
    upstreamModel: "model",
    state: tried === null ? "running" : "failed",
    handle: null,
    failure:
      tried === null
        ? null
        : {
            kind: "unavailable",
            message: "",
            again: tried.again,
            error: { code: "provider_unavailable" },
            retryAt: now + (tried.retryInMs ?? 0),
          },
    sentAt: now - 60_000,
  };
}

function plan(
  channels: readonly string[],
  input: Partial<PlanInput> & { attempts?: readonly Attempt[] },
) {
  return planTask({
    openSlots: [0],
    attempts: [],
    busy: new Set(),
    now,
    hasOther: (tried) => channels.some((channel) => !tried.includes(channel)),
    ...input,
  });
}

test("slots that were never tried start together, on any channel", () => {
  assert.deepEqual(plan(["a"], { openSlots: [0, 1, 2] }), [
    { do: "start", slots: [0, 1, 2], tried: [] },
  ]);
});

test("an attempt under way is resumed, and its slots are not started again", () => {
  for (const state of ["sent", "running"] as const) {
    const attempt = { ...attemptOn("a", [0, 2], null), state };
    assert.deepEqual(plan(["a"], { openSlots: [0, 1, 2], attempts: [attempt] }), [
      { do: "resume", attempt },
      { do: "start", slots: [1], tried: [] },
    ]);
  }
});

test("nothing is planned for slots that are in work already, whatever their rows say", () => {
  const attempt = attemptOn("a", [0, 1], null);
  const failed = attemptOn("a", [3], { again: "anywhere" });
  assert.deepEqual(
    plan(["a"], {
      openSlots: [0, 1, 2, 3, 4],
      attempts: [attempt, failed],
      busy: new Set([0, 1, 2, 3]),
    }),
    [{ do: "start", slots: [4], tried: [] }],
  );
});

test("what failed goes to a channel that was not tried, at once", () => {
  for (const again of ["elsewhere", "anywhere"] as const) {
    const attempts = [attemptOn("a", [0], { again, retryInMs: 60_000 })];
    assert.deepEqual(plan(["a", "b"], { attempts }), [{ do: "start", slots: [0], tried: ["a"] }]);
  }
});

test("slots with different histories are planned apart", () => {
  const attempts = [attemptOn("a", [0, 1], { again: "anywhere", retryInMs: 5_000 })];
  assert.deepEqual(plan(["a"], { openSlots: [0, 1, 2], attempts }), [
    { do: "wait", slots: [0, 1], until: now + 5_000 },
    { do: "start", slots: [2], tried: [] },
  ]);
});

test("the only channel is asked again when its time has come, and not before", () => {
  const early = [attemptOn("a", [0], { again: "anywhere", retryInMs: 1 })];
  assert.deepEqual(plan(["a"], { attempts: early }), [{ do: "wait", slots: [0], until: now + 1 }]);
  const due = [attemptOn("a", [0], { again: "anywhere", retryInMs: 0 })];
  assert.deepEqual(plan(["a"], { attempts: due }), [{ do: "start", slots: [0], tried: [] }]);
});

test("of several channels that refused, only those are asked whose time has come", () => {
  const attempts = [
    attemptOn("a", [0], { again: "anywhere", retryInMs: 60_000 }),
    attemptOn("b", [0], { again: "anywhere", retryInMs: 5_000 }),
  ];
  assert.deepEqual(plan(["a", "b"], { attempts }), [
    { do: "wait", slots: [0], until: now + 5_000 },
  ]);
  assert.deepEqual(plan(["a", "b"], { attempts, now: now + 5_000 }), [
    { do: "start", slots: [0], tried: ["a"] },
  ]);
});

test("a channel that refused us for good is neither asked again nor waited for", () => {
  const attempts = [
    attemptOn("a", [0], { again: "elsewhere", retryInMs: 0 }),
    attemptOn("b", [0], { again: "anywhere", retryInMs: 5_000 }),
  ];
  assert.deepEqual(plan(["a", "b"], { attempts }), [
    { do: "wait", slots: [0], until: now + 5_000 },
  ]);
  assert.deepEqual(plan(["a", "b"], { attempts, now: now + 5_000 }), [
    { do: "start", slots: [0], tried: ["a"] },
  ]);
});

test("without a channel that could still be asked the slot is given up with its last failure", () => {
  const attempts = [attemptOn("a", [0], { again: "elsewhere" })];
  assert.deepEqual(plan(["a"], { attempts }), [
    { do: "give_up", slots: [0], attempt: attempts[0] },
  ]);
});

test("after its last try a slot is given up, though channels are left", () => {
  const attempts = Array.from({ length: triesMax }, () =>
    attemptOn("a", [0], { again: "anywhere" }),
  );
  assert.deepEqual(plan(["a", "b"], { attempts }), [
    { do: "give_up", slots: [0], attempt: attempts.at(-1) },
  ]);
  assert.equal(plan(["a", "b"], { attempts: attempts.slice(1) })[0]?.do, "start");
});

test("nothing is open, nothing is to be done", () => {
  assert.deepEqual(plan(["a"], { openSlots: [] }), []);
});
