import type { Mode } from "../db/schema.ts";
import type { Tier } from "../models/model.ts";
import type { Adapter } from "../providers/adapter.ts";

/** A configured account at an upstream, ready to be called. */
export type Channel = {
  /** Stable name; stored with every attempt. */
  readonly name: string;
  readonly adapter: Adapter;
  /** Keys of one mode only: test keys never reach a vendor, live keys never the sandbox. */
  readonly mode: Mode;
  readonly tiers: readonly Tier[];
  /** The upstream's name of a public model, or null when the channel does not serve it. */
  upstreamModel(model: string): string | null;
  /** Higher comes first; equals share by weight. */
  readonly priority: number;
  readonly weight: number;
  /** Longest time between an attempt's first byte and its last picture, in milliseconds. */
  readonly timeoutMs: number;
};
