/**
 * Bounds how many bytes are in memory for one purpose. Work waits until its weight fits, by turns of those
 * it belongs to and in order within each: one account's thousand pieces do not hide another's one. A
 * single piece heavier than the whole gate passes alone, so that nothing waits for ever, and what weighs
 * nothing does not wait at all.
 */
export type Gate = {
  /** True when work of this weight would not have to wait. */
  hasRoom(weight: number): boolean;
  /** Runs `work` when there is room for `weight` bytes and it is the turn of `owner`. */
  run<T>(owner: string, weight: number, work: () => Promise<T>): Promise<T>;
};

type Waiting = { weight: number; enter: () => void };

export function createGate(limit: number): Gate {
  /** Owners who wait, the one whose turn is next first: a map keeps the order of insertion. */
  const lines = new Map<string, Waiting[]>();
  let used = 0;

  function fits(weight: number): boolean {
    return used === 0 || used + weight <= limit;
  }

  function admit(): void {
    for (const [owner, line] of lines) {
      const first = line[0];
      // The next in turn is not overtaken by lighter work: it would wait for ever.
      if (first !== undefined && !fits(first.weight)) return;
      lines.delete(owner);
      if (first === undefined) continue;
      line.shift();
      if (line.length > 0) lines.set(owner, line);
      used += first.weight;
      first.enter();
    }
  }

  function wait(owner: string, weight: number): Promise<void> {
    return new Promise((enter) => {
      const line = lines.get(owner) ?? [];
      line.push({ weight, enter });
      lines.set(owner, line);
      admit();
    });
  }

  return {
    hasRoom: (weight) => weight === 0 || (lines.size === 0 && fits(weight)),
    run: async (owner, weight, work) => {
      if (weight === 0) return work();
      await wait(owner, weight);
      try {
        return await work();
      } finally {
        used -= weight;
        admit();
      }
    },
  };
}
