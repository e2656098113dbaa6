/** The places that attempts hold at capped channels: who gives them back, and when. */
import { givePlacesBack } from "../channels/load.ts";
import type { Tx } from "../db/database.ts";
import type { EngineDeps } from "./engine.ts";
import { loadDuePlaces, strikePlace } from "./place-store.ts";
import type { Attempt } from "./task.ts";

/**
 * Gives back what an attempt that has just ended holds, if it holds anything: the last statements of the
 * transaction that ends it. Not for one that ends unknown: the vendor may still be at work on it.
 */
export async function releasePlace(
  tx: Tx,
  task: { accountId: string; id: string },
  attempt: Attempt,
): Promise<void> {
  if (attempt.placeUntil === null) return;
  const key = { accountId: task.accountId, taskId: task.id, id: attempt.id };
  if (await strikePlace(tx, key)) await givePlacesBack(tx, [attempt]);
}

/** Gives back the places of unknown attempts whose channel's time is up; returns how many there were. */
export async function releaseDuePlaces(
  { db, clock, watch }: Pick<EngineDeps, "db" | "clock" | "watch">,
  limit: number,
): Promise<number> {
  const due = await loadDuePlaces(db.read, clock.now(), limit);
  if (due.length === 0) return 0;
  await db.transaction(async (tx) => {
    const struck = [];
    for (const place of due) if (await strikePlace(tx, place)) struck.push(place);
    await givePlacesBack(tx, struck);
  });
  watch.placeFreed();
  return due.length;
}
