/** Turns events of the outbox into deliveries: one for each address that is to be told. */
import type { Tx } from "../db/database.ts";
import type { DeliveryRow } from "../db/webhook-rows.ts";
import type { Ids } from "../lib/ids.ts";
import type { Clock } from "../lib/time.ts";
import { callbackOf, parseTarget } from "./address.ts";
import type { Target } from "./address.ts";
import { insertDeliveries } from "./delivery-store.ts";
import { listEnabledEndpoints } from "./endpoint-store.ts";
import { takePendingEvents } from "./event-store.ts";
import type { EventHead } from "./event-store.ts";
import { wantsEvent } from "./event-types.ts";
import { giveUpAfterMs } from "./schedule.ts";

export type ExpandDeps = { clock: Clock; ids: Ids };

/** Makes the deliveries of these events; the origins that have something to be sent now. */
export async function expandEvents(
  tx: Tx,
  deps: ExpandDeps,
  eventIds: readonly string[],
): Promise<string[]> {
  const now = deps.clock.now();
  const deliveries: DeliveryRow[] = [];
  for (const event of await takePendingEvents(tx, eventIds, now)) {
    for (const address of await listAddresses(tx, event)) {
      deliveries.push(createDelivery(deps.ids, event, { ...address, now }));
    }
  }
  await insertDeliveries(tx, deliveries);
  return [...new Set(deliveries.map(({ origin }) => origin))];
}

export type Address = Target & { endpointId: string | null };

async function listAddresses(tx: Tx, event: EventHead): Promise<Address[]> {
  const { account_id: accountId, mode, type, webhook } = event;
  const endpoints = await listEnabledEndpoints(tx, { accountId, mode });
  const registered = endpoints
    .filter((endpoint) => wantsEvent(endpoint, type))
    .map((endpoint): Address => ({ ...parseTarget(endpoint.url), endpointId: endpoint.id }));
  if (webhook === null) return registered;
  return [{ ...callbackOf(webhook), endpointId: null }, ...registered];
}

/** A delivery that is due at once. */
export function createDelivery(
  ids: Ids,
  event: Omit<EventHead, "webhook" | "created_at">,
  { url, origin, endpointId, now }: Address & { now: number },
): DeliveryRow {
  return {
    account_id: event.account_id,
    id: ids("delivery"),
    mode: event.mode,
    event_id: event.id,
    type: event.type,
    task_id: event.task_id,
    endpoint_id: endpointId,
    url,
    origin,
    state: "pending",
    due_at: now,
    lease: null,
    round: 0,
    tries: 0,
    last_status: null,
    last_error: null,
    created_at: now,
    expires_at: now + giveUpAfterMs,
    ended_at: null,
  };
}
