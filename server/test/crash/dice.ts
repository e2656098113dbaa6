/** Chance that can be repeated: a run prints its seed, and the same seed makes the same choices. */
export type Dice = {
  /** In [0, 1). */
  fraction(): number;
  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number;
  /** True in `share` of all cases. */
  isLucky(share: number): boolean;
  pick<T>(list: readonly T[]): T;
  /** Dice of their own for one part of a run, so that parts do not disturb each other's choices. */
  fork(): Dice;
};

/** Mulberry32: 32 bits of state, good enough for choosing and small enough to read. */
export function createDice(seed: number): Dice {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d_2b_79_f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (low: number, high: number): number =>
    low + Math.floor(fraction() * (high - low + 1));
  return {
    fraction,
    between,
    isLucky: (share) => fraction() < share,
    pick: (list) => list[between(0, list.length - 1)]!,
    fork: () => createDice(between(0, 2 ** 32 - 1)),
  };
}
