import type { Mode } from "../db/schema.ts";
import type { Egress } from "../lib/egress.ts";
import type { Tier } from "../models/model.ts";
import type { Adapter } from "../providers/adapter.ts";

/** A configured account at an upstream, ready to be called. */
export type Channel = {
  /** Stable name; stored with every attempt. */
  readonly name: string;
  readonly adapter: Adapter;
  /**
   * The way out to this channel's upstream, and to the pictures that it tells of by URL. Left out where
   * the house's general one will do.
   */
  readonly egress?: Egress;
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
  /** What the upstream charges us, in millionths of its list price. */
  readonly costRatioPpm: number;
  /** Attempts at the same time, by upstream model; `anyModel` bounds the whole channel. Empty: no bound. */
  readonly caps: ReadonlyMap<string, number>;
  /** Whether an attempt of which nobody knows how it ended may be followed by one more. */
  readonly unknownOutcome: UnknownOutcome;
  /** Takes no new work; attempts under way are still asked about. */
  readonly isDisabled: boolean;
  /** What is wrong with our account there, until a success or a change of the channel. */
  readonly fault: ChannelFault | null;
};

/** Key of a cap, and of a load, that counts every model of the channel. */
export const anyModel = "*";

export type UnknownOutcome = "fail" | "retry_once";

export type ChannelFault = {
  kind: FaultKind;
  /** One sentence for the operator. */
  reason: string;
  /** When live work may try the channel again, in unix milliseconds. */
  until: number;
};

export const faultKinds = ["unauthorized", "exhausted"] as const;
/** `unauthorized`: the key is not accepted. `exhausted`: the account has no money or quota left. */
export type FaultKind = (typeof faultKinds)[number];
