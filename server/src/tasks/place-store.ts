/** Every statement on the places that attempts hold: `attempts.place_until`. */
import type { Place } from "../channels/load.ts";
import type { Handle, Tx } from "../db/database.ts";
import { prepare } from "../db/statements.ts";

type AttemptKey = { accountId: string; taskId: string; id: string };

const updatePlace = prepare((db, p: AttemptKey) =>
  db
    .updateTable("attempts")
    .set({ place_until: null })
    .where("account_id", "=", p.accountId)
    .where("task_id", "=", p.taskId)
    .where("id", "=", p.id)
    .where("place_until", "is not", null),
);

/** Strikes the place from an attempt; true for the one who has done it and must give the place back. */
export async function strikePlace(tx: Tx, key: AttemptKey): Promise<boolean> {
  return (await updatePlace.run(tx, key)) > 0;
}

/** An unknown attempt whose channel would have given up on it by now. */
export type DuePlace = AttemptKey & Place;

const selectDue = prepare((db, p: { now: number; limit: number }) =>
  db
    .selectFrom("attempts")
    .select(["account_id", "task_id", "id", "channel", "upstream_model"])
    .where("place_until", "is not", null)
    .where("place_until", "<=", p.now)
    .where("state", "=", "unknown")
    .orderBy("place_until")
    .limit(p.limit),
);

export async function loadDuePlaces(
  handle: Handle,
  now: number,
  limit: number,
): Promise<DuePlace[]> {
  const rows = await selectDue.all(handle, { now, limit });
  return rows.map((row) => ({
    accountId: row.account_id,
    taskId: row.task_id,
    id: row.id,
    channel: row.channel,
    upstreamModel: row.upstream_model,
  }));
}

/** Every place that an attempt holds, for a recount. */
export async function listPlaces(handle: Handle): Promise<Place[]> {
  const rows = await handle
    .selectFrom("attempts")
    .select(["channel", "upstream_model"])
    .where("place_until", "is not", null)
    .execute();
  return rows.map((row) => ({ channel: row.channel, upstreamModel: row.upstream_model }));
}

export type UnknownAttempt = { taskId: string; id: string; channel: string; endedAt: number };

/** Attempts that ended since `since` and of which nobody knows how, the latest first. */
export async function listUnknownAttempts(
  handle: Handle,
  since: number,
  limit: number,
): Promise<UnknownAttempt[]> {
  const rows = await handle
    .selectFrom("attempts")
    .select(["task_id", "id", "channel", "ended_at"])
    .where("state", "=", "unknown")
    .where("ended_at", ">=", since)
    .orderBy("ended_at", "desc")
    .limit(limit)
    .execute();
  return rows.map((row) => ({
    taskId: row.task_id,
    id: row.id,
    channel: row.channel,
    endedAt: row.ended_at ?? since,
  }));
}
