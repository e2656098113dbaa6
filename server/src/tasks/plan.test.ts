import assert from "node:assert/strict";
import { test } from "node:test";

import { createVendor } from "../../test/support/vendor.ts";
import { chooseRoute } from "../channels/route.ts";
import type { Candidate } from "../channels/route.ts";
import type { Tier } from "../models/model.ts";
import { triesMax, turnedAwayMax } from "./failure.ts";
import type { Decision } from "./failure.ts";
import { planTask } from "./plan.ts";
import type { PlanInput } from "./plan.ts";
import type { Attempt } from "./task.ts";

const now = 1_000_000;

type Tried = { again: Decision["again"]; retryInMs?: number; kind?: string };

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
            kind: tried.kind ?? "unavailable",
            message: "",
            again: tried.again,
            error: { code: "provider_unavailable" },
            retryAt: now + (tried.retryInMs ?? 0),
          },
    sentAt: now - 60_000,
    tier: "standard",
    placeUntil: null,
  };
}

type OnChannel = { name: string; tiers?: readonly Tier[]; fullUntil?: number };

/** The plan, with the name of the channel where it has a route, and the tier where that is not standard. */
function plan(
  channels: readonly (string | OnChannel)[],
  input: Partial<Omit<PlanInput, "choose">> & { tiers?: readonly Tier[] },
) {
  const { tiers = ["standard"], ...rest } = input;
  const at = rest.now ?? now;
  const candidates = channels.map((one): Candidate => {
    const { name, fullUntil, ...options } = typeof one === "string" ? { name: one } : one;
    const { channel } = createVendor({ name, tiers: ["standard"], ...options });
    return { channel, isFull: false, closedUntil: fullUntil ?? null };
  });
  const wanted = { model: "m", mode: "live", tiers, now: at } as const;
  const steps = planTask({
    openSlots: [0],
    attempts: [],
    busy: new Set(),
    now: at,
    choose: (tried, hasFailed) => chooseRoute(candidates, { ...wanted, tried, hasFailed }, 0),
    ...rest,
  });
  return steps.map((step) => {
    if (step.do !== "start") return step;
    const { channel, tier } = step.route;
    const on = tier === "standard" ? channel.name : `${channel.name} as ${tier}`;
    return { do: "start", slots: step.slots, on };
  });
}

test("slots that were never tried start together, on any channel", () => {
  assert.deepEqual(plan(["a"], { openSlots: [0, 1, 2] }), [
    { do: "start", slots: [0, 1, 2], on: "a" },
  ]);
});

test("an attempt under way is resumed, and its slots are not started again", () => {
  for (const state of ["sent", "running"] as const) {
    const attempt = { ...attemptOn("a", [0, 2], null), state };
    assert.deepEqual(plan(["a"], { openSlots: [0, 1, 2], attempts: [attempt] }), [
      { do: "resume", attempt },
      { do: "start", slots: [1], on: "a" },
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
    [{ do: "start", slots: [4], on: "a" }],
  );
});

test("what failed goes to a channel that was not tried, at once", () => {
  for (const again of ["elsewhere", "anywhere"] as const) {
    const attempts = [attemptOn("a", [0], { again, retryInMs: 60_000 })];
    assert.deepEqual(plan(["a", "b"], { attempts }), [{ do: "start", slots: [0], on: "b" }]);
  }
});

test("slots with different histories are planned apart", () => {
  const attempts = [attemptOn("a", [0, 1], { again: "anywhere", retryInMs: 5_000 })];
  assert.deepEqual(plan(["a"], { openSlots: [0, 1, 2], attempts }), [
    { do: "wait", slots: [0, 1], until: now + 5_000 },
    { do: "start", slots: [2], on: "a" },
  ]);
});

test("the only channel is asked again when its time has come, and not before", () => {
  const early = [attemptOn("a", [0], { again: "anywhere", retryInMs: 1 })];
  assert.deepEqual(plan(["a"], { attempts: early }), [{ do: "wait", slots: [0], until: now + 1 }]);
  const due = [attemptOn("a", [0], { again: "anywhere", retryInMs: 0 })];
  assert.deepEqual(plan(["a"], { attempts: due }), [{ do: "start", slots: [0], on: "a" }]);
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
    { do: "start", slots: [0], on: "b" },
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
    { do: "start", slots: [0], on: "b" },
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

test("being turned away by a limit uses up no try, but is not borne for ever", () => {
  const turnedAway = (count: number): Attempt[] =>
    Array.from({ length: count }, () =>
      attemptOn("a", [0], { again: "anywhere", kind: "rate_limited" }),
    );
  const failures = (count: number): Attempt[] =>
    Array.from({ length: count }, () => attemptOn("a", [0], { again: "anywhere" }));
  const whatNext = (attempts: readonly Attempt[]) => plan(["a"], { attempts })[0]?.do;
  assert.equal(whatNext([...turnedAway(turnedAwayMax - 1), ...failures(triesMax - 1)]), "start");
  assert.equal(whatNext(turnedAway(turnedAwayMax)), "give_up");
  assert.equal(whatNext([...turnedAway(1), ...failures(triesMax)]), "give_up");
});

test("nothing is open, nothing is to be done", () => {
  assert.deepEqual(plan(["a"], { openSlots: [] }), []);
});

test("without a channel from the start the slots are given up before anything is sent", () => {
  assert.deepEqual(plan([], { openSlots: [0, 1] }), [
    { do: "give_up", slots: [0, 1], attempt: null },
  ]);
});

test("while every channel is busy the slots wait, and no try is used up", () => {
  const full = { name: "a", fullUntil: now + 3_000 };
  assert.deepEqual(plan([full], {}), [{ do: "wait", slots: [0], until: now + 3_000 }]);
  assert.deepEqual(plan([full, "b"], {}), [{ do: "start", slots: [0], on: "b" }]);
});

test("of a busy channel and one to be asked again, whichever is ready first is taken", () => {
  const busy = { name: "b", fullUntil: now + 3_000 };
  const soon = [attemptOn("a", [0], { again: "anywhere", retryInMs: 2_000 })];
  const late = [attemptOn("a", [0], { again: "anywhere", retryInMs: 9_000 })];
  const due = [attemptOn("a", [0], { again: "anywhere", retryInMs: 0 })];
  const wait = (until: number) => [{ do: "wait", slots: [0], until }];
  assert.deepEqual(plan(["a", busy], { attempts: soon }), wait(now + 2_000));
  assert.deepEqual(plan(["a", busy], { attempts: late }), wait(now + 3_000));
  assert.deepEqual(plan(["a", busy], { attempts: due }), [{ do: "start", slots: [0], on: "a" }]);
});

test("the official tier follows a certain failure, not an outcome that nobody knows", () => {
  const tiers = ["standard", "official"] as const;
  const channels = ["a", { name: "b", tiers: ["official"] as const }];
  const failed = attemptOn("a", [0], { again: "anywhere", retryInMs: 5_000 });
  assert.deepEqual(plan(channels, { tiers, attempts: [failed] }), [
    { do: "start", slots: [0], on: "b as official" },
  ]);
  const unknown = { ...failed, state: "unknown" as const };
  assert.deepEqual(plan(channels, { tiers, attempts: [unknown] }), [
    { do: "wait", slots: [0], until: now + 5_000 },
  ]);
});
