import type { Installation } from "../installation.ts";
import { dayMs } from "../lib/time.ts";
import { createOrphanSweeper } from "../tasks/orphans.ts";
import { createSweeper } from "../tasks/sweep.ts";

/** Everything that removes what is no longer kept. */
export function createSweeps({ config, clock, log, storage, secrets, engineDb }: Installation) {
  const { tasks, results, uploads } = config;
  const shared = { db: engineDb, clock, log, storage };
  const keptMs = Math.max(results.ttlMs, ...results.ttlMsByModel.values(), uploads.ttlMs, dayMs);
  const sweeper = createSweeper({ ...shared, retentionMs: tasks.retentionMs });
  const orphans = createOrphanSweeper({
    ...shared,
    owner: secrets.fingerprint,
    // A day more than anything that is stored for a task or an upload may live.
    ageMs: tasks.deadlineMs + keptMs + dayMs,
  });
  return {
    start: () => {
      sweeper.start();
      orphans.start();
    },
    stop: async () => {
      await Promise.all([sweeper.stop(), orphans.stop()]);
    },
  };
}
