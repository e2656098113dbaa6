/** How those who wait look whether a change was told to somebody else. */
import type { Handle } from "../db/database.ts";

/** Revisions of an account's tasks by id; tasks that are no longer kept are missing. */
export async function loadRevisions(
  handle: Handle,
  accountId: string,
  ids: readonly string[],
): Promise<Map<string, number>> {
  const rows = await handle
    .selectFrom("tasks")
    .select(["id", "revision"])
    .where("account_id", "=", accountId)
    .where("id", "in", ids)
    .execute();
  return new Map(rows.map(({ id, revision }) => [id, revision]));
}
