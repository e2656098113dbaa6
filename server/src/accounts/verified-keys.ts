import { LRUCache } from "lru-cache";

import type { Clock } from "../lib/time.ts";
import type { Caller } from "./caller.ts";

/** Longest time for which a revocation or a changed setting of another node goes unseen here. */
const rememberMs = 1_000;
const callersMax = 10_000;

/** Remembers keys that were found, by digest. Unknown keys are never remembered: a new key works at once. */
export type VerifiedKeys = {
  load(digest: string, find: () => Promise<Caller | null>): Promise<Caller | null>;
  /** To be called after the revocation is committed. */
  forget(digest: string): void;
};

type Entry = { caller: Caller; untilMs: number };

export function createVerifiedKeys(clock: Clock): VerifiedKeys {
  const entries = new LRUCache<string, Entry>({ max: callersMax });
  // A look-up that began before a revocation must not be remembered after it.
  let revocations = 0;
  return {
    load: async (digest, find) => {
      const known = entries.get(digest);
      if (known !== undefined && clock.monotonic() < known.untilMs) return known.caller;
      const seen = revocations;
      const untilMs = clock.monotonic() + rememberMs;
      const caller = await find();
      if (caller === null) entries.delete(digest);
      else if (seen === revocations) entries.set(digest, { caller, untilMs });
      return caller;
    },
    forget: (digest) => {
      revocations += 1;
      entries.delete(digest);
    },
  };
}
