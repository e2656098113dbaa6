import type { FastifyInstance, FastifyRequest } from "fastify";

import type { Task } from "../../../client/src/tasks.ts";
import type {
  DeliveryReply,
  Webhook,
  WebhookDeletedReply,
  WebhookListReply,
  WebhookReply,
  WebhookSecret,
  WebhookSecretReply,
  WebhookWithSecretReply,
} from "../../../client/src/webhooks.ts";
import type { Clock } from "../lib/time.ts";
import { toUnixSeconds } from "../lib/time.ts";
import type { Owner } from "../webhooks/endpoint-store.ts";
import type { Endpoint, Endpoints, NewEndpoint } from "../webhooks/endpoints.ts";
import type { SigningSecret } from "../webhooks/secrets.ts";
import type { Auth } from "./auth.ts";
import { presentDelivery } from "./deliveries.ts";
import { parseBody } from "./json-body.ts";
import { callerOf } from "./request.ts";
import { parseFields, webhookCreateBody, webhookUpdateBody } from "./webhook-schemas.ts";

export type WebhooksDeps = {
  auth: Auth;
  clock: Clock;
  endpoints: Endpoints;
  /** The secret for addresses that submits name; made when it is first asked for. */
  loadAccountSecret(owner: Owner): Promise<SigningSecret>;
  rotateAccountSecret(owner: Owner): Promise<SigningSecret>;
};

type WithId = { Params: { id: string } };
type Request = FastifyRequest;
type RequestWithId = FastifyRequest<WithId>;

/** Endpoints belong to the account and the mode of the key, as tasks do. */
export function registerWebhooks(app: FastifyInstance, deps: WebhooksDeps): void {
  const options = { onRequest: [deps.auth.identify, deps.auth.limit] };
  const one = "/v1/webhooks/:id";
  app.get("/v1/webhooks", options, (request) => list(deps, request));
  app.post("/v1/webhooks", options, (request) => create(deps, request));
  app.get<WithId>(one, options, (request) => show(deps, request));
  app.patch<WithId>(one, options, (request) => update(deps, request));
  app.delete<WithId>(one, options, (request) => remove(deps, request));
  app.post<WithId>(`${one}/secret`, options, (request) => rotate(deps, request));
  app.post<WithId>(`${one}/test`, options, (request) => sendTest(deps, request));
  app.get("/v1/webhooks/secret", options, (request) => showSecret(deps, request));
  app.post("/v1/webhooks/secret", options, (request) => rotateSecret(deps, request));
}

async function list({ endpoints }: WebhooksDeps, request: Request): Promise<WebhookListReply> {
  const found = await endpoints.listEndpoints(ownerOf(request));
  return { code: 200, data: found.map(presentEndpoint) };
}

async function create(deps: WebhooksDeps, request: Request): Promise<WebhookWithSecretReply> {
  const settings = parseFields(webhookCreateBody, parseBody(request));
  return presentNew(await deps.endpoints.createEndpoint(ownerOf(request), settings));
}

async function show({ endpoints }: WebhooksDeps, request: RequestWithId): Promise<WebhookReply> {
  const found = await endpoints.loadEndpoint(ownerOf(request), request.params.id);
  return { code: 200, data: presentEndpoint(found) };
}

async function update({ endpoints }: WebhooksDeps, request: RequestWithId): Promise<WebhookReply> {
  const change = parseFields(webhookUpdateBody, parseBody(request));
  const changed = await endpoints.updateEndpoint(ownerOf(request), request.params.id, change);
  return { code: 200, data: presentEndpoint(changed) };
}

async function remove(deps: WebhooksDeps, request: RequestWithId): Promise<WebhookDeletedReply> {
  const { id } = request.params;
  await deps.endpoints.deleteEndpoint(ownerOf(request), id);
  return { code: 200, data: { id, deleted: true } };
}

async function rotate(deps: WebhooksDeps, request: RequestWithId): Promise<WebhookWithSecretReply> {
  return presentNew(await deps.endpoints.rotateSecret(ownerOf(request), request.params.id));
}

async function sendTest(deps: WebhooksDeps, request: RequestWithId): Promise<DeliveryReply> {
  const body = JSON.stringify(createTestTask(deps.clock));
  const sent = await deps.endpoints.testEndpoint(ownerOf(request), request.params.id, body);
  return { code: 200, data: presentDelivery(sent) };
}

async function showSecret(deps: WebhooksDeps, request: Request): Promise<WebhookSecretReply> {
  return presentSecret(await deps.loadAccountSecret(ownerOf(request)));
}

async function rotateSecret(deps: WebhooksDeps, request: Request): Promise<WebhookSecretReply> {
  return presentSecret(await deps.rotateAccountSecret(ownerOf(request)));
}

function ownerOf(request: FastifyRequest): Owner {
  const { accountId, mode } = callerOf(request);
  return { accountId, mode };
}

/** A task that never was, in the form of every other body; its id belongs to nobody. */
function createTestTask(clock: Clock): Task {
  const now = toUnixSeconds(clock.now());
  return {
    id: `task_${"0".repeat(26)}`,
    status: "completed",
    progress: 100,
    model: "webhook-test",
    cost: 0,
    credits_cost: 0,
    created: now,
    completed: now,
    estimated_time: 0,
    actual_time: 0,
    result: { images: [] },
    test: true,
  };
}

function presentEndpoint(endpoint: Endpoint): Webhook {
  const { description, disabled, failingSince, previousSecretUntil } = endpoint;
  return {
    id: endpoint.id,
    url: endpoint.url,
    events: endpoint.events,
    ...(description === null ? {} : { description }),
    enabled: disabled === null,
    ...(disabled === null
      ? {}
      : { disabled_reason: disabled.reason, disabled_at: toUnixSeconds(disabled.at) }),
    ...(failingSince === null ? {} : { failing_since: toUnixSeconds(failingSince) }),
    created: toUnixSeconds(endpoint.createdAt),
    ...(previousSecretUntil === null
      ? {}
      : { previous_secret_expires_at: toUnixSeconds(previousSecretUntil) }),
    ...(endpoint.mode === "test" ? { test: true as const } : {}),
  };
}

function presentNew(endpoint: NewEndpoint): WebhookWithSecretReply {
  return { code: 200, data: { ...presentEndpoint(endpoint), secret: endpoint.secret } };
}

function presentSecret({ secret, previous }: SigningSecret): WebhookSecretReply {
  const data: WebhookSecret = {
    secret,
    ...(previous === null
      ? {}
      : {
          previous_secret: previous.secret,
          previous_secret_expires_at: toUnixSeconds(previous.until),
        }),
  };
  return { code: 200, data };
}
