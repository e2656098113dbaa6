import type { Database } from "../db/database.ts";
import { claimRows, hasReady, raiseBeat } from "./queue-store.ts";
import { findTasks } from "./store.ts";
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
    const claims = await claimRows(tx, input);
    const tasks = await findTasks(
      tx,
      claims.map(({ accountId, taskId }) => ({ accountId, id: taskId })),
    );
    return claims.flatMap(({ claims: count }, i) => {
      const task = tasks[i] ?? null;
      return task === null ? [] : [{ task, claims: count }];
    });
  });
}
