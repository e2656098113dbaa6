import assert from "node:assert/strict";
import { test } from "node:test";

import * as fc from "fast-check";

import { createVendor } from "../../test/support/vendor.ts";
import type { VendorOptions } from "../../test/support/vendor.ts";
import type { Tier } from "../models/model.ts";
import { chooseRoute, placeLookMs } from "./route.ts";
import type { Candidate, Choice, Wanted } from "./route.ts";

const now = 1_000_000;

type Known = VendorOptions & Partial<Omit<Candidate, "channel">> & { serves?: boolean };

function candidate(name: string, known: Known = {}): Candidate {
  const { isFull = false, closedUntil = null, serves = true, ...options } = known;
  const { channel } = createVendor({ name, ...options });
  const served = serves ? channel : { ...channel, upstreamModel: () => null };
  return { channel: served, isFull, closedUntil };
}

const wanted: Wanted = {
  model: "flux-2-pro",
  mode: "live",
  tiers: ["standard"],
  tried: [],
  hasFailed: false,
  now,
};

/** Name of the channel, or what kind of choice it is instead. */
function choose(
  candidates: readonly Candidate[],
  wishes: Partial<Wanted> = {},
  fraction = 0,
): string {
  return nameOf(chooseRoute(candidates, { ...wanted, ...wishes }, fraction));
}

function nameOf(choice: Choice): string {
  if (choice.kind !== "route") return choice.kind;
  const { channel, tier } = choice;
  return tier === "standard" ? channel.name : `${channel.name} as ${tier}`;
}

test("a route says the channel, its name of the model, and the tier that is charged", () => {
  const only = candidate("a");
  assert.deepEqual(chooseRoute([only], wanted, 0.5), {
    kind: "route",
    channel: only.channel,
    upstreamModel: "up-flux-2-pro",
    tier: "standard",
  });
});

const rules: { rule: string; only: Known; wishes?: Partial<Wanted>; outcome: string }[] = [
  { rule: "another mode", only: { mode: "test" }, outcome: "none" },
  { rule: "its own mode", only: { mode: "test" }, wishes: { mode: "test" }, outcome: "a" },
  { rule: "a model it does not serve", only: { serves: false }, outcome: "none" },
  { rule: "disabled", only: { isDisabled: true }, outcome: "none" },
  { rule: "tried", only: {}, wishes: { tried: ["a"] }, outcome: "none" },
  { rule: "the other tier", only: { tiers: ["official"] }, outcome: "none" },
  { rule: "a fault", only: { fault: faultUntil(now + 1) }, outcome: "none" },
  { rule: "a fault whose time is over", only: { fault: faultUntil(now) }, outcome: "a" },
  { rule: "full", only: { isFull: true }, outcome: "busy" },
  { rule: "an open breaker", only: { closedUntil: now + 1 }, outcome: "busy" },
  { rule: "a breaker whose pause is over", only: { closedUntil: now }, outcome: "a" },
  { rule: "full and disabled", only: { isFull: true, isDisabled: true }, outcome: "none" },
  { rule: "no weight, but alone", only: { weight: 0 }, outcome: "a" },
];

function faultUntil(until: number) {
  return { kind: "unauthorized", reason: "the key is not accepted", until } as const;
}

for (const { rule, only, wishes, outcome } of rules) {
  test(`the only channel, with ${rule}: ${outcome}`, () => {
    assert.equal(choose([candidate("a", only)], wishes, 0.7), outcome);
  });
}

test("without channels there is no route", () => {
  assert.equal(choose([]), "none");
});

test("what cannot be used is passed over for what can, whatever their priorities", () => {
  for (const { only, wishes, outcome } of rules) {
    const first = candidate("a", { ...only, priority: 9 });
    const mode = wishes?.mode ?? "live";
    const second = candidate("b", { mode });
    assert.equal(choose([first, second], wishes), outcome === "a" ? "a" : "b");
  }
});

test("a busy choice says when the first of the channels can be asked", () => {
  const full = candidate("a", { isFull: true });
  const open = candidate("b", { closedUntil: now + 400 });
  const both = candidate("c", { isFull: true, closedUntil: now + 5_000 });
  const until = (...candidates: Candidate[]): unknown => {
    const choice = chooseRoute(candidates, wanted, 0);
    return choice.kind === "busy" ? choice.until - now : choice.kind;
  };
  assert.equal(until(full), placeLookMs);
  assert.equal(until(both), 5_000);
  assert.equal(until(full, open, both), 400);
});

test("the official tier is asked when the standard one has nobody left, never because it is busy", () => {
  const tiers: Tier[] = ["standard", "official"];
  const official = candidate("o", { tiers: ["official"], priority: 9 });
  const standard = (known: Known = {}) => candidate("s", { tiers: ["standard"], ...known });
  const cases: [string, Known | null, Partial<Wanted>][] = [
    ["s", {}, {}],
    ["o as official", null, {}],
    ["o as official", { isDisabled: true }, {}],
    ["o as official", { fault: faultUntil(now + 1) }, {}],
    ["o as official", {}, { tried: ["s"], hasFailed: true }],
    // Nobody knows what became of the try: that is no failure.
    ["none", {}, { tried: ["s"], hasFailed: false }],
    ["busy", { isFull: true }, {}],
    ["busy", { closedUntil: now + 1 }, {}],
    ["s", {}, { tiers: ["standard"] }],
    ["none", null, { tiers: ["standard"] }],
  ];
  for (const [outcome, known, wishes] of cases) {
    const candidates = known === null ? [official] : [official, standard(known)];
    assert.equal(
      choose(candidates, { tiers, ...wishes }),
      outcome,
      JSON.stringify([known, wishes]),
    );
  }
});

test("a channel of both tiers serves as the standard one, and is not asked twice", () => {
  const tiers: Tier[] = ["standard", "official"];
  const both = candidate("b", { tiers: ["official", "standard"] });
  assert.equal(choose([both], { tiers }), "b");
  assert.equal(choose([both], { tiers: ["official"] }), "b as official");
  assert.equal(choose([both], { tiers, tried: ["b"], hasFailed: true }), "none");
});

test("the highest priority comes first, below zero too", () => {
  const candidates = [
    candidate("low", { priority: -5 }),
    candidate("high", { priority: -1 }),
    candidate("lowest", { priority: -9 }),
  ];
  assert.equal(choose(candidates), "high");
  assert.equal(choose(candidates, { tried: ["high"] }), "low");
});

test("equals share by weight", () => {
  const candidates = [
    candidate("a", { weight: 1 }),
    candidate("b", { weight: 3 }),
    candidate("c", { weight: 0 }),
    candidate("d", { weight: 100, priority: -1 }),
  ];
  const counts: Record<string, number> = {};
  for (let i = 0; i < 1_000; i += 1) {
    const name = choose(candidates, {}, i / 1_000);
    counts[name] = (counts[name] ?? 0) + 1;
  }
  assert.deepEqual(counts, { a: 250, b: 750 });
});

const tierSets = [["standard"], ["official"], ["standard", "official"]] as const;
const anyName = fc.constantFrom("a", "b", "c", "d", "e");

const anyCandidate = fc
  .record({
    mode: fc.constantFrom("live", "test"),
    tiers: fc.constantFrom(...tierSets),
    serves: fc.boolean(),
    isDisabled: fc.boolean(),
    isFull: fc.boolean(),
    closedUntil: fc.option(fc.integer({ min: now - 5, max: now + 5 })),
    faultUntil: fc.option(fc.integer({ min: now - 5, max: now + 5 })),
    priority: fc.integer({ min: -2, max: 2 }),
    weight: fc.integer({ min: 0, max: 3 }),
  })
  .map(({ faultUntil: until, ...known }): Known => ({
    ...known,
    fault: until === null ? null : faultUntil(until),
  }));

const anyWorld = fc.record({
  candidates: fc
    .uniqueArray(fc.tuple(anyName, anyCandidate), { selector: ([name]) => name, maxLength: 5 })
    .map((list) => list.map(([name, known]) => candidate(name, known))),
  tiers: fc.constantFrom(...tierSets),
  tried: fc.uniqueArray(anyName, { maxLength: 3 }),
  hasFailed: fc.boolean(),
  fraction: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
});

/** Says the same as the rules of the design, channel by channel, with nothing taken from the code. */
function isUsable({ channel }: Candidate, tried: readonly string[], tier: Tier): boolean {
  return (
    channel.mode === "live" &&
    !channel.isDisabled &&
    (channel.fault === null || channel.fault.until <= now) &&
    channel.tiers.includes(tier) &&
    channel.upstreamModel(wanted.model) !== null &&
    !tried.includes(channel.name)
  );
}

function isFree({ isFull, closedUntil }: Candidate): boolean {
  return !isFull && (closedUntil === null || closedUntil <= now);
}

test("a route is always usable, free, of the first tier that has anybody, and of the highest priority there", () => {
  fc.assert(
    fc.property(anyWorld, ({ candidates, tiers, tried, hasFailed, fraction }) => {
      const choice = chooseRoute(candidates, { ...wanted, tiers, tried, hasFailed }, fraction);
      const usable = (tier: Tier) => candidates.filter((one) => isUsable(one, tried, tier));
      const mayFallBack = hasFailed || tried.length === 0;
      const isStandard =
        tiers.includes("standard" as never) && (usable("standard").length > 0 || !mayFallBack);
      const tier = isStandard || !tiers.includes("official" as never) ? "standard" : "official";
      const free = usable(tier).filter(isFree);
      if (choice.kind !== "route") {
        assert.deepEqual(free, []);
        assert.equal(choice.kind, usable(tier).length > 0 ? "busy" : "none");
        if (choice.kind === "busy") assert.ok(choice.until > now);
        return;
      }
      assert.equal(choice.tier, tier);
      const chosen = free.find(({ channel }) => channel === choice.channel);
      assert.ok(chosen !== undefined, "the chosen channel is usable and free");
      assert.equal(
        chosen.channel.priority,
        Math.max(...free.map(({ channel }) => channel.priority)),
      );
    }),
    { numRuns: 2_000 },
  );
});
