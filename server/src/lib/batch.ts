/**
 * Gathers calls that arrive together into one run over their list, so that a hundred submits share
 * one transaction. While a run is under way the next list gathers.
 */
import { AppError } from "./errors.ts";

export type Batch<Item, Result> = {
  /** Adds an item; resolves with its own result. Rejects with `full()` when too many wait. */
  add(item: Item): Promise<Result>;
};

export type BatchOptions<Item, Result> = {
  sizeMax: number;
  waitingMax: number;
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
  let waiting: Entry<Item, Result>[] = [];
  let scheduled = false;

  async function flush(): Promise<void> {
    while (waiting.length > 0) {
      const entries = waiting.slice(0, options.sizeMax);
      waiting = waiting.slice(options.sizeMax);
      await settle(options, entries);
    }
    scheduled = false;
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
        setImmediate(() => void flush());
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
