/** Lets at most `limit` pieces of work run at once; the rest wait in order. */
export type Semaphore = {
  /** Runs `work` when there is room. Rejects at once with `full()` when `waitingMax` already wait. */
  run<T>(work: () => Promise<T>): Promise<T>;
  readonly active: number;
  readonly waiting: number;
};

export type SemaphoreOptions = { limit: number; waitingMax: number; full: () => Error };

export function createSemaphore(options: SemaphoreOptions): Semaphore {
  const queue: (() => void)[] = [];
  let active = 0;

  async function enter(): Promise<void> {
    if (active < options.limit) {
      active += 1;
      return;
    }
    if (queue.length >= options.waitingMax) throw options.full();
    // The place is handed over by `leave`, so `active` does not dip between the two.
    await new Promise<void>((resolve) => queue.push(resolve));
  }

  function leave(): void {
    const next = queue.shift();
    if (next === undefined) active -= 1;
    else next();
  }

  return {
    run: async (work) => {
      await enter();
      try {
        return await work();
      } finally {
        leave();
      }
    },
    get active() {
      return active;
    },
    get waiting() {
      return queue.length;
    },
  };
}
