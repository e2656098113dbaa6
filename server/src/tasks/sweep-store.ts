/** Statements that remove what is no longer kept, a bounded batch at a time and by index. */
import type { Handle, Tx } from "../db/database.ts";

export type TaskRef = { accountId: string; id: string };

/** Tasks that ended before `before` and whose links have ended by `now`, the oldest first. */
export async function loadEndedBefore(
  handle: Handle,
  { before, now }: { before: number; now: number },
  limit: number,
): Promise<TaskRef[]> {
  const rows = await handle
    .selectFrom("tasks")
    .select(["account_id", "id"])
    .where("ended_at", "is not", null)
    .where("ended_at", "<=", before)
    .where((row) => row.or([row("expires_at", "is", null), row("expires_at", "<=", now)]))
    .orderBy("ended_at")
    .limit(limit)
    .execute();
  return rows.map((row) => ({ accountId: row.account_id, id: row.id }));
}

export async function deleteTaskRows(tx: Tx, { accountId, id }: TaskRef): Promise<void> {
  for (const table of ["attempts", "slots"] as const) {
    await tx
      .deleteFrom(table)
      .where("account_id", "=", accountId)
      .where("task_id", "=", id)
      .execute();
  }
  await tx.deleteFrom("tasks").where("account_id", "=", accountId).where("id", "=", id).execute();
}

/** Ids of an account's tasks that have not ended, in order of id. */
export async function listOpenTaskIds(
  handle: Handle,
  accountId: string,
  page: { after: string; limit: number },
): Promise<string[]> {
  const rows = await handle
    .selectFrom("queue")
    .select("task_id")
    .where("account_id", "=", accountId)
    .where("task_id", ">", page.after)
    .orderBy("task_id")
    .limit(page.limit)
    .execute();
  return rows.map(({ task_id }) => task_id);
}
