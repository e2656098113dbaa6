import { LRUCache } from "lru-cache";

import type { Promised } from "../lib/promised.ts";
import type { Clock } from "../lib/time.ts";
import type { Caller } from "./caller.ts";

/** Longest time for which a revocation or a changed setting of another node goes unseen here. */
const rememberMs = 1_000;
const callersMax = 10_000;

/** Remembers keys that were found, by digest. Unknown keys are never remembered: a new key works at once. */
export type VerifiedKeys = {
  /** At once when the key was found a moment ago. */
  load(digest: string, find: () => Promise<Caller | null>): Promised<Caller | null>;
  /** To be called after the revocation is committed. */
  forget(digest: string): void;
};

type Entry = { caller: Caller; untilMs: number };

export function createVerifiedKeys(clock: Clock): VerifiedKeys {
  const entries = new LRUCache<string, Entry>({ max: callersMax });
  // A look-up that began before a revocation must not be remembered after it.
  let revocations = 0;

  async function loadAnew(
    digest: string,
    find: () => Promise<Caller | null>,
  ): Promise<Caller | null> {
    const seen = revocations;
    const untilMs = clock.monotonic() + rememberMs;
    const caller = await find();
    if (caller === null) entries.delete(digest);
    else if (seen === revocations) entries.set(digest, { caller, untilMs });
    return caller;
  }

  return {
    load: (digest, find) => {
      const known = entries.get(digest);
      const isFresh = known !== undefined && clock.monotonic() < known.untilMs;
      return isFresh ? known.caller : loadAnew(digest, find);
    },
    forget: (digest) => {
      revocations += 1;
      entries.delete(digest);
    },
  };
}
