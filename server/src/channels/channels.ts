import type { Mode } from "../db/schema.ts";
import type { Adapter } from "../providers/adapter.ts";
import type { Channel } from "./channel.ts";
import { chooseRoute } from "./route.ts";
import type { Route, Wanted } from "./route.ts";

/** The channels this installation has. */
export type Channels = {
  /** True when any channel could serve the model under keys of this mode. */
  serves(model: string, mode: Mode): boolean;
  choose(wanted: Wanted, fraction: number): Route | null;
  find(name: string): Channel | null;
};

export function createChannels(channels: readonly Channel[]): Channels {
  return {
    serves: (model, mode) =>
      channels.some((channel) => channel.mode === mode && channel.upstreamModel(model) !== null),
    choose: (wanted, fraction) => chooseRoute(channels, wanted, fraction),
    find: (name) => channels.find((channel) => channel.name === name) ?? null,
  };
}

/** The built-in channel behind every test key: all models, both tiers, no vendor. */
export function createSandboxChannel(adapter: Adapter): Channel {
  return {
    name: "sandbox",
    adapter,
    mode: "test",
    tiers: ["standard", "official"],
    upstreamModel: (model) => model,
    priority: 0,
    weight: 1,
    // The task's deadline is its only limit: waiting to be drawn is no vendor's silence.
    timeoutMs: Number.POSITIVE_INFINITY,
  };
}
