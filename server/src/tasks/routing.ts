/** What is known of the channels at the moment of a choice, gathered for `channels/route.ts`. */
import { isCapped, lookAtLoad } from "../channels/load.ts";
import type { LoadLook } from "../channels/load.ts";
import { chooseRoute, isHealthy } from "../channels/route.ts";
import type { Candidate, Choice } from "../channels/route.ts";
import type { Channel } from "../channels/channel.ts";
import type { Mode } from "../db/schema.ts";
import type { Tier } from "../models/model.ts";
import type { EngineDeps } from "./engine.ts";
import type { Task } from "./task.ts";

export type RoutingDeps = Pick<
  EngineDeps,
  "db" | "clock" | "random" | "channels" | "breakers" | "catalogue"
>;

/** The choice for slots of a task, as of one look. */
export type Choose = (tried: readonly string[], hasFailed: boolean) => Choice;

/** Looks at channels, breakers and loads; the choices made by one look are consistent with each other. */
export async function lookForRoutes(deps: RoutingDeps, task: Task): Promise<Choose> {
  const { model } = task.request;
  const now = deps.clock.now();
  const channels = deps.channels.list().filter((channel) => channel.mode === task.mode);
  const load = await lookIfCapped(deps, channels, model);
  const candidates = channels.map((channel) => toCandidate(deps, channel, model, load));
  const { mode, price } = task;
  const tiers = (["standard", "official"] as const).filter((tier) => price.tiers[tier]);
  return (tried, hasFailed) =>
    chooseRoute(candidates, { model, mode, tiers, tried, hasFailed, now }, deps.random.fraction());
}

/**
 * How many attempts the channels of a lane could take now. A lane without a channel that is worth waiting
 * for has no bound: its tasks are to be told so.
 */
export async function countFreePlaces(
  deps: RoutingDeps,
  { model, mode }: { model: string; mode: Mode },
): Promise<number> {
  const now = deps.clock.now();
  const serving = deps.channels
    .list()
    .filter(
      (channel) =>
        channel.mode === mode && channel.upstreamModel(model) !== null && isHealthy(channel, now),
    );
  const ofTier = (tier: Tier): Channel[] => serving.filter(({ tiers }) => tiers.includes(tier));
  const hasStandard = deps.catalogue.find(model)?.prices.tables.standard !== undefined;
  const standard = hasStandard ? ofTier("standard") : [];
  const wanted = standard.length > 0 ? standard : ofTier("official");
  if (wanted.length === 0) return Number.POSITIVE_INFINITY;
  const load = await lookIfCapped(deps, wanted, model);
  return wanted.reduce((sum, channel) => sum + freeAt(deps, channel, model, load), 0);
}

function freeAt(
  { breakers }: RoutingDeps,
  channel: Channel,
  model: string,
  load: LoadLook | null,
): number {
  const upstreamModel = channel.upstreamModel(model);
  if (upstreamModel === null) return 0;
  if (breakers.closedUntil({ channel: channel.name, upstreamModel }) !== null) return 0;
  return load === null ? Number.POSITIVE_INFINITY : load.free(channel, upstreamModel);
}

function toCandidate(
  { breakers }: RoutingDeps,
  channel: Channel,
  model: string,
  load: LoadLook | null,
): Candidate {
  const upstreamModel = channel.upstreamModel(model);
  if (upstreamModel === null) return { channel, isFull: false, closedUntil: null };
  return {
    channel,
    isFull: load !== null && load.free(channel, upstreamModel) <= 0,
    closedUntil: breakers.closedUntil({ channel: channel.name, upstreamModel }),
  };
}

/** Null, and no statement is run, where none of the channels has a cap. */
async function lookIfCapped(
  { db }: RoutingDeps,
  channels: readonly Channel[],
  model: string,
): Promise<LoadLook | null> {
  const capped = channels.some((channel) => {
    const upstreamModel = channel.upstreamModel(model);
    return upstreamModel !== null && isCapped(channel, upstreamModel);
  });
  return capped ? lookAtLoad(db.read) : null;
}
