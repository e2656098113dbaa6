import type { Mode } from "../db/schema.ts";
import type { Tier } from "../models/model.ts";
import type { Channel } from "./channel.ts";

/** A channel and what is known of it at the moment of choice, for the model that is wanted. */
export type Candidate = {
  channel: Channel;
  /** Every place that its caps allow was taken at the last look. */
  isFull: boolean;
  /** Its breaker lets nothing through before this time, in unix milliseconds; null while it is closed. */
  closedUntil: number | null;
};

export type Wanted = {
  model: string;
  mode: Mode;
  /** Tiers the task's frozen price covers. */
  tiers: readonly Tier[];
  /** Channels that are not to be asked for these slots (again). */
  tried: readonly string[];
  /** True once a channel has certainly failed at the standard tier: then the official one may be asked. */
  hasFailed: boolean;
  /** Unix milliseconds. */
  now: number;
};

export type Route = { channel: Channel; upstreamModel: string; tier: Tier };

export type Choice =
  | ({ kind: "route" } & Route)
  /** A channel could serve, but is full or held back by its breaker: look again at `until`. */
  | { kind: "busy"; until: number }
  | { kind: "none" };

/** A full channel is looked at again after this long, if nothing tells of a free place before. */
export const placeLookMs = 1_000;

/**
 * The channel for an attempt: of the wanted mode and model, enabled, without a fault, not tried yet,
 * with a free place and a closed breaker; the standard tier first; then the highest priority; then by
 * weight, with `fraction` in [0, 1) choosing among equals. The official tier of a price that has both
 * is used only when the standard one has nobody left to ask, never because it is busy. Pure.
 */
export function chooseRoute(
  candidates: readonly Candidate[],
  wanted: Wanted,
  fraction: number,
): Choice {
  const { tiers } = wanted;
  if (tiers.includes("standard")) {
    const standard = chooseInTier(candidates, wanted, "standard", fraction);
    if (standard.kind !== "none" || !mayFallBack(wanted)) return standard;
  }
  if (!tiers.includes("official")) return { kind: "none" };
  return chooseInTier(candidates, wanted, "official", fraction);
}

/** An outcome that nobody knows is no failure: it does not make the caller's picture dearer. */
function mayFallBack({ tried, hasFailed }: Wanted): boolean {
  return hasFailed || tried.length === 0;
}

type Open = Route & { candidate: Candidate };

function chooseInTier(
  candidates: readonly Candidate[],
  wanted: Wanted,
  tier: Tier,
  fraction: number,
): Choice {
  const open = candidates.flatMap((candidate) => openRoute(candidate, wanted, tier));
  const free = open.filter(({ candidate }) => !isBusy(candidate, wanted.now));
  const priority = Math.max(...free.map(({ channel }) => channel.priority));
  const best = free.filter(({ channel }) => channel.priority === priority);
  const chosen = chooseByWeight(best, fraction);
  if (chosen !== null) {
    const { channel, upstreamModel } = chosen;
    return { kind: "route", channel, upstreamModel, tier };
  }
  if (open.length === 0) return { kind: "none" };
  const until = open.map(({ candidate }) => busyUntil(candidate, wanted.now));
  return { kind: "busy", until: Math.min(...until) };
}

function openRoute(candidate: Candidate, wanted: Wanted, tier: Tier): Open[] {
  const { channel } = candidate;
  const upstreamModel = channel.upstreamModel(wanted.model);
  const fits =
    channel.mode === wanted.mode &&
    channel.tiers.includes(tier) &&
    isHealthy(channel, wanted.now) &&
    !wanted.tried.includes(channel.name);
  return fits && upstreamModel !== null ? [{ candidate, channel, upstreamModel, tier }] : [];
}

/** Enabled, and without a fault or past the time after which live work may find out. */
export function isHealthy(channel: Channel, now: number): boolean {
  return !channel.isDisabled && (channel.fault === null || channel.fault.until <= now);
}

function isBusy({ isFull, closedUntil }: Candidate, now: number): boolean {
  return isFull || (closedUntil !== null && closedUntil > now);
}

function busyUntil({ isFull, closedUntil }: Candidate, now: number): number {
  const opensAt = closedUntil ?? now;
  return isFull ? Math.max(opensAt, now + placeLookMs) : opensAt;
}

function chooseByWeight<T extends Route>(routes: readonly T[], fraction: number): T | null {
  const total = routes.reduce((sum, route) => sum + route.channel.weight, 0);
  let left = fraction * total;
  for (const route of routes) {
    left -= route.channel.weight;
    if (left < 0) return route;
  }
  return routes.at(-1) ?? null;
}
