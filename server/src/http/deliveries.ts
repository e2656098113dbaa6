import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type {
  Delivery,
  DeliveryListReply,
  DeliveryReply,
  DeliveryTry,
  RedeliverReply,
} from "../../../client/src/webhooks.ts";
import type { Clock } from "../lib/time.ts";
import { secondMs, toUnixSeconds } from "../lib/time.ts";
import type {
  DeliveryLog,
  Delivery as DeliveryRow,
  DeliveryTry as TryRow,
} from "../webhooks/log.ts";
import type { Auth } from "./auth.ts";
import { parseBody } from "./json-body.ts";
import { callerOf } from "./request.ts";
import { parseQuery } from "./schemas.ts";
import { findTime } from "./times.ts";
import { deliveryListQuery, parseFields, redeliverBody } from "./webhook-schemas.ts";

export type DeliveriesDeps = { auth: Auth; clock: Clock; deliveryLog: DeliveryLog };

type WithId = { Params: { id: string } };

const limitDefault = "20";
const path = "/v1/webhooks/deliveries";

export function registerDeliveries(app: FastifyInstance, deps: DeliveriesDeps): void {
  const options = { onRequest: [deps.auth.identify, deps.auth.limit] };
  app.get(path, options, (request) => list(deps, request));
  app.get<WithId>(`${path}/:id`, options, (request, reply) => show(deps, request, reply));
  app.post<WithId>(`${path}/:id/redeliver`, options, (request) => redeliver(deps, request));
  app.post(`${path}/redeliver`, options, (request) => redeliverFailed(deps, request));
}

async function list(deps: DeliveriesDeps, request: FastifyRequest): Promise<DeliveryListReply> {
  const query = parseQuery(deliveryListQuery, request.query);
  const { after = null, limit = limitDefault, status, webhook, task } = query;
  const createdAfter = findTime(query.created_after) ?? undefined;
  const createdBefore = findTime(query.created_before) ?? undefined;
  const { deliveries, hasMore } = await deps.deliveryLog.listDeliveries(
    callerOf(request),
    { status, endpointId: webhook, taskId: task, createdAfter, createdBefore },
    { after, limit: Number(limit) },
  );
  const last = deliveries.at(-1);
  return {
    code: 200,
    data: deliveries.map(presentDelivery),
    has_more: hasMore,
    ...(last === undefined ? {} : { last_id: last.id }),
  };
}

async function show(
  { deliveryLog }: DeliveriesDeps,
  request: FastifyRequest<WithId>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { id } = request.params;
  return sendDetail(reply, await deliveryLog.loadDelivery(callerOf(request), id));
}

async function redeliver(
  { deliveryLog }: DeliveriesDeps,
  request: FastifyRequest<WithId>,
): Promise<DeliveryReply> {
  const queued = await deliveryLog.redeliver(callerOf(request), request.params.id);
  return { code: 200, data: presentDelivery(queued) };
}

async function redeliverFailed(
  { deliveryLog, clock }: DeliveriesDeps,
  request: FastifyRequest,
): Promise<RedeliverReply> {
  const range = parseFields(redeliverBody, parseBody(request));
  const { redelivered, hasMore } = await deliveryLog.redeliverFailed(callerOf(request), {
    createdAfter: range.created_after * secondMs,
    createdBefore:
      range.created_before === undefined ? clock.now() : range.created_before * secondMs,
    endpointId: range.webhook,
  });
  return { code: 200, data: { redelivered, has_more: hasMore } };
}

/** The body is shown as it is sent: its text goes out as it is kept. */
function sendDetail(
  reply: FastifyReply,
  { delivery, tries, body }: Awaited<ReturnType<DeliveryLog["loadDelivery"]>>,
): FastifyReply {
  const shown = JSON.stringify({ ...presentDelivery(delivery), log: tries.map(presentTry) });
  return reply
    .header("content-type", "application/json; charset=utf-8")
    .send(`{"code":200,"data":${shown.slice(0, -1)},"body":${body}}}`);
}

export function presentDelivery(row: DeliveryRow): Delivery {
  const isWaiting = row.state === "pending" && row.lease === null;
  return {
    id: row.id,
    event_id: row.event_id,
    event: row.type,
    ...(row.task_id === null ? {} : { task_id: row.task_id }),
    ...(row.endpoint_id === null ? {} : { webhook_id: row.endpoint_id }),
    url: row.url,
    status: row.state,
    tries: row.tries,
    created: toUnixSeconds(row.created_at),
    ...(isWaiting ? { next_try: toUnixSeconds(row.due_at) } : {}),
    ...(row.ended_at === null ? {} : { ended: toUnixSeconds(row.ended_at) }),
    ...(row.last_status === null ? {} : { last_status: row.last_status }),
    ...(row.last_error === null ? {} : { last_error: row.last_error }),
  };
}

function presentTry(row: TryRow): DeliveryTry {
  return {
    number: row.number,
    started: toUnixSeconds(row.started_at),
    duration_ms: row.duration_ms,
    ...(row.status === null ? {} : { status: row.status }),
    ...(row.error === null ? {} : { error: row.error }),
    ...(row.response === null ? {} : { response: row.response }),
  };
}
