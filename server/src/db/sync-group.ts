/** Makes commits durable with as few syncs as possible. */
export type SyncGroup = {
  /** Says that a commit has happened which the next sync must cover. */
  addCommit(): void;
  /** Resolves when every commit added before the call is synced; at once when nothing is left to sync. */
  wait(): Promise<void>;
  /** From now on every `wait` rejects with `error`. */
  fail(error: Error): void;
};

/**
 * One sync runs at a time. A commit added while it runs may be missing from it, so its callers share the
 * next one. When a sync fails, nobody knows which pages reached the disk, and a later sync would report
 * success for pages the kernel has dropped: every caller is refused from then on.
 */
export function createSyncGroup(
  sync: () => Promise<void>,
  onFatal: (error: Error) => void,
): SyncGroup {
  let commits = 0;
  let synced = 0;
  let failure: Error | null = null;
  let running: Promise<void> | null = null;
  let next: Promise<void> | null = null;

  async function runSync(): Promise<void> {
    if (failure !== null) throw failure;
    const covered = commits;
    try {
      await sync();
      synced = covered;
    } catch (error) {
      failure = error instanceof Error ? error : new Error("the sync failed", { cause: error });
      onFatal(failure);
      throw failure;
    }
  }

  function start(): Promise<void> {
    next = null;
    running = runSync().finally(() => {
      running = null;
    });
    return running;
  }

  function wait(): Promise<void> {
    if (failure !== null) return Promise.reject(failure);
    if (synced === commits) return Promise.resolve();
    if (next !== null) return next;
    if (running === null) return start();
    next = running.then(start, start);
    return next;
  }

  return {
    addCommit: () => {
      commits += 1;
    },
    wait,
    fail: (error) => {
      failure ??= error;
    },
  };
}
