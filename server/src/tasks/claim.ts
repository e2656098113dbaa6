import type { Database } from "../db/database.ts";
import { claimRows, hasReady, raiseBeat } from "./queue-store.ts";
import { findTask } from "./store.ts";
import type { Task } from "./task.ts";

export type ClaimInput = { lane: string; workerId: string; limit: number };

/** Takes up to `limit` ready tasks of a lane for a worker, in fair order; none for a worker that was removed. */
export async function claimTasks(
  db: Database,
  input: ClaimInput,
): Promise<{ task: Task; claims: number }[]> {
  if (!(await hasReady(db.read, input.lane))) return [];
  return db.transaction(async (tx) => {
    // Locks the worker's row: an observer that removes it either sees these claims or prevents them.
    if (!(await raiseBeat(tx, input.workerId))) return [];
    const rows = await claimRows(tx, input);
    const claimed = [];
    for (const { accountId, taskId, claims } of rows) {
      const task = await findTask(tx, accountId, taskId);
      if (task !== null) claimed.push({ task, claims });
    }
    return claimed;
  });
}
