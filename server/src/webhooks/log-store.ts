/** Statements on `deliveries` and `delivery_tries` for people: reading the log, and queueing anew. */
import { sql } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import type { DeliveryRow, DeliveryTryRow } from "../db/webhook-rows.ts";
import { deliveryColumns } from "./delivery-store.ts";
import type { Owner } from "./endpoint-store.ts";

export type DeliveryFilter = {
  status?: DeliveryRow["state"] | undefined;
  endpointId?: string | undefined;
  taskId?: string | undefined;
  /** Unix milliseconds: made at this time or later. */
  createdAfter?: number | undefined;
  /** Made before this time. */
  createdBefore?: number | undefined;
};

/** Deliveries with ids below `before`, the newest first. */
export function listDeliveries(
  handle: Handle,
  owner: Owner,
  filter: DeliveryFilter,
  page: { before: string | null; limit: number },
): Promise<DeliveryRow[]> {
  const { status, endpointId, taskId, createdAfter, createdBefore } = filter;
  const { before } = page;
  return handle
    .selectFrom("deliveries")
    .select(deliveryColumns)
    .where("account_id", "=", owner.accountId)
    .where("mode", "=", owner.mode)
    .$if(before !== null, (query) => query.where("id", "<", before ?? ""))
    .$if(status !== undefined, (query) => query.where("state", "=", status ?? "failed"))
    .$if(endpointId !== undefined, (query) => query.where("endpoint_id", "=", endpointId ?? ""))
    .$if(taskId !== undefined, (query) => query.where("task_id", "=", taskId ?? ""))
    .$if(createdAfter !== undefined, (query) => query.where("created_at", ">=", createdAfter ?? 0))
    .$if(createdBefore !== undefined, (query) => query.where("created_at", "<", createdBefore ?? 0))
    .orderBy("id", "desc")
    .limit(page.limit)
    .execute();
}

export async function findDelivery(
  handle: Handle,
  owner: Owner,
  id: string,
): Promise<DeliveryRow | null> {
  const row = await handle
    .selectFrom("deliveries")
    .select(deliveryColumns)
    .where("account_id", "=", owner.accountId)
    .where("id", "=", id)
    .where("mode", "=", owner.mode)
    .executeTakeFirst();
  return row ?? null;
}

/** The first try first. */
export function listTries(
  handle: Handle,
  accountId: string,
  deliveryId: string,
): Promise<DeliveryTryRow[]> {
  return handle
    .selectFrom("delivery_tries")
    .select([
      "account_id",
      "delivery_id",
      "number",
      "started_at",
      "duration_ms",
      "status",
      "error",
      "response",
    ])
    .where("account_id", "=", accountId)
    .where("delivery_id", "=", deliveryId)
    .orderBy("number")
    .execute();
}

export type Requeue = { url: string; origin: string; now: number; expiresAt: number };

/** Queues a delivery for another round of tries; null while a try of it is under way. */
export async function requeueDelivery(
  tx: Tx,
  { accountId, id }: { accountId: string; id: string },
  { url, origin, now, expiresAt }: Requeue,
): Promise<DeliveryRow | null> {
  const row = await tx
    .updateTable("deliveries")
    .set({
      state: "pending",
      url,
      origin,
      due_at: now,
      round: 0,
      expires_at: expiresAt,
      ended_at: null,
    })
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .where("lease", "is", null)
    .returning(deliveryColumns)
    .executeTakeFirst();
  return row ?? null;
}

export type RequeueRange = {
  createdAfter: number;
  createdBefore: number;
  endpointId: string | undefined;
  limit: number;
};

/**
 * Queues failed deliveries of a time range for another round, each to the address it has now: that of
 * its endpoint, or the one its submit named. Those of endpoints that are gone stay as they are.
 */
export async function requeueFailed(
  tx: Tx,
  owner: Owner,
  range: RequeueRange,
  at: { now: number; expiresAt: number },
): Promise<number> {
  const { endpointId } = range;
  const due = await tx
    .selectFrom("deliveries")
    .leftJoin("webhook_endpoints as endpoint", (join) =>
      join
        .onRef("endpoint.account_id", "=", "deliveries.account_id")
        .onRef("endpoint.id", "=", "deliveries.endpoint_id"),
    )
    .select(["deliveries.id"])
    .where("deliveries.account_id", "=", owner.accountId)
    .where("deliveries.mode", "=", owner.mode)
    .where("deliveries.state", "=", sql.lit("failed"))
    .where("deliveries.created_at", ">=", range.createdAfter)
    .where("deliveries.created_at", "<", range.createdBefore)
    .where((row) =>
      row.or([row("deliveries.endpoint_id", "is", null), row("endpoint.id", "is not", null)]),
    )
    .$if(endpointId !== undefined, (query) =>
      query.where("deliveries.endpoint_id", "=", endpointId ?? ""),
    )
    .orderBy("deliveries.id")
    .limit(range.limit)
    .execute();
  if (due.length === 0) return 0;
  const result = await tx
    .updateTable("deliveries")
    .set({
      state: "pending",
      due_at: at.now,
      round: 0,
      expires_at: at.expiresAt,
      ended_at: null,
    })
    .where("account_id", "=", owner.accountId)
    .where(
      "id",
      "in",
      due.map(({ id }) => id),
    )
    .where("state", "=", sql.lit("failed"))
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}
