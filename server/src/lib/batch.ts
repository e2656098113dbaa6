/**
 * Gathers calls that arrive together into one run over their list, so that a hundred submits share
 * one transaction. While runs are under way the next list gathers.
 */
import { AppError } from "./errors.ts";

export type Batch<Item, Result> = {
  /** Adds an item; resolves with its own result. Rejects with `full()` when too many wait. */
  add(item: Item): Promise<Result>;
};

export type BatchOptions<Item, Result> = {
  sizeMax: number;
  waitingMax: number;
  /** Runs under way at once, at most; one when it is not given. */
  runsMax?: number;
  full(): Error;
  /** Handles a list; gives one result for each item, in order. */
  run(items: readonly Item[]): Promise<Result[]>;
};

type Entry<Item, Result> = {
  item: Item;
  resolve(result: Result): void;
  reject(error: unknown): void;
};

export function createBatch<Item, Result>(
  options: BatchOptions<Item, Result>,
): Batch<Item, Result> {
  const runsMax = options.runsMax ?? 1;
  let waiting: Entry<Item, Result>[] = [];
  let scheduled = false;
  /** Lengths of the lists under way. */
  const running: number[] = [];

  /**
   * A list is begun beside others only when it is no shorter than the shortest of them: else the first few
   * callers to come back would each time go ahead of the many behind them, and short lists cost more a call.
   */
  function mayBegin(): boolean {
    if (waiting.length === 0 || running.length >= runsMax) return false;
    return running.length === 0 || waiting.length >= Math.min(...running);
  }

  function beginRuns(): void {
    scheduled = false;
    while (mayBegin()) {
      const entries = waiting.slice(0, options.sizeMax);
      waiting = waiting.slice(options.sizeMax);
      void run(entries);
    }
  }

  async function run(entries: readonly Entry<Item, Result>[]): Promise<void> {
    running.push(entries.length);
    await settle(options, entries);
    running.splice(running.indexOf(entries.length), 1);
    beginRuns();
  }

  return {
    add: (item) =>
      new Promise<Result>((resolve, reject) => {
        if (waiting.length >= options.waitingMax) {
          reject(options.full());
          return;
        }
        waiting.push({ item, resolve, reject });
        if (scheduled) return;
        scheduled = true;
        // After the sockets of this turn have been read, so that everybody who has arrived is on board.
        setImmediate(beginRuns);
      }),
  };
}

/**
 * One bad item must not fail its neighbours: a list that fails as a whole is run item by item. An
 * `AppError` is no item's fault (the database is busy), and would only be met again, item by item.
 */
async function settle<Item, Result>(
  options: BatchOptions<Item, Result>,
  entries: readonly Entry<Item, Result>[],
): Promise<void> {
  try {
    const results = await options.run(entries.map(({ item }) => item));
    for (const [index, entry] of entries.entries()) entry.resolve(results[index] as Result);
  } catch (error) {
    const [only] = entries;
    if (entries.length === 1 && only !== undefined) {
      only.reject(error);
      return;
    }
    if (error instanceof AppError) {
      for (const entry of entries) entry.reject(error);
      return;
    }
    for (const entry of entries) await settle(options, [entry]);
  }
}
