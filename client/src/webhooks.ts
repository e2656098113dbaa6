/** The wire types of `/v1/webhooks`. Times are unix seconds. */
import type { Task } from "./tasks.ts";

export type WebhookEvent = "task.completed" | "task.failed" | "task.cancelled";

/** `POST /v1/webhooks`. */
export type WebhookCreateBody = {
  /** Called exactly as it is given: nothing is added to it. */
  url: string;
  /** Without it: completed and failed. */
  events?: readonly WebhookEvent[] | undefined;
  description?: string | undefined;
};

/** `PATCH /v1/webhooks/{id}`: what is left out stays. */
export type WebhookUpdateBody = {
  url?: string | undefined;
  events?: readonly WebhookEvent[] | undefined;
  description?: string | undefined;
  enabled?: boolean | undefined;
};

/** A registered endpoint. */
export type Webhook = {
  id: string;
  url: string;
  events: readonly WebhookEvent[];
  description?: string;
  enabled: boolean;
  /** `owner`: by a request. `gone`: it answered 410. `failing`: days of nothing but failure. */
  disabled_reason?: "owner" | "gone" | "failing";
  disabled_at?: number;
  /** Since when every try has failed. */
  failing_since?: number;
  created: number;
  /** Until when the secret before the last rotation signs too. */
  previous_secret_expires_at?: number;
  /** Belongs to test keys: it is told of test tasks only. */
  test?: true;
};

/** The secret is shown when it is made, and never again. */
export type WebhookWithSecret = Webhook & { secret: string };

export type WebhookReply = { code: 200; data: Webhook };
export type WebhookWithSecretReply = { code: 200; data: WebhookWithSecret };
export type WebhookListReply = { code: 200; data: readonly Webhook[] };
export type WebhookDeletedReply = { code: 200; data: { id: string; deleted: true } };

/** `GET` and `POST /v1/webhooks/secret`: what signs for addresses that submits name. */
export type WebhookSecret = {
  /** `whsec_` and base64. */
  secret: string;
  /** After a rotation: still signs, until the time beside it. */
  previous_secret?: string;
  previous_secret_expires_at?: number;
};

export type WebhookSecretReply = { code: 200; data: WebhookSecret };

export type DeliveryStatus = "pending" | "delivered" | "failed";

export type Delivery = {
  id: string;
  /** The header `webhook-id`: the same at every try, and for every address. */
  event_id: string;
  event: WebhookEvent | "test";
  task_id?: string;
  /** The registered endpoint; absent for an address that a submit named. */
  webhook_id?: string;
  url: string;
  status: DeliveryStatus;
  tries: number;
  created: number;
  /** When the next try is due; absent while one is under way. */
  next_try?: number;
  ended?: number;
  /** HTTP status of the last reply, or why there was none. */
  last_status?: number;
  last_error?: string;
};

export type DeliveryTry = {
  number: number;
  started: number;
  duration_ms: number;
  status?: number;
  error?: string;
  /** The first kilobyte of the reply. */
  response?: string;
};

export type DeliveryDetail = Delivery & { log: readonly DeliveryTry[]; body: Task };

/** `GET /v1/webhooks/deliveries`; times are unix seconds or RFC 3339, the first inclusive, the second not. */
export type DeliveryListQuery = {
  limit?: string | undefined;
  /** The `last_id` of the page before. */
  after?: string | undefined;
  status?: DeliveryStatus | undefined;
  webhook?: string | undefined;
  task?: string | undefined;
  created_after?: string | undefined;
  created_before?: string | undefined;
};

export type DeliveryReply = { code: 200; data: Delivery };
export type DeliveryDetailReply = { code: 200; data: DeliveryDetail };
export type DeliveryListReply = {
  code: 200;
  data: readonly Delivery[];
  has_more: boolean;
  last_id?: string;
};

/** `POST /v1/webhooks/deliveries/redeliver`: every failed delivery made in `created_after ≤ t < created_before`. */
export type RedeliverBody = {
  created_after: number;
  created_before?: number | undefined;
  webhook?: string | undefined;
};

export type RedeliverReply = {
  code: 200;
  /** `has_more`: more than one request takes; send it again. */
  data: { redelivered: number; has_more: boolean };
};
