import assert from "node:assert/strict";
import { test } from "node:test";

import { createVendor } from "../../test/support/vendor.ts";
import { createChannels, createSandboxChannel } from "./channels.ts";

const { adapter } = createVendor().channel;

test("the sandbox serves every model under test keys, and none under live keys", () => {
  const channels = createChannels([createSandboxChannel(adapter)]);
  assert.equal(channels.serves("any-model", "test"), true);
  assert.equal(channels.serves("any-model", "live"), false);
  for (const tiers of [["standard"], ["official"], ["standard", "official"]] as const) {
    const route = channels.choose({ model: "any-model", mode: "test", tiers, tried: [] }, 0.9);
    assert.equal(route?.channel.name, "sandbox");
    assert.equal(route.upstreamModel, "any-model");
    assert.equal(route.tier, tiers[0]);
  }
});

test("a model is served when one channel of the mode serves it", () => {
  const none = { ...createVendor({ name: "none" }).channel, upstreamModel: () => null };
  const some = createVendor({ name: "some" }).channel;
  assert.equal(createChannels([none]).serves("m", "live"), false);
  assert.equal(createChannels([none, some]).serves("m", "live"), true);
  assert.equal(createChannels([]).serves("m", "live"), false);
});

test("a channel is found by its name, as attempts remember it", () => {
  const some = createVendor({ name: "some" }).channel;
  const channels = createChannels([createVendor({ name: "other" }).channel, some]);
  assert.equal(channels.find("some"), some);
  assert.equal(channels.find("gone"), null);
});
