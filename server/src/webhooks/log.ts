/** The log of deliveries: read, and repeated. */
import type { Database } from "../db/database.ts";
import type { DeliveryRow, DeliveryTryRow } from "../db/webhook-rows.ts";
import { AppError } from "../lib/errors.ts";
import type { Clock } from "../lib/time.ts";
import { parseTarget } from "./address.ts";
import { endpointNotFound } from "./endpoints.ts";
import { findEndpoint } from "./endpoint-store.ts";
import type { Owner } from "./endpoint-store.ts";
import { findEventBody } from "./event-store.ts";
import {
  findDelivery,
  listDeliveries,
  listTries,
  requeueDelivery,
  requeueFailed,
} from "./log-store.ts";
import type { DeliveryFilter } from "./log-store.ts";
import { giveUpAfterMs } from "./schedule.ts";

export type DeliveryLogDeps = {
  db: Database;
  clock: Clock;
  /** Tells the deliverer of something that is due at once. */
  nudgeOrigin(origin: string): void;
};

export type Delivery = DeliveryRow;
export type DeliveryTry = DeliveryTryRow;

export type DeliveryDetail = {
  delivery: Delivery;
  tries: readonly DeliveryTry[];
  /** As it is sent, JSON text. */
  body: string;
};

export type RedeliverRange = {
  /** Unix milliseconds. */
  createdAfter: number;
  createdBefore: number;
  endpointId: string | undefined;
};

export type DeliveryLog = {
  /** The newest first; `after` is the id of the last one of the page before. */
  listDeliveries(
    owner: Owner,
    filter: DeliveryFilter,
    page: { after: string | null; limit: number },
  ): Promise<{ deliveries: DeliveryRow[]; hasMore: boolean }>;
  /** Throws `delivery_not_found`, as does the next. */
  loadDelivery(owner: Owner, id: string): Promise<DeliveryDetail>;
  /** Queues a delivery for a new round of tries, at the address its endpoint has now. */
  redeliver(owner: Owner, id: string): Promise<DeliveryRow>;
  /** The same for every failed delivery of a time range, up to ten thousand a call. Throws `webhook_not_found`. */
  redeliverFailed(
    owner: Owner,
    range: RedeliverRange,
  ): Promise<{ redelivered: number; hasMore: boolean }>;
};

const batchMax = 500;
const batchesMax = 20;

export function createDeliveryLog(deps: DeliveryLogDeps): DeliveryLog {
  const { db } = deps;
  return {
    listDeliveries: async (owner, filter, { after, limit }) => {
      const page = { before: after, limit: limit + 1 };
      const rows = await listDeliveries(db.read, owner, filter, page);
      return { deliveries: rows.slice(0, limit), hasMore: rows.length > limit };
    },
    loadDelivery: async (owner, id) => {
      const delivery = await loadDelivery(deps, owner, id);
      const tries = await listTries(db.read, owner.accountId, id);
      const body = await findEventBody(db.read, owner.accountId, delivery.event_id);
      if (body === null) throw deliveryNotFound(id);
      return { delivery, tries, body };
    },
    redeliver: (owner, id) => redeliver(deps, owner, id),
    redeliverFailed: (owner, range) => redeliverFailed(deps, owner, range),
  };
}

async function redeliver(deps: DeliveryLogDeps, owner: Owner, id: string): Promise<DeliveryRow> {
  const { db, clock } = deps;
  const delivery = await loadDelivery(deps, owner, id);
  const target = await findTarget(deps, delivery);
  const now = clock.now();
  const expiresAt = now + giveUpAfterMs;
  const queued = await db.transaction((tx) =>
    requeueDelivery(tx, { accountId: owner.accountId, id }, { ...target, now, expiresAt }),
  );
  await db.durable();
  if (queued !== null) deps.nudgeOrigin(queued.origin);
  // A try of it is under way just now; that is what was asked for.
  return queued ?? loadDelivery(deps, owner, id);
}

async function findTarget({ db }: DeliveryLogDeps, delivery: DeliveryRow) {
  const { account_id: accountId, endpoint_id: endpointId, url, origin } = delivery;
  if (endpointId === null) return { url, origin };
  const endpoint = await findEndpoint(db.read, accountId, endpointId);
  if (endpoint === null) throw endpointNotFound(endpointId);
  return parseTarget(endpoint.url);
}

async function redeliverFailed(
  { db, clock }: DeliveryLogDeps,
  owner: Owner,
  range: RedeliverRange,
): Promise<{ redelivered: number; hasMore: boolean }> {
  const { endpointId } = range;
  if (endpointId !== undefined) {
    const endpoint = await findEndpoint(db.read, owner.accountId, endpointId);
    if (endpoint?.mode !== owner.mode) throw endpointNotFound(endpointId, "webhook");
  }
  let redelivered = 0;
  for (let batch = 0; batch < batchesMax; batch += 1) {
    const now = clock.now();
    const at = { now, expiresAt: now + giveUpAfterMs };
    const count = await db.transaction((tx) =>
      requeueFailed(tx, owner, { ...range, limit: batchMax }, at),
    );
    redelivered += count;
    if (count < batchMax) {
      await db.durable();
      return { redelivered, hasMore: false };
    }
  }
  await db.durable();
  return { redelivered, hasMore: true };
}

async function loadDelivery(
  { db }: DeliveryLogDeps,
  owner: Owner,
  id: string,
): Promise<DeliveryRow> {
  const delivery = await findDelivery(db.read, owner, id);
  if (delivery === null) throw deliveryNotFound(id);
  return delivery;
}

function deliveryNotFound(id: string): AppError {
  return new AppError(
    "delivery_not_found",
    `delivery ${JSON.stringify(id.slice(0, 80))} does not exist for this key, or is no longer kept`,
  );
}
