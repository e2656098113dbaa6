import { LRUCache } from "lru-cache";

import type { Clock } from "../lib/time.ts";
import { minuteMs, secondMs } from "../lib/time.ts";

export type RateDecision = { allowed: true } | { allowed: false; retryAfterSeconds: number };

/** Counts requests a key, in this process's memory. */
export type RequestLimits = {
  /** Spends one request of the key's allowance when there is one left; a refused request costs nothing. */
  take(keyId: string, requestsPerMinute: number): RateDecision;
};

export type RequestLimitsDeps = {
  clock: Clock;
  /** Keys remembered at a time; the one unused for longest is forgotten and starts afresh. */
  keysMax?: number;
};

const keysMaxDefault = 100_000;

/**
 * GCRA: one number a key, the time at which its allowance is whole again. A minute's allowance may
 * come in one burst and comes back evenly, so there is no window whose edge could be used twice.
 */
export function createRequestLimits({
  clock,
  keysMax = keysMaxDefault,
}: RequestLimitsDeps): RequestLimits {
  const wholeAgainAt = new LRUCache<string, number>({ max: keysMax });
  return {
    take: (keyId, requestsPerMinute) => {
      const nowMs = clock.monotonic();
      const intervalMs = minuteMs / requestsPerMinute;
      const nextMs = Math.max(wholeAgainAt.get(keyId) ?? nowMs, nowMs) + intervalMs;
      const waitMs = nextMs - nowMs - minuteMs;
      // Sums of fractions such as 60000 / 7 stray by less than a microsecond.
      if (waitMs > 0.001) {
        return { allowed: false, retryAfterSeconds: Math.ceil(waitMs / secondMs) };
      }
      wholeAgainAt.set(keyId, nextMs);
      return { allowed: true };
    },
  };
}
