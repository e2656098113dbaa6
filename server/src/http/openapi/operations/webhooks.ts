import { deliveryListQuery } from "../../webhook-schemas.ts";
import type { Operation, Reply, Schema } from "../operation.ts";
import { webhookSchemas } from "../schemas/webhooks.ts";
import { strayBody } from "./tasks.ts";

const shared = { tag: "Webhooks", access: "key" } as const;
const webhookId = { description: "Id of the endpoint.", example: "whe_01K8SGYNNNVBQTXNR4MM964S7K" };
const deliveryId = {
  description: "Id of the delivery.",
  example: "dlv_01K8SGYNNNVBQTXNR4MM964S7K",
};
const one = { ...shared, pathParameters: { id: webhookId } };
const bodyReasons = ["missing_parameter", "invalid_parameter", "unsupported_parameter"] as const;

function answers(description: string, schema: Schema): Readonly<Record<number, Reply>> {
  return { 200: { description, content: { schema } } };
}

const endpointOperations: readonly Operation[] = [
  {
    ...shared,
    method: "get",
    path: "/v1/webhooks",
    id: "listWebhooks",
    summary: "List the registered endpoints",
    replies: answers("All endpoints of the account and mode.", webhookSchemas.WebhookListReply),
    reasons: [],
  },
  {
    ...shared,
    method: "post",
    path: "/v1/webhooks",
    id: "createWebhook",
    summary: "Register an endpoint",
    body: { schema: webhookSchemas.WebhookCreateBody },
    replies: answers(
      "The endpoint; its secret is shown here only.",
      webhookSchemas.WebhookWithSecretReply,
    ),
    reasons: [...bodyReasons, "webhook_limit_reached"],
  },
  {
    ...one,
    method: "get",
    path: "/v1/webhooks/{id}",
    id: "readWebhook",
    summary: "Read an endpoint",
    replies: answers("The endpoint.", webhookSchemas.WebhookReply),
    reasons: ["webhook_not_found"],
  },
  {
    ...one,
    method: "patch",
    path: "/v1/webhooks/{id}",
    id: "updateWebhook",
    summary: "Change an endpoint",
    body: { schema: webhookSchemas.WebhookUpdateBody },
    replies: answers("The endpoint as it is now.", webhookSchemas.WebhookReply),
    reasons: [...bodyReasons, "webhook_not_found"],
  },
  {
    ...one,
    method: "delete",
    path: "/v1/webhooks/{id}",
    id: "deleteWebhook",
    summary: "Remove an endpoint",
    replies: answers("It is gone.", webhookSchemas.WebhookDeletedReply),
    reasons: ["webhook_not_found", ...strayBody],
  },
  {
    ...one,
    method: "post",
    path: "/v1/webhooks/{id}/secret",
    id: "rotateWebhookSecret",
    summary: "Rotate an endpoint's secret",
    description: "The old secret signs too for 24 hours.",
    replies: answers(
      "The endpoint; its new secret is shown here only.",
      webhookSchemas.WebhookWithSecretReply,
    ),
    reasons: ["webhook_not_found", ...strayBody],
  },
  {
    ...one,
    method: "post",
    path: "/v1/webhooks/{id}/test",
    id: "testWebhook",
    summary: "Send a test event",
    replies: answers("The delivery, about to be sent.", webhookSchemas.DeliveryReply),
    reasons: ["webhook_not_found", ...strayBody],
  },
  {
    ...shared,
    method: "get",
    path: "/v1/webhooks/secret",
    id: "readWebhookSecret",
    summary: "Read the secret for addresses that submits name",
    replies: answers("The secret.", webhookSchemas.WebhookSecretReply),
    reasons: [],
  },
  {
    ...shared,
    method: "post",
    path: "/v1/webhooks/secret",
    id: "rotateAccountSecret",
    summary: "Rotate the secret for addresses that submits name",
    replies: answers("The new secret, and the old one.", webhookSchemas.WebhookSecretReply),
    reasons: [...strayBody],
  },
];

const deliveryOperations: readonly Operation[] = [
  {
    ...shared,
    method: "get",
    path: "/v1/webhooks/deliveries",
    id: "listDeliveries",
    summary: "List deliveries, newest first",
    query: deliveryListQuery,
    replies: answers("A page of deliveries.", webhookSchemas.DeliveryListReply),
    reasons: ["invalid_parameter"],
  },
  {
    ...shared,
    method: "get",
    path: "/v1/webhooks/deliveries/{id}",
    id: "readDelivery",
    summary: "Read a delivery with its tries",
    pathParameters: { id: deliveryId },
    replies: answers("The delivery and its log.", webhookSchemas.DeliveryDetailReply),
    reasons: ["delivery_not_found"],
  },
  {
    ...shared,
    method: "post",
    path: "/v1/webhooks/deliveries/{id}/redeliver",
    id: "redeliver",
    summary: "Deliver again",
    pathParameters: { id: deliveryId },
    replies: answers("The delivery, about to be sent.", webhookSchemas.DeliveryReply),
    reasons: ["delivery_not_found", "webhook_not_found", ...strayBody],
  },
  {
    ...shared,
    method: "post",
    path: "/v1/webhooks/deliveries/redeliver",
    id: "redeliverFailed",
    summary: "Deliver everything that failed in a range again",
    body: { schema: webhookSchemas.RedeliverBody },
    replies: answers("How many.", webhookSchemas.RedeliverReply),
    reasons: [...bodyReasons, "webhook_not_found"],
  },
];

export const webhookOperations: readonly Operation[] = [
  ...endpointOperations,
  ...deliveryOperations,
];
