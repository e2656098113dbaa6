/** Every statement on `events`: the outbox. */
import type { Handle, Tx } from "../db/database.ts";
import type { EventRow } from "../db/webhook-rows.ts";
import { insertRows, prepare } from "../db/statements.ts";

const insertEventRows = insertRows("events", [
  "account_id",
  "id",
  "mode",
  "type",
  "task_id",
  "webhook",
  "body",
  "created_at",
  "expanded_at",
]);

/**
 * Puts an event in the outbox; it exists if and only if the transaction commits. One whose deliveries are
 * made in the same transaction says so by its `expanded_at`.
 */
export async function insertEvent(tx: Tx, event: EventRow): Promise<void> {
  await insertEventRows(tx, [event]);
}

const selectPending = prepare((db, p: { limit: number }) =>
  db
    .selectFrom("events")
    .select("id")
    .where("expanded_at", "is", null)
    .orderBy("id")
    .limit(p.limit),
);

/** Ids of events whose deliveries have not been made, the oldest first. */
export async function listPendingEventIds(handle: Handle, limit: number): Promise<string[]> {
  return (await selectPending.all(handle, { limit })).map(({ id }) => id);
}

/** An event, without its body. */
export type EventHead = Omit<EventRow, "body" | "expanded_at">;

/** Takes the events out of the outbox, in order of id; those that another process took are left out. */
export async function takePendingEvents(
  tx: Tx,
  ids: readonly string[],
  now: number,
): Promise<EventHead[]> {
  const taken = await tx
    .updateTable("events")
    .set({ expanded_at: now })
    .where("expanded_at", "is", null)
    .where("id", "in", ids)
    .returning(["account_id", "id", "mode", "type", "task_id", "webhook", "created_at"])
    .execute();
  return taken.toSorted((one, other) => (one.id < other.id ? -1 : 1));
}

const selectBody = prepare((db, p: { accountId: string; id: string }) =>
  db
    .selectFrom("events")
    .select("body")
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id),
);

/** The body as it is sent; null when the event is no longer kept. */
export async function findEventBody(
  handle: Handle,
  accountId: string,
  id: string,
): Promise<string | null> {
  return (await selectBody.first(handle, { accountId, id }))?.body ?? null;
}

export type EventRef = { account_id: string; id: string };

/** Events made before `before`, the oldest first. */
export function listOldEvents(handle: Handle, before: number, limit: number): Promise<EventRef[]> {
  return handle
    .selectFrom("events")
    .select(["account_id", "id"])
    .where("created_at", "<", before)
    .orderBy("created_at")
    .limit(limit)
    .execute();
}

export async function deleteEvents(tx: Tx, events: readonly EventRef[]): Promise<void> {
  for (const { account_id, id } of events) {
    await tx
      .deleteFrom("events")
      .where("account_id", "=", account_id)
      .where("id", "=", id)
      .execute();
  }
}
