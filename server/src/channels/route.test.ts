import assert from "node:assert/strict";
import { test } from "node:test";

import { createVendor } from "../../test/support/vendor.ts";
import type { VendorOptions } from "../../test/support/vendor.ts";
import type { Channel } from "./channel.ts";
import { chooseRoute } from "./route.ts";
import type { Wanted } from "./route.ts";

function channel(name: string, options: VendorOptions = {}): Channel {
  return createVendor({ name, ...options }).channel;
}

const wanted: Wanted = { model: "flux-2-pro", mode: "live", tiers: ["standard"], tried: [] };

function choose(
  channels: readonly Channel[],
  wishes: Partial<Wanted> = {},
  fraction = 0,
): string | null {
  return chooseRoute(channels, { ...wanted, ...wishes }, fraction)?.channel.name ?? null;
}

test("a route says the channel, its name of the model, and the tier that is charged", () => {
  const only = channel("a");
  assert.deepEqual(chooseRoute([only], wanted, 0.5), {
    channel: only,
    upstreamModel: "up-flux-2-pro",
    tier: "standard",
  });
});

test("keys of one mode never reach channels of the other", () => {
  const channels = [channel("test", { mode: "test" }), channel("live", { mode: "live" })];
  assert.equal(choose(channels), "live");
  assert.equal(choose(channels, { mode: "test" }), "test");
  assert.equal(choose(channels.slice(0, 1)), null);
});

test("a channel that does not serve the model is not chosen", () => {
  const other = { ...channel("other", { priority: 9 }), upstreamModel: () => null };
  assert.equal(choose([other, channel("a")]), "a");
  assert.equal(choose([other]), null);
});

test("channels that were tried are left out, and without another there is no route", () => {
  const channels = [channel("a", { priority: 2 }), channel("b")];
  assert.equal(choose(channels, { tried: ["a"] }), "b");
  assert.equal(choose(channels, { tried: ["b", "a"] }), null);
  assert.equal(choose([]), null);
});

test("the preferred tier comes before any priority, and the next tier only when it is used up", () => {
  const channels = [
    channel("official", { tiers: ["official"], priority: 9 }),
    channel("standard", { tiers: ["standard"] }),
  ];
  const tiers = ["standard", "official"] as const;
  assert.equal(choose(channels, { tiers }), "standard");
  assert.equal(choose(channels, { tiers, tried: ["standard"] }), "official");
  assert.equal(choose(channels, { tiers: ["standard"], tried: ["standard"] }), null);
  const both = channel("both", { tiers: ["official", "standard"] });
  assert.equal(chooseRoute([both], { ...wanted, tiers }, 0)?.tier, "standard");
  assert.equal(chooseRoute([both], { ...wanted, tiers: ["official"] }, 0)?.tier, "official");
});

test("the highest priority comes first, below zero too", () => {
  const channels = [
    channel("low", { priority: -5 }),
    channel("high", { priority: -1 }),
    channel("lowest", { priority: -9 }),
  ];
  assert.equal(choose(channels), "high");
  assert.equal(choose(channels, { tried: ["high"] }), "low");
});

test("equals share by weight", () => {
  const channels = [
    channel("a", { weight: 1 }),
    channel("b", { weight: 3 }),
    channel("c", { weight: 0 }),
    channel("d", { weight: 100, priority: -1 }),
  ];
  const counts: Record<string, number> = {};
  for (let i = 0; i < 1_000; i += 1) {
    const name = choose(channels, {}, i / 1_000)!;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  assert.deepEqual(counts, { a: 250, b: 750 });
});

test("a lone channel without weight still serves", () => {
  assert.equal(choose([channel("a", { weight: 0 })], {}, 0.7), "a");
});
