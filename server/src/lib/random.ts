import { randomBytes } from "node:crypto";

/** Source of randomness, injected so that a simulation can replay a run from its seed. */
export type Random = {
  /** Unpredictable bytes: keys, object names, ids. */
  bytes(size: number): Buffer;
  /** A number in [0, 1) for jitter and weighted choice; never for secrets. */
  fraction(): number;
};

export const systemRandom: Random = {
  bytes: (size) => randomBytes(size),
  fraction: () => Math.random(),
};

/** `ms` spread evenly over ±`share` (0.1 = ten percent), so that retries do not march in step. */
export function jitter(random: Random, ms: number, share: number): number {
  return Math.round(ms * (1 + (random.fraction() * 2 - 1) * share));
}
