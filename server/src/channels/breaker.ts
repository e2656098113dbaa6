/**
 * One circuit breaker a channel and upstream model, in the memory of this process. A breaker opens
 * after failures in a row, and lets one trial of live work through when its pause is over; the pause
 * doubles with every trial that fails.
 */
import { circuitBreaker, CircuitState, ConsecutiveBreaker, handleWhenResult } from "cockatiel";
import type { CircuitBreakerPolicy, IBackoff } from "cockatiel";

import { minuteMs, secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";

/** `answered`: the upstream spoke, whatever it said. `silent` says nothing about it: the call never left. */
export type Verdict = "answered" | "failed" | "silent";

/** Leave to make one call. It is answered exactly once; what is said after that is not heard. */
export type Permit = { answer(verdict: Verdict): void };

export type BreakerKey = { channel: string; upstreamModel: string };

export type Breakers = {
  /** Before when nothing is let through, in unix milliseconds; null when a permit can be had now. */
  closedUntil(key: BreakerKey): number | null;
  /** Null while the breaker is open, and while its one trial is under way. */
  take(key: BreakerKey): Permit | null;
  /** For a call that was made before anybody asked: a closed breaker counts how it ends. */
  watch(key: BreakerKey): Permit;
};

/** Failures in a row that open a breaker. */
export const failuresMax = 5;
const pauseFirstMs = 10 * secondMs;
const pauseMaxMs = 2 * minuteMs;
/** When to look again while a trial is under way, whose end nobody can tell. */
const trialLookMs = secondMs;

type Breaker = { policy: CircuitBreakerPolicy; until: number; isOnTrial: boolean };

export function createBreakers({ clock }: { clock: Clock }): Breakers {
  const breakers = new Map<string, Breaker>();

  function findBreaker({ channel, upstreamModel }: BreakerKey): Breaker {
    const name = JSON.stringify([channel, upstreamModel]);
    const breaker = breakers.get(name) ?? createBreaker(clock);
    breakers.set(name, breaker);
    return breaker;
  }

  return {
    closedUntil: (key) => {
      const { policy, until, isOnTrial } = findBreaker(key);
      if (policy.state === CircuitState.Closed) return null;
      if (isOnTrial) return clock.now() + trialLookMs;
      return until > clock.now() ? until : null;
    },
    take: (key) => {
      const breaker = findBreaker(key);
      if (breaker.policy.state === CircuitState.Closed) return createPermit(breaker);
      const isClosed = breaker.isOnTrial || breaker.until > clock.now();
      return isClosed ? null : createTrial(breaker);
    },
    watch: (key) => createPermit(findBreaker(key)),
  };
}

function createBreaker(clock: Clock): Breaker {
  const breaker: Breaker = {
    until: 0,
    isOnTrial: false,
    policy: circuitBreaker(
      handleWhenResult((verdict) => verdict === "failed"),
      {
        breaker: new ConsecutiveBreaker(failuresMax),
        halfOpenAfter: { next: () => createPause(pauseFirstMs) },
      },
    ),
  };
  /** The library compares a pause with the time of day; ours is over when our own clock says so. */
  function createPause(ms: number): IBackoff<unknown> {
    const until = clock.now() + ms;
    breaker.until = until;
    return {
      get duration() {
        return clock.now() >= until ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
      },
      next: () => createPause(Math.min(pauseMaxMs, ms * 2)),
    };
  }
  return breaker;
}

/** While the breaker is closed; what ends after it has opened is old news. */
function createPermit({ policy }: Breaker): Permit {
  let isAnswered = false;
  return {
    answer: (verdict) => {
      if (isAnswered) return;
      isAnswered = true;
      if (verdict === "silent" || policy.state !== CircuitState.Closed) return;
      void policy.execute(() => verdict);
    },
  };
}

function createTrial(breaker: Breaker): Permit {
  const decided = Promise.withResolvers<Verdict>();
  breaker.isOnTrial = true;
  // Opens the trial at once, in this turn: nobody else can take it. It cannot reject: verdicts are results.
  void breaker.policy.execute(() => decided.promise).then(() => (breaker.isOnTrial = false));
  return {
    // A trial that was never made leaves everything unknown: the next one waits its pause.
    answer: (verdict) => decided.resolve(verdict === "silent" ? "failed" : verdict),
  };
}
