/** The rows of webhooks/, in the terms of `schema.ts`. */
import type { Mode } from "./schema.ts";

/** What an endpoint can ask to be told of. */
export type WebhookEventType = "task.completed" | "task.failed" | "task.cancelled";

export type WebhookEndpointRow = {
  account_id: string;
  id: string;
  mode: Mode;
  url: string;
  description: string | null;
  /** `WebhookEventType` words, joined by spaces. */
  events: string;
  /** Sealed by the vault, as all secrets here. */
  secret: string;
  /** The secret before the last rotation, which signs too until `previous_until`. */
  previous_secret: string | null;
  previous_until: number | null;
  /** Tries that failed since the last one that did not, and when the first of them began. */
  failed_tries: number;
  failing_since: number | null;
  disabled_at: number | null;
  /** `gone`: it answered 410. `failing`: days of nothing but failure. */
  disabled_reason: "owner" | "gone" | "failing" | null;
  created_at: number;
};

/** What signs deliveries to the addresses that submits name. */
export type WebhookSecretRow = {
  account_id: string;
  mode: Mode;
  secret: string;
  previous_secret: string | null;
  previous_until: number | null;
  created_at: number;
};

/** The outbox: something that happened, with the body as it is to be sent. */
export type EventRow = {
  account_id: string;
  id: string;
  mode: Mode;
  type: WebhookEventType | "test";
  task_id: string | null;
  /** The base address that the submit named. */
  webhook: string | null;
  body: string;
  created_at: number;
  /** When its deliveries were made. */
  expanded_at: number | null;
};

export type DeliveryState = "pending" | "delivered" | "failed";

/** One event on its way to one address. */
export type DeliveryRow = {
  account_id: string;
  id: string;
  mode: Mode;
  event_id: string;
  type: EventRow["type"];
  task_id: string | null;
  /** Null for an address that a submit named. */
  endpoint_id: string | null;
  url: string;
  /** Scheme, host and port of the URL. */
  origin: string;
  state: DeliveryState;
  /** When the next try is due; while one is under way, when its lease ends. */
  due_at: number;
  /** Who is sending it now. */
  lease: string | null;
  /** Tries since it was last queued. */
  round: number;
  /** Tries altogether. */
  tries: number;
  last_status: number | null;
  last_error: string | null;
  created_at: number;
  /** When it is given up, however many tries are left. */
  expires_at: number;
  ended_at: number | null;
};

export type DeliveryTryRow = {
  account_id: string;
  delivery_id: string;
  number: number;
  started_at: number;
  duration_ms: number;
  /** Of the reply, when there was one. */
  status: number | null;
  error: string | null;
  /** How the reply began. */
  response: string | null;
};
