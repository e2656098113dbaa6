/** How many tasks are in `queue`, and how long they have been waiting. */
import { sql } from "kysely";

import type { Handle } from "../db/database.ts";
import type { QueueState } from "../db/schema.ts";
import { prepare } from "../db/statements.ts";
import { timeOfId } from "../lib/ids.ts";

/**
 * The fair order begins with what has waited longest, but for a task that has just come from an account
 * with nothing else there: a few rows show the oldest.
 */
const rowsLooked = 16;

const selectFirst = prepare((db, p: { lane: string }) =>
  db
    .selectFrom("queue")
    .select("task_id")
    .where("lane", "=", p.lane)
    .where("state", "=", "ready")
    .orderBy("tag")
    .orderBy("task_id")
    .limit(rowsLooked),
);

const selectFirstOfAccount = prepare((db, p: { lane: string; accountId: string }) =>
  db
    .selectFrom("queue")
    .select("task_id")
    .where("account_id", "=", p.accountId)
    .where("lane", "=", p.lane)
    .where("state", "=", "ready")
    .orderBy("tag")
    .limit(1),
);

/** Since when the next tasks of a lane have been waiting, in unix milliseconds; null when none waits. */
export async function findWaitingSince(handle: Handle, lane: string): Promise<number | null> {
  return oldestOf(await selectFirst.all(handle, { lane }));
}

/** The same of one account's next task there. */
export async function findAccountWaitingSince(
  handle: Handle,
  lane: string,
  accountId: string,
): Promise<number | null> {
  return oldestOf(await selectFirstOfAccount.all(handle, { lane, accountId }));
}

function oldestOf(rows: readonly { task_id: string }[]): number | null {
  const ids = rows.map(({ task_id }) => task_id).toSorted();
  return ids[0] === undefined ? null : timeOfId("task", ids[0]);
}

/** Counted no further: a count of a million rows would hold up the process. */
export const countMax = 10_000;

export type LaneCount = { lane: string; state: QueueState; tasks: number };

/**
 * Tasks in the queue by lane and state, each count up to `countMax`. It steps from one lane to the next by
 * the index `queue_claim`.
 */
export async function countLanes(handle: Handle): Promise<LaneCount[]> {
  const { rows } = await sql<LaneCount>`
    with recursive walk(lane) as (
      select min(lane) from queue
      union all
      select (select min(lane) from queue where lane > walk.lane)
      from walk where walk.lane is not null
    ),
    states(state) as (select 'ready' union all select 'parked' union all select 'claimed')
    select walk.lane, states.state, (
      select count(*) from (
        select 1 from queue where queue.lane = walk.lane and queue.state = states.state
        limit ${countMax}
      ) as counted
    ) as tasks
    from walk cross join states where walk.lane is not null`.execute(handle);
  return rows;
}
