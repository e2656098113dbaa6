/** Every statement on `deliveries` that moves them towards their end, and on `delivery_tries`. */
import { sql } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import type { DeliveryRow, DeliveryTryRow } from "../db/webhook-rows.ts";
import { insertRows, prepare } from "../db/statements.ts";
import type { EventRef } from "./event-store.ts";

export const deliveryColumns = [
  "account_id",
  "id",
  "mode",
  "event_id",
  "type",
  "task_id",
  "endpoint_id",
  "url",
  "origin",
  "state",
  "due_at",
  "lease",
  "round",
  "tries",
  "last_status",
  "last_error",
  "created_at",
  "expires_at",
  "ended_at",
] as const satisfies readonly (keyof DeliveryRow)[];

const insertDeliveryRows = insertRows("deliveries", deliveryColumns);

export async function insertDeliveries(tx: Tx, rows: readonly DeliveryRow[]): Promise<void> {
  await insertDeliveryRows(tx, rows);
}

/**
 * Origins that have a delivery whose time has come. It steps from one origin to the next by the index
 * `deliveries_due`, so its cost is the number of origins, however many deliveries wait for each.
 */
export async function listDueOrigins(handle: Handle, now: number): Promise<string[]> {
  const { rows } = await sql<{ origin: string }>`
    with recursive walk(origin) as (
      select min(origin) from deliveries where state = 'pending'
      union all
      select (select min(origin) from deliveries where state = 'pending' and origin > walk.origin)
      from walk where walk.origin is not null
    )
    select origin from walk
    where origin is not null and exists (
      select 1 from deliveries
      where deliveries.origin = walk.origin and state = 'pending' and due_at <= ${now}
    )`.execute(handle);
  return rows.map(({ origin }) => origin);
}

/** Counted no further: a count of a million rows would hold up the process. */
const countMax = 10_000;

export type DeliveryCount = {
  /** Not delivered and not given up. */
  waiting: number;
  /** Of these, whose time has come. */
  due: number;
};

/** Both up to `countMax`. */
export async function countDeliveries(handle: Handle, now: number): Promise<DeliveryCount> {
  const { rows } = await sql<DeliveryCount>`
    select count(*) as waiting,
      cast(coalesce(sum(case when due_at <= ${now} then 1 else 0 end), 0) as bigint) as due
    from (
      select due_at from deliveries where state = 'pending' limit ${countMax}
    ) as counted`.execute(handle);
  return rows[0] ?? { waiting: 0, due: 0 };
}

type ClaimValues = { origin: string; now: number; limit: number; lease: string; until: number };

const claimRows = prepare((db, p: ClaimValues) =>
  db
    .updateTable("deliveries")
    .set({ lease: p.lease, due_at: p.until })
    .where(({ refTuple, selectFrom, eb }) =>
      // By the primary key, or SQLite would walk through everything that waits for the origin.
      eb(
        refTuple("account_id", "id"),
        "in",
        selectFrom("deliveries as due")
          .select(["due.account_id", "due.id"])
          .where("due.state", "=", sql.lit("pending"))
          .where("due.origin", "=", p.origin)
          .where("due.due_at", "<=", p.now)
          .orderBy("due.due_at")
          .limit(p.limit)
          .$asTuple("account_id", "id"),
      ),
    )
    // Again, for whoever waited here for the lock of a row that another node was claiming.
    .where("state", "=", sql.lit("pending"))
    .where("due_at", "<=", p.now)
    .returning(deliveryColumns),
);

/**
 * Leases deliveries of one origin that are due, the most overdue first. While the lease runs nobody else
 * is given them; afterwards they are due again, because their sender may have died.
 */
export function claimDeliveries(tx: Tx, input: ClaimValues): Promise<DeliveryRow[]> {
  return claimRows.all(tx, input);
}

export type DeliveryRef = { accountId: string; id: string };

type TryValues = {
  accountId: string;
  id: string;
  lease: string;
  state: DeliveryRow["state"];
  dueAt: number;
  status: number | null;
  error: string | null;
  endedAt: number | null;
};

const updateTried = prepare((db, p: TryValues) =>
  db
    .updateTable("deliveries")
    .set((row) => ({
      state: p.state,
      due_at: p.dueAt,
      lease: null,
      round: row("round", "+", 1),
      tries: row("tries", "+", 1),
      last_status: p.status,
      last_error: p.error,
      ended_at: p.endedAt,
    }))
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id)
    .where("lease", "=", p.lease)
    .returning("tries"),
);

/** Notes what became of a try; the number of the try, or null when the lease was lost meanwhile. */
export async function saveTried(tx: Tx, tried: TryValues): Promise<number | null> {
  return (await updateTried.first(tx, tried))?.tries ?? null;
}

/** Gives a leased delivery back untried. */
export async function releaseDelivery(
  tx: Tx,
  { accountId, id }: DeliveryRef,
  { lease, now }: { lease: string; now: number },
): Promise<void> {
  await tx
    .updateTable("deliveries")
    .set({ lease: null, due_at: now })
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .where("lease", "=", lease)
    .execute();
}

const insertTryRows = insertRows("delivery_tries", [
  "account_id",
  "delivery_id",
  "number",
  "started_at",
  "duration_ms",
  "status",
  "error",
  "response",
]);

/** Tries of one delivery that are remembered; repeats by hand could make any number. */
const triesKept = 50;

export async function insertTry(tx: Tx, row: DeliveryTryRow): Promise<void> {
  await insertTryRows(tx, [row]);
  if (row.number <= triesKept) return;
  await tx
    .deleteFrom("delivery_tries")
    .where("account_id", "=", row.account_id)
    .where("delivery_id", "=", row.delivery_id)
    .where("number", "<=", row.number - triesKept)
    .execute();
}

/** Gives up pending deliveries whose time is over, and that nobody is sending; how many. */
export async function failExpired(tx: Tx, now: number, limit: number): Promise<number> {
  const result = await tx
    .updateTable("deliveries")
    .set({ state: "failed", lease: null, ended_at: now })
    .where("id", "in", (rows) =>
      rows
        .selectFrom("deliveries as old")
        .select("old.id")
        .where("old.state", "=", sql.lit("pending"))
        .where("old.expires_at", "<=", now)
        .orderBy("old.expires_at")
        .limit(limit),
    )
    .where("state", "=", sql.lit("pending"))
    .where("expires_at", "<=", now)
    .where((row) => row.or([row("lease", "is", null), row("due_at", "<=", now)]))
    .executeTakeFirst();
  return Number(result.numUpdatedRows);
}

type EndpointRef = { accountId: string; endpointId: string };

/** Gives up what still waits for an endpoint that takes no more. */
export async function failForEndpoint(
  tx: Tx,
  { accountId, endpointId }: EndpointRef,
  { error, now }: { error: string; now: number },
): Promise<void> {
  await tx
    .updateTable("deliveries")
    .set({ state: "failed", lease: null, last_error: error, ended_at: now })
    .where("account_id", "=", accountId)
    .where("endpoint_id", "=", endpointId)
    .where("state", "=", sql.lit("pending"))
    .execute();
}

/** Sends what an endpoint has not taken yet to its new address, also what is queued anew later. */
export async function redirectUndelivered(
  tx: Tx,
  { accountId, endpointId }: EndpointRef,
  { url, origin }: { url: string; origin: string },
): Promise<void> {
  await tx
    .updateTable("deliveries")
    .set({ url, origin })
    .where("account_id", "=", accountId)
    .where("endpoint_id", "=", endpointId)
    .where("state", "in", ["pending", "failed"])
    .execute();
}

/** Removes the deliveries of events and the log of their tries. */
export async function deleteDeliveriesOf(tx: Tx, events: readonly EventRef[]): Promise<void> {
  for (const { account_id, id } of events) {
    await tx
      .deleteFrom("delivery_tries")
      .where("account_id", "=", account_id)
      .where("delivery_id", "in", (rows) =>
        rows
          .selectFrom("deliveries")
          .select("id")
          .where("account_id", "=", account_id)
          .where("event_id", "=", id),
      )
      .execute();
    await tx
      .deleteFrom("deliveries")
      .where("account_id", "=", account_id)
      .where("event_id", "=", id)
      .execute();
  }
}
