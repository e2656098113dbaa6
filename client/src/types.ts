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
  | "invalid_image"
  | "image_too_large"
  | "invalid_mask"
  | "insufficient_balance"
  | "spend_cap_reached"
  | "price_not_set"
  | "idempotency_key_reused"
  | "idempotency_in_progress"
  | "idempotency_unavailable"
  | "rate_limited"
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
