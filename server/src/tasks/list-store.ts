/** Which tasks a list shows, found through the primary key of `tasks` alone. */
import type { Handle } from "../db/database.ts";
import type { Mode, TaskState } from "../db/schema.ts";

export type TaskFilter = {
  accountId: string;
  mode: Mode;
  /** Ids from here, to before there: the newest come first. */
  from: string;
  before: string;
  /** Unix milliseconds: `createdFrom ≤ created_at < createdBefore`. */
  createdFrom: number;
  createdBefore: number;
  state?: TaskState;
  model?: string;
  submittedBy?: string;
};

/** The id at which a look through `rows` tasks of the account ends; null when there are fewer. */
export async function findScanEnd(
  handle: Handle,
  filter: TaskFilter,
  rows: number,
): Promise<string | null> {
  const row = await handle
    .selectFrom("tasks")
    .select("id")
    .where("account_id", "=", filter.accountId)
    .where("id", "<", filter.before)
    .where("id", ">=", filter.from)
    .orderBy("id", "desc")
    .offset(rows - 1)
    .limit(1)
    .executeTakeFirst();
  return row?.id ?? null;
}

/** Ids of the tasks that match, newest first. */
export async function selectTaskIds(
  handle: Handle,
  filter: TaskFilter,
  limit: number,
): Promise<string[]> {
  const rows = await selectMatching(handle, filter, limit).execute();
  return rows.map(({ id }) => id);
}

export function selectMatching(handle: Handle, filter: TaskFilter, limit: number) {
  const { state, model, submittedBy } = filter;
  return handle
    .selectFrom("tasks")
    .select("id")
    .where("account_id", "=", filter.accountId)
    .where("id", "<", filter.before)
    .where("id", ">=", filter.from)
    .where("mode", "=", filter.mode)
    .where("created_at", ">=", filter.createdFrom)
    .where("created_at", "<", filter.createdBefore)
    .$if(state !== undefined, (query) => query.where("state", "=", state ?? "pending"))
    .$if(model !== undefined, (query) => query.where("model", "=", model ?? ""))
    .$if(submittedBy !== undefined, (query) => query.where("key_id", "=", submittedBy ?? ""))
    .orderBy("id", "desc")
    .limit(limit);
}
