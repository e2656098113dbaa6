import type { Mode } from "../db/schema.ts";
import type { Tier } from "../models/model.ts";
import type { Channel } from "./channel.ts";

export type Route = { channel: Channel; upstreamModel: string; tier: Tier };

export type Wanted = {
  model: string;
  mode: Mode;
  /** Tiers the task's frozen price covers, the preferred one first. */
  tiers: readonly Tier[];
  /** Channels this slot has already failed on. */
  tried: readonly string[];
};

/**
 * The channel for an attempt, or null when none is left: the wanted mode and model, an allowed tier
 * (the preferred tier first), not yet tried; then the highest priority; then by weight, with
 * `fraction` in [0, 1) choosing among equals. Pure: load and health reach it as the list it is given.
 */
export function chooseRoute(
  channels: readonly Channel[],
  wanted: Wanted,
  fraction: number,
): Route | null {
  for (const tier of wanted.tiers) {
    const routes = routesOf(channels, wanted, tier);
    const priority = Math.max(...routes.map((route) => route.channel.priority));
    const best = routes.filter((route) => route.channel.priority === priority);
    const chosen = chooseByWeight(best, fraction);
    if (chosen !== null) return chosen;
  }
  return null;
}

function routesOf(channels: readonly Channel[], wanted: Wanted, tier: Tier): Route[] {
  return channels.flatMap((channel) => {
    const upstreamModel = channel.upstreamModel(wanted.model);
    const fits =
      channel.mode === wanted.mode &&
      channel.tiers.includes(tier) &&
      !wanted.tried.includes(channel.name);
    return fits && upstreamModel !== null ? [{ channel, upstreamModel, tier }] : [];
  });
}

function chooseByWeight(routes: readonly Route[], fraction: number): Route | null {
  const total = routes.reduce((sum, route) => sum + route.channel.weight, 0);
  let left = fraction * total;
  for (const route of routes) {
    left -= route.channel.weight;
    if (left < 0) return route;
  }
  return routes.at(-1) ?? null;
}
