import { LRUCache } from "lru-cache";

import type { Clock } from "../lib/time.ts";
import { minuteMs, secondMs } from "../lib/time.ts";

/** One allowance that a request is taken from: that of a key, of an account, of a route. */
export type RateClaim = {
  /** Whose allowance; names it among all that are counted. */
  id: string;
  requestsPerMinute: number;
};

/** What is left of an allowance on this node. */
export type RateState = {
  requestsPerMinute: number;
  remaining: number;
  /** Seconds after which the allowance is whole again, rounded up. */
  wholeInSeconds: number;
};

export type RateDecision = {
  /** The claim that refuses, as its place in the list; null when the request was taken from all. */
  refusedBy: number | null;
  /** 0 when it was taken. */
  retryAfterSeconds: number;
  /** One a claim, in their order, as they stand after the decision. */
  states: readonly RateState[];
};

/** Counts requests in this process's memory. */
export type RequestLimits = {
  /**
   * Takes one request from every claim, or from none: a refused request costs nothing. Of several that
   * refuse, the one with the longest wait is named.
   */
  take(claims: readonly RateClaim[]): RateDecision;
};

export type RequestLimitsDeps = {
  clock: Clock;
  /** Nodes that serve the API now, at least 1: each gives out its share, so the sum is the limit. */
  liveApiNodes(): number;
  /** Allowances remembered at a time; the one unused for longest is forgotten and starts afresh. */
  allowancesMax?: number;
};

const allowancesMaxDefault = 100_000;
/** Sums of fractions such as 60000 / 7 stray by less than a microsecond. */
const strayMs = 0.001;

/**
 * GCRA: one number an allowance, the time at which it is whole again. A minute's allowance may come in
 * one burst and comes back evenly, so there is no window whose edge could be used twice. When nodes come
 * or go, what was given out is at most one burst a node beside the limit.
 */
export function createRequestLimits({
  clock,
  liveApiNodes,
  allowancesMax = allowancesMaxDefault,
}: RequestLimitsDeps): RequestLimits {
  const wholeAgainAt = new LRUCache<string, number>({ max: allowancesMax });
  return {
    take: (claims) => {
      const nowMs = clock.monotonic();
      const nodes = liveApiNodes();
      const tries = claims.map((claim) =>
        tryClaim(claim, { nowMs, nodes, wholeMs: wholeAgainAt.get(claim.id) ?? nowMs }),
      );
      const longestMs = Math.max(0, ...tries.map(({ waitMs }) => waitMs));
      if (longestMs > 0) {
        return {
          refusedBy: tries.findIndex(({ waitMs }) => waitMs === longestMs),
          retryAfterSeconds: Math.ceil(longestMs / secondMs),
          states: tries.map(({ before }) => before),
        };
      }
      for (const { id, nextMs } of tries) wholeAgainAt.set(id, nextMs);
      return { refusedBy: null, retryAfterSeconds: 0, states: tries.map(({ after }) => after) };
    },
  };
}

type Try = {
  id: string;
  nextMs: number;
  /** How long until there is a request to take; 0 when there is one. */
  waitMs: number;
  before: RateState;
  after: RateState;
};

function tryClaim(
  { id, requestsPerMinute }: RateClaim,
  { nowMs, nodes, wholeMs }: { nowMs: number; nodes: number; wholeMs: number },
): Try {
  const intervalMs = (minuteMs * nodes) / requestsPerMinute;
  // A share below one a minute is still one request at a time.
  const burstMs = Math.max(minuteMs, intervalMs);
  const fromMs = Math.max(wholeMs, nowMs);
  const nextMs = fromMs + intervalMs;
  const excessMs = nextMs - nowMs - burstMs;
  const stateAt = (untilMs: number): RateState => ({
    requestsPerMinute,
    remaining: Math.max(0, Math.floor((burstMs - (untilMs - nowMs) + strayMs) / intervalMs)),
    wholeInSeconds: Math.ceil((untilMs - nowMs) / secondMs),
  });
  return {
    id,
    nextMs,
    waitMs: excessMs > strayMs ? excessMs : 0,
    before: stateAt(fromMs),
    after: stateAt(nextMs),
  };
}
