/** Registered endpoints: made, read, changed, removed, rotated, tested. */
import type { Database } from "../db/database.ts";
import type { DeliveryRow, WebhookEndpointRow, WebhookEventType } from "../db/webhook-rows.ts";
import type { Egress } from "../lib/egress.ts";
import { AppError } from "../lib/errors.ts";
import type { Ids } from "../lib/ids.ts";
import { checkAddress, parseTarget } from "./address.ts";
import { endpointDisabled } from "./deliver.ts";
import { failForEndpoint, insertDeliveries, redirectUndelivered } from "./delivery-store.ts";
import {
  deleteEndpoint,
  findEndpoint,
  insertEndpoint,
  listEndpoints,
  updateEndpoint,
} from "./endpoint-store.ts";
import type { EndpointChange, Owner } from "./endpoint-store.ts";
import { insertEvent } from "./event-store.ts";
import { defaultEventTypes, joinEventTypes, splitEventTypes } from "./event-types.ts";
import { createDelivery } from "./expand.ts";
import { endpointSecretName, ensureAccountSecret, previousKeptMs } from "./secrets.ts";
import type { SecretsDeps } from "./secrets.ts";
import { createSecret } from "./sign.ts";

export type EndpointsDeps = SecretsDeps & {
  db: Database;
  ids: Ids;
  egress: Pick<Egress, "checkUrl">;
  /** Tells the deliverer of something that is due at once. */
  nudgeOrigin(origin: string): void;
};

export type Endpoint = {
  id: string;
  mode: Owner["mode"];
  url: string;
  description: string | null;
  events: readonly WebhookEventType[];
  /** Times are unix milliseconds. */
  failingSince: number | null;
  disabled: { at: number; reason: "owner" | "gone" | "failing" } | null;
  previousSecretUntil: number | null;
  createdAt: number;
};

export type EndpointSettings = {
  url: string;
  events?: readonly WebhookEventType[] | undefined;
  description?: string | undefined;
};

/** What is left out stays. */
export type EndpointUpdate = Omit<EndpointSettings, "url"> & {
  url?: string | undefined;
  enabled?: boolean | undefined;
};

/** With the secret, which is never shown again. */
export type NewEndpoint = Endpoint & { secret: string };

export type Endpoints = {
  /** Throws `invalid_parameter` for an address that could never be reached, `webhook_limit_reached`. */
  createEndpoint(owner: Owner, settings: EndpointSettings): Promise<NewEndpoint>;
  listEndpoints(owner: Owner): Promise<Endpoint[]>;
  /** Throws `webhook_not_found`, as all that follow. */
  loadEndpoint(owner: Owner, id: string): Promise<Endpoint>;
  updateEndpoint(owner: Owner, id: string, update: EndpointUpdate): Promise<Endpoint>;
  deleteEndpoint(owner: Owner, id: string): Promise<void>;
  rotateSecret(owner: Owner, id: string): Promise<NewEndpoint>;
  /** Queues `body` as a test event for this endpoint alone, also when it is disabled. */
  testEndpoint(owner: Owner, id: string, body: string): Promise<DeliveryRow>;
};

/** Of an account in one mode: each is one more delivery for every task. */
export const endpointsMax = 20;

export function createEndpoints(deps: EndpointsDeps): Endpoints {
  const { db } = deps;
  return {
    createEndpoint: (owner, settings) => createEndpoint(deps, owner, settings),
    listEndpoints: async (owner) =>
      (await listEndpoints(db.read, owner)).map((row) => toEndpoint(deps, row)),
    loadEndpoint: async (owner, id) => toEndpoint(deps, await loadRow(deps, owner, id)),
    updateEndpoint: (owner, id, update) => changeEndpoint(deps, { owner, id }, update),
    deleteEndpoint: (owner, id) => removeEndpoint(deps, owner, id),
    rotateSecret: (owner, id) => rotateSecret(deps, owner, id),
    testEndpoint: (owner, id, body) => testEndpoint(deps, { owner, id }, body),
  };
}

async function createEndpoint(
  deps: EndpointsDeps,
  owner: Owner,
  { url, events = defaultEventTypes, description = "" }: EndpointSettings,
): Promise<NewEndpoint> {
  const { db, clock, random, ids, vault } = deps;
  checkAddress(deps.egress, url, "url");
  const id = ids("endpoint");
  const secret = createSecret(random);
  const row: WebhookEndpointRow = {
    account_id: owner.accountId,
    id,
    mode: owner.mode,
    url,
    description: description === "" ? null : description,
    events: joinEventTypes(events),
    secret: vault.seal(endpointSecretName(owner.accountId, id), secret),
    previous_secret: null,
    previous_until: null,
    failed_tries: 0,
    failing_since: null,
    disabled_at: null,
    disabled_reason: null,
    created_at: clock.now(),
  };
  await db.transaction(async (tx) => {
    // Two at once are counted one after the other: both want this row.
    await ensureAccountSecret(tx, deps, owner);
    if ((await listEndpoints(tx, owner)).length >= endpointsMax) throw limitReached();
    await insertEndpoint(tx, row);
  });
  await db.durable();
  return { ...toEndpoint(deps, row), secret };
}

async function changeEndpoint(
  deps: EndpointsDeps,
  { owner, id }: { owner: Owner; id: string },
  update: EndpointUpdate,
): Promise<Endpoint> {
  const { db, clock, egress } = deps;
  const { url, enabled } = update;
  if (url !== undefined) checkAddress(egress, url, "url");
  const now = clock.now();
  const endpointRef = { accountId: owner.accountId, endpointId: id };
  const row = await db.transaction(async (tx) => {
    // Deliveries are locked before their endpoint, as whoever records a try does.
    if (url !== undefined) await redirectUndelivered(tx, endpointRef, parseTarget(url));
    if (enabled === false) await failForEndpoint(tx, endpointRef, { error: endpointDisabled, now });
    const changed = await updateEndpoint(tx, { ...owner, id }, toChange(update, now));
    // Thrown inside, so that nothing of another mode's endpoint is touched either.
    if (changed === null) throw endpointNotFound(id);
    return changed;
  });
  await db.durable();
  return toEndpoint(deps, row);
}

function toChange(
  { url, events, description, enabled }: EndpointUpdate,
  now: number,
): EndpointChange {
  return {
    ...(url === undefined ? {} : { url }),
    ...(events === undefined ? {} : { events: joinEventTypes(events) }),
    ...(description === undefined ? {} : { description: description === "" ? null : description }),
    ...(enabled === true
      ? { disabled_at: null, disabled_reason: null, failed_tries: 0, failing_since: null }
      : {}),
    ...(enabled === false ? { disabled_at: now, disabled_reason: "owner" } : {}),
  };
}

async function removeEndpoint({ db, clock }: EndpointsDeps, owner: Owner, id: string) {
  const now = clock.now();
  await db.transaction(async (tx) => {
    const ref = { accountId: owner.accountId, endpointId: id };
    await failForEndpoint(tx, ref, { error: "the endpoint was deleted", now });
    if (!(await deleteEndpoint(tx, { ...owner, id }))) throw endpointNotFound(id);
  });
  await db.durable();
}

async function rotateSecret(deps: EndpointsDeps, owner: Owner, id: string): Promise<NewEndpoint> {
  const { db, clock, random, vault } = deps;
  const secret = createSecret(random);
  const sealed = vault.seal(endpointSecretName(owner.accountId, id), secret);
  const until = clock.now() + previousKeptMs;
  const row = await db.transaction(async (tx) => {
    const current = await updateEndpoint(tx, { ...owner, id }, {});
    if (current === null) throw endpointNotFound(id);
    const change = { secret: sealed, previous_secret: current.secret, previous_until: until };
    return updateEndpoint(tx, { ...owner, id }, change);
  });
  if (row === null) throw endpointNotFound(id);
  await db.durable();
  return { ...toEndpoint(deps, row), secret };
}

async function testEndpoint(
  deps: EndpointsDeps,
  { owner, id }: { owner: Owner; id: string },
  body: string,
): Promise<DeliveryRow> {
  const { db, clock, ids } = deps;
  const { accountId, mode } = owner;
  const endpoint = await loadRow(deps, owner, id);
  const now = clock.now();
  const event = {
    account_id: accountId,
    id: ids("event"),
    mode,
    type: "test" as const,
    task_id: null,
  };
  const delivery = createDelivery(ids, event, {
    ...parseTarget(endpoint.url),
    endpointId: id,
    now,
  });
  await db.transaction(async (tx) => {
    const outbox = { webhook: null, body, created_at: now, expanded_at: now };
    await insertEvent(tx, { ...event, ...outbox });
    await insertDeliveries(tx, [delivery]);
  });
  await db.durable();
  deps.nudgeOrigin(delivery.origin);
  return delivery;
}

async function loadRow(
  { db }: EndpointsDeps,
  { accountId, mode }: Owner,
  id: string,
): Promise<WebhookEndpointRow> {
  const row = await findEndpoint(db.read, accountId, id);
  if (row === null || row.mode !== mode) throw endpointNotFound(id);
  return row;
}

function toEndpoint({ clock }: Pick<EndpointsDeps, "clock">, row: WebhookEndpointRow): Endpoint {
  const { disabled_at: at, disabled_reason: reason, previous_until: until } = row;
  return {
    id: row.id,
    mode: row.mode,
    url: row.url,
    description: row.description,
    events: splitEventTypes(row.events),
    failingSince: row.failing_since,
    disabled: at === null || reason === null ? null : { at, reason },
    previousSecretUntil: until !== null && until > clock.now() ? until : null,
    createdAt: row.created_at,
  };
}

/** `param` is the field that named it, where that is not the path. */
export function endpointNotFound(id: string, param?: string): AppError {
  return new AppError(
    "webhook_not_found",
    `webhook ${JSON.stringify(id.slice(0, 80))} does not exist for this key`,
    param === undefined ? {} : { param },
  );
}

function limitReached(): AppError {
  return new AppError(
    "webhook_limit_reached",
    `the account has ${endpointsMax} webhooks already; delete one that is no longer used`,
  );
}
