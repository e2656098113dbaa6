/**
 * The wire types of the Darkroom API: what goes over HTTP, and nothing of how it is made. Times are
 * unix seconds, money is USD (or credits, ten to the USD), and a field that does not apply is absent.
 */

/** Value of the header `X-APIMart-Response-Version` that asks for the versioned contract. */
export type ResponseVersion = "2026-07-27";

// Errors

/** Why a request was refused: the closed vocabulary of `error.reason`. */
export type ErrorReason =
  | "invalid_json"
  | "invalid_body"
  | "invalid_parameter"
  | "missing_parameter"
  | "unsupported_parameter"
  | "invalid_header"
  | "unsupported_media_type"
  | "body_too_large"
  | "request_timeout"
  | "method_not_allowed"
  | "route_not_found"
  | "unsupported_response_version"
  | "invalid_api_key"
  | "model_not_allowed"
  | "ip_not_allowed"
  | "model_not_found"
  | "task_not_found"
  | "upload_not_found"
  | "file_not_found"
  | "file_expired"
  | "task_already_ended"
  | "webhook_not_found"
  | "webhook_limit_reached"
  | "delivery_not_found"
  | "invalid_image"
  | "image_too_large"
  | "invalid_mask"
  | "insufficient_balance"
  | "spend_cap_reached"
  | "price_not_set"
  | "invalid_start"
  | "invalid_end"
  | "invalid_range"
  | "range_too_large"
  | "invalid_tz"
  | "invalid_group_by"
  | "invalid_scope"
  | "too_many_models"
  | "usage_unavailable"
  | "idempotency_key_reused"
  | "idempotency_in_progress"
  | "idempotency_unavailable"
  | "rate_limited"
  | "task_limit_reached"
  | "daily_spend_reached"
  | "no_channel"
  | "overloaded"
  | "unavailable"
  | "internal_error";

export type ErrorType =
  | "invalid_request_error"
  | "authentication_error"
  | "payment_required"
  | "permission_error"
  | "not_found"
  | "conflict"
  | "gone"
  | "rate_limit_error"
  | "server_error"
  | "service_unavailable";

/** Body of every reply that refuses a request. */
export type ErrorReply = {
  error: {
    /** The HTTP status; under the versioned contract the reason. */
    code: number | ErrorReason;
    message: string;
    type: ErrorType;
    /** The field or header at fault. */
    param?: string;
    reason: ErrorReason;
  };
  request_id: string;
};

// Submit: POST /v1/images/generations

/** Fields that most models take; what each model accepts is in `GET /v1/models/{id}/schema`. */
export type SubmitBody = {
  model: string;
  prompt: string;
  size?: string;
  resolution?: string;
  quality?: string;
  n?: number;
  image_urls?: string[];
  mask_url?: string;
  official_fallback?: boolean;
  /** Base address; the finished task is posted to this address + `/callback`. */
  webhook?: string;
  /** Language of the error text that is sent to the webhook. */
  language?: string;
  [field: string]: unknown;
};

/** A parameter that was treated as the model's contract says rather than as it was written. */
export type Warning = {
  param: string;
  code: "ignored" | "clamped" | "lowered";
  message: string;
};

/** HTTP 200. */
export type SubmitReply = {
  code: 200;
  data: [{ status: "submitted"; task_id: string }];
  warnings?: readonly Warning[];
};

/** HTTP 202, under the versioned contract. */
export type VersionedSubmitReply = {
  code: 202;
  request_id: string;
  data: { object: "generation.task"; id: string; status: "submitted"; poll_url: string };
  warnings?: readonly Warning[];
};

/** HTTP 200, under the versioned contract, to a submit with `Prefer: wait` whose task ended in time. */
export type VersionedResultReply = {
  code: 200;
  request_id: string;
  data: { object: "generation.result" } & Task;
};

// Tasks: GET /v1/tasks/{id}, POST /v1/tasks/{id}/cancel

export type TaskStatus = "pending" | "processing" | "completed" | "failed" | "cancelled";

export type TaskErrorCode =
  | "content_policy_violation"
  | "invalid_reference_image"
  | "invalid_mask"
  | "provider_rejected"
  | "provider_unavailable"
  | "generation_timeout"
  | "no_image"
  | "outcome_unknown"
  | "cancelled"
  | "internal_error";

export type TaskError = {
  code: TaskErrorCode;
  type: string;
  /** In the language asked for. */
  message: string;
  param?: string;
};

export type TaskImage = {
  /** Which of the n pictures this is; present when some of them failed. */
  index?: number;
  /** Links that work until `expires_at`. */
  url: string[];
  expires_at: number;
  width: number;
  height: number;
  bytes: number;
  content_type: string;
};

/** What became of a picture that was not delivered. */
export type TaskImageError = { index: number; code: TaskErrorCode; message: string };

export type TaskResult = {
  images: TaskImage[];
  errors?: TaskImageError[];
};

/** Tokens, for models billed by them. */
export type TaskUsage = {
  input_tokens: number;
  output_tokens: number;
  total_tokens: number;
  input_tokens_details?: { text_tokens?: number; image_tokens?: number; cached_tokens?: number };
  output_tokens_details?: { text_tokens?: number; image_tokens?: number };
};

export type Task = {
  id: string;
  status: TaskStatus;
  /** 0 to 100; 100 on every final status. */
  progress: number;
  model: string;
  /** The hold while the task runs, then what was charged. */
  cost: number;
  credits_cost: number;
  created: number;
  completed?: number;
  /** Seconds that such a task usually takes. */
  estimated_time: number;
  /** Seconds from `created` to `completed`. */
  actual_time?: number;
  result?: TaskResult;
  usage?: TaskUsage;
  error?: TaskError;
  warnings?: readonly Warning[];
  /** Made with a test key: the cost is play money. */
  test?: true;
  cancel_requested?: true;
};

export type TaskQuery = {
  /** Language of error texts: en zh ja ko ru fr de id pt es; anything else reads as en. */
  language?: string | undefined;
};

/** HTTP 200, also for a failed task. */
export type TaskReply = { code: 200; data: Task };

/** `GET /v1/tasks`: newest first. */
export type TaskListQuery = {
  /** 1 to 100; 20 without it. */
  limit?: string | undefined;
  /** The `last_id` of the page before. */
  after?: string | undefined;
  status?: TaskStatus | undefined;
  model?: string | undefined;
  /** Id of the key that submitted it. */
  key?: string | undefined;
  /** Unix seconds or RFC 3339; `created_after ≤ created < created_before`. */
  created_after?: string | undefined;
  created_before?: string | undefined;
  language?: string | undefined;
};

export type TaskListReply = {
  code: 200;
  data: readonly Task[];
  /** A page may be shorter than `limit`, even empty, while there is more. */
  has_more: boolean;
  /** What `after` takes for the next page; absent when there was nothing to look through. */
  last_id?: string;
};

/** `POST /v1/tasks/batch`. */
export type TaskBatchBody = {
  /** At most 100. */
  task_ids: readonly string[];
  language?: string | undefined;
};

/** In the asked order: the task, or why there is none. */
export type TaskBatchReply = {
  code: 200;
  data: readonly (Task | { id: string; error: ErrorReply["error"] })[];
};

/** 200: cancelled, free of charge. 202: what the vendor already has runs on; nothing further starts. */
export type CancelReply = { code: 200 | 202; data: Task };

// Models: GET /v1/models, /v1/models/{id}, /v1/models/{id}/schema, /v1/model-schema

export type JsonSchema = { [keyword: string]: unknown };

export type ModelListQuery = {
  /** Comma list of `parameters` and `pricing`. */
  expand?: string | undefined;
};

export type ModelSchemaQuery = {
  model: string;
  operation?: "image_generation" | undefined;
};

export type ModelDocsQuery = { model: string };

export type ModelParameters = {
  method: "POST";
  endpoint: "/v1/images/generations";
  operation: "image_generation";
  input_schema: JsonSchema;
};

export type ModelPricing = {
  currency: "USD";
  /** How the price is found, in words. */
  billing: string;
  /** Prices as the caller pays them; null where nobody has set one. */
  rows: readonly { row: string; tier: string; unit: string; price: number | null }[];
};

/** One entry of the list. */
export type Model = {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
  supported_endpoint_types: readonly string[];
  parameters?: ModelParameters;
  pricing?: ModelPricing;
};

/** `GET /v1/models/{id}`. */
export type ModelDetail = Model & {
  description: string;
  modes: readonly string[];
  image_to_image: boolean;
  inpainting: boolean;
  /** Largest `n`. */
  max_images: number;
  max_references: number;
  billing: string;
  estimated_time: number;
  notes: readonly string[];
  parameters: ModelParameters;
  pricing: ModelPricing;
};

export type ModelListReply = { success: true; object: "list"; data: readonly Model[] };

export type ModelSchemaReply = {
  object: "model.input_schema";
  model: string;
  operation: "image_generation";
  endpoint: { method: "POST"; path: "/v1/images/generations" };
  schema_version: string;
  source: string;
  idempotency: {
    header: "Idempotency-Key";
    replay_header: "Idempotency-Replayed";
    required: false;
    retention_seconds: number;
    scope: string;
  };
  response_contract: { header: "X-APIMart-Response-Version"; version: ResponseVersion };
  input_schema: JsonSchema;
};

/** `GET /v1/model-docs`: the page of one model. */
export type ModelDocsReply = {
  object: "model.documentation";
  model: string;
  doc_url: string;
  markdown_url: string;
  markdown: string;
  /** When the page was written: now, for it is made from the catalogue in force. */
  fetched_at: number;
  cache_ttl_seconds: number;
  /** Always false: nothing is fetched that could be out of date. */
  stale: boolean;
};

// Prices for everybody: GET /api/pricing/model, /api/marketplace/models

export type PublicPriceQuery = { model: string };

/** List prices in force, in USD, before an account's own ratio; null where nobody has set one. */
export type PublicPrice = {
  model_name: string;
  billing_type: "per_image" | "token";
  /** One picture with every parameter at its default; for models billed by token an estimate. */
  model_price: number | null;
  /** Always 1: prices are what is charged. */
  discount_rate: number;
  resolution_enabled: boolean;
  supported_sizes: readonly string[];
  supported_qualities: readonly string[];
  /** By size, then by quality. */
  size_quality_prices: { [size: string]: { [quality: string]: number | null } };
  resolution_prices: { [resolution: string]: number | null };
  /** What an official channel charges, by the same keys joined with `/`; with `official_fallback` only. */
  official_prices?: { [row: string]: number | null };
  /** What each reference adds to every picture. */
  reference_price?: number | null;
  /** USD a million tokens. */
  token_prices?: { [kind: string]: number | null };
};

export type PublicPriceReply = { success: true; data: PublicPrice };

export type MarketplaceQuery = {
  /** From 1. */
  page?: string | undefined;
  /** 1 to 100; 20 without it. */
  page_size?: string | undefined;
};

export type MarketplaceModel = {
  id: string;
  model_name: string;
  display_name: string;
  description: string;
  media_type: "image";
  detail_url: string;
  tags: readonly string[];
  vendor: { id: string; name: string; icon: string };
  pricing: {
    /** The cheapest picture; for models billed by token an estimate. */
    starting_price: number | null;
    discount_rate: number;
    credits_per_generation: number | null;
    billing_type: "per_image" | "token";
    price_unit: "image" | "million_tokens";
    has_price: boolean;
    /** USD a million tokens of input and of picture. */
    input_price?: number | null;
    output_price?: number | null;
  };
  /** Always 0: how much a model is used is nobody else's business. */
  call_count: number;
  discount_percent: number;
};

export type MarketplaceReply = {
  success: true;
  data: {
    total: number;
    page: number;
    page_size: number;
    models: readonly MarketplaceModel[];
  };
};

// Estimate: POST /v1/images/estimate, with the body of a submit

/** What a submit would hold and probably cost, in USD; nothing is made. */
export type EstimateReply = {
  code: 200;
  data: {
    model: string;
    currency: "USD";
    hold: number;
    likely: number;
    warnings: readonly Warning[];
  };
};

// Money: GET /v1/balance (the key), GET /v1/user/balance (the account)

export type BalanceReply = {
  success: true;
  /** Spendable now, holds deducted; −1 for a key without a spend cap. */
  remain_balance: number;
  remain_credits: number;
  /** Captured so far. */
  used_balance: number;
  used_credits: number;
  unlimited_quota: boolean;
};

// Webhooks: /v1/webhooks

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

// Usage: GET /v1/usage

export type UsageQuery = {
  /** Unix seconds or RFC 3339, inclusive; a day before `end` without it. */
  start?: string | undefined;
  /** Exclusive; now without it. At most 31 days after `start`. */
  end?: string | undefined;
  /** Comma list of at most 50 model ids, in any letter case. */
  model?: string | undefined;
  group_by?: "none" | "model" | "date" | "model,date" | undefined;
  /** Time zone of the dates, as IANA names it. */
  tz?: string | undefined;
  /** Of the calling key, or of all keys of the account in its mode. */
  scope?: "key" | "account" | undefined;
};

export type UsageFigures = {
  amount_usd: number;
  credits: number;
  /** Tasks that delivered at least one picture. */
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
};

export type UsageItem = UsageFigures & {
  model?: string;
  /** `2026-09-01`, in the report's time zone. */
  date?: string;
};

export type UsageReply = {
  success: true;
  data: {
    start: number;
    end: number;
    tz: string;
    scope: "key" | "account";
    group_by: "none" | "model" | "date" | "model,date";
    total: UsageFigures;
    items: readonly UsageItem[];
  };
};

// Uploads: POST /v1/uploads/images

export type UploadReply = {
  url: string;
  filename: string;
  content_type: string;
  bytes: number;
  created_at: number;
};

// Operations: GET /healthz, GET /readyz

export type HealthReply = { status: "ok" };

export type ReadinessReply = {
  status: "ready" | "unavailable";
  checks: { [name: string]: "ok" | "failed" };
};
