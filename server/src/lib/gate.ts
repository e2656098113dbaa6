/**
 * Bounds how many bytes are in memory for one purpose. Work waits, in order, until its weight fits;
 * a single piece heavier than the whole gate passes alone, so that nothing waits for ever.
 */
export type Gate = {
  run<T>(weight: number, work: () => Promise<T>): Promise<T>;
};

export function createGate(limit: number): Gate {
  const queue: { weight: number; enter: () => void }[] = [];
  let used = 0;

  function admit(): void {
    for (;;) {
      const first = queue[0];
      if (first === undefined || (used > 0 && used + first.weight > limit)) return;
      queue.shift();
      used += first.weight;
      first.enter();
    }
  }

  return {
    run: async (weight, work) => {
      await new Promise<void>((enter) => {
        queue.push({ weight, enter });
        admit();
      });
      try {
        return await work();
      } finally {
        used -= weight;
        admit();
      }
    },
  };
}
