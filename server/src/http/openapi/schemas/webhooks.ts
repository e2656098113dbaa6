import { z } from "zod";

import type {
  Delivery,
  DeliveryDetailReply,
  DeliveryListReply,
  DeliveryReply,
  RedeliverReply,
  Webhook,
  WebhookDeletedReply,
  WebhookListReply,
  WebhookReply,
  WebhookSecretReply,
  WebhookWithSecretReply,
} from "../../../../../client/src/webhooks.ts";
import { eventTypes } from "../../../webhooks/event-types.ts";
import { redeliverBody, webhookCreateBody, webhookUpdateBody } from "../../webhook-schemas.ts";
import type { Agrees, AllTrue } from "../operation.ts";
import { task } from "./tasks.ts";

const code = z.literal(200);
const unixSeconds = z.number().int().nonnegative();
const event = z.enum(eventTypes);

const webhook = z.object({
  id: z.string(),
  url: z.string(),
  events: z.array(event),
  description: z.string().exactOptional(),
  enabled: z.boolean(),
  disabled_reason: z
    .enum(["owner", "gone", "failing"])
    .exactOptional()
    .describe("`owner`: by a request; `gone`: it answered 410; `failing`: days of nothing else."),
  disabled_at: unixSeconds.exactOptional(),
  failing_since: unixSeconds.exactOptional(),
  created: unixSeconds,
  previous_secret_expires_at: unixSeconds.exactOptional(),
  test: z.literal(true).exactOptional().describe("Belongs to test keys."),
});

const secret = z.string().describe("`whsec_` and base64, as Standard Webhooks writes it.");

const webhookReply = z.object({ code, data: webhook });
const webhookWithSecret = z.object({ code, data: webhook.extend({ secret }) });
const webhookList = z.object({ code, data: z.array(webhook) });
const webhookDeleted = z.object({
  code,
  data: z.object({ id: z.string(), deleted: z.literal(true) }),
});
const webhookSecret = z.object({
  code,
  data: z.object({
    secret,
    previous_secret: z.string().exactOptional().describe("Signs too, until the time beside it."),
    previous_secret_expires_at: unixSeconds.exactOptional(),
  }),
});

const delivery = z.object({
  id: z.string(),
  event_id: z.string().describe("The header `webhook-id`."),
  event: z.enum([...eventTypes, "test"]),
  task_id: z.string().exactOptional(),
  webhook_id: z.string().exactOptional(),
  url: z.string(),
  status: z.enum(["pending", "delivered", "failed"]),
  tries: z.number().int().nonnegative(),
  created: unixSeconds,
  next_try: unixSeconds.exactOptional(),
  ended: unixSeconds.exactOptional(),
  last_status: z.number().int().exactOptional(),
  last_error: z.string().exactOptional(),
});

const deliveryTry = z.object({
  number: z.number().int(),
  started: unixSeconds,
  duration_ms: z.number(),
  status: z.number().int().exactOptional(),
  error: z.string().exactOptional(),
  response: z.string().exactOptional().describe("The first kilobyte of the reply."),
});

const deliveryReply = z.object({ code, data: delivery });
const deliveryDetail = z.object({
  code,
  data: delivery.extend({ log: z.array(deliveryTry), body: task }),
});
const deliveryList = z.object({
  code,
  data: z.array(delivery),
  has_more: z.boolean(),
  last_id: z.string().exactOptional(),
});
const redelivered = z.object({
  code,
  data: z.object({ redelivered: z.number().int(), has_more: z.boolean() }),
});

export const webhookSchemas = {
  WebhookCreateBody: webhookCreateBody,
  WebhookUpdateBody: webhookUpdateBody,
  Webhook: webhook,
  WebhookReply: webhookReply,
  WebhookWithSecretReply: webhookWithSecret,
  WebhookListReply: webhookList,
  WebhookDeletedReply: webhookDeleted,
  WebhookSecretReply: webhookSecret,
  Delivery: delivery,
  DeliveryTry: deliveryTry,
  DeliveryReply: deliveryReply,
  DeliveryDetailReply: deliveryDetail,
  DeliveryListReply: deliveryList,
  RedeliverBody: redeliverBody,
  RedeliverReply: redelivered,
};

export type WebhookSchemasAgree = AllTrue<
  [
    Agrees<typeof webhook, Webhook>,
    Agrees<typeof webhookReply, WebhookReply>,
    Agrees<typeof webhookWithSecret, WebhookWithSecretReply>,
    Agrees<typeof webhookList, WebhookListReply>,
    Agrees<typeof webhookDeleted, WebhookDeletedReply>,
    Agrees<typeof webhookSecret, WebhookSecretReply>,
    Agrees<typeof delivery, Delivery>,
    Agrees<typeof deliveryReply, DeliveryReply>,
    Agrees<typeof deliveryDetail, DeliveryDetailReply>,
    Agrees<typeof deliveryList, DeliveryListReply>,
    Agrees<typeof redelivered, RedeliverReply>,
  ]
>;
