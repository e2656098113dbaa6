/** How the attempts of this process have ended, by channel: breakers that count what they are told. */
import type { BreakerKey, Breakers, Permit, Verdict } from "./breaker.ts";

export type VerdictCount = { channel: string; verdict: Verdict; attempts: number };

export type CountedBreakers = { breakers: Breakers; readCounts(): VerdictCount[] };

export function countVerdicts(breakers: Breakers): CountedBreakers {
  const counts = new Map<string, VerdictCount>();

  function add(channel: string, verdict: Verdict): void {
    const name = JSON.stringify([channel, verdict]);
    const count = counts.get(name) ?? { channel, verdict, attempts: 0 };
    count.attempts += 1;
    counts.set(name, count);
  }

  function counted({ channel }: BreakerKey, permit: Permit): Permit {
    let isAnswered = false;
    return {
      answer: (verdict) => {
        if (!isAnswered) add(channel, verdict);
        isAnswered = true;
        permit.answer(verdict);
      },
    };
  }

  return {
    breakers: {
      closedUntil: breakers.closedUntil,
      take: (key) => {
        const permit = breakers.take(key);
        return permit === null ? null : counted(key, permit);
      },
      watch: (key) => counted(key, breakers.watch(key)),
    },
    readCounts: () => [...counts.values()].map((count) => ({ ...count })),
  };
}
