/**
 * How an error becomes a reply. This is the only file that knows status numbers, and it does not
 * compile while a reason has none. `docs/errors.md` says the same to people; a test compares the two.
 */
import type { ErrorReason, ErrorReply, ErrorType } from "../../../client/src/errors.ts";
import type { AppError, Reason } from "../lib/errors.ts";
import type { ResponseContract } from "./headers.ts";

type Status = 400 | 401 | 402 | 403 | 404 | 405 | 408 | 409 | 410 | 413 | 415 | 429 | 500 | 503;

const statuses = {
  invalid_json: 400,
  invalid_body: 400,
  invalid_parameter: 400,
  missing_parameter: 400,
  unsupported_parameter: 400,
  invalid_header: 400,
  unsupported_media_type: 415,
  body_too_large: 413,
  request_timeout: 408,
  method_not_allowed: 405,
  route_not_found: 404,
  unsupported_response_version: 400,
  invalid_api_key: 401,
  model_not_allowed: 403,
  ip_not_allowed: 403,
  model_not_found: 404,
  task_not_found: 404,
  upload_not_found: 404,
  file_not_found: 404,
  file_expired: 410,
  task_already_ended: 409,
  webhook_not_found: 404,
  webhook_limit_reached: 409,
  delivery_not_found: 404,
  invalid_image: 400,
  image_too_large: 413,
  invalid_mask: 400,
  insufficient_balance: 402,
  spend_cap_reached: 402,
  // Only the operator can set a price, and then the same request succeeds.
  price_not_set: 503,
  invalid_start: 400,
  invalid_end: 400,
  invalid_range: 400,
  range_too_large: 400,
  invalid_tz: 400,
  invalid_group_by: 400,
  invalid_scope: 400,
  too_many_models: 400,
  usage_unavailable: 503,
  idempotency_key_reused: 409,
  idempotency_in_progress: 409,
  idempotency_unavailable: 503,
  rate_limited: 429,
  task_limit_reached: 429,
  daily_spend_reached: 429,
  no_channel: 503,
  overloaded: 503,
  unavailable: 503,
  internal_error: 500,
} as const satisfies Record<Reason, Status> & Record<ErrorReason, Status>;

const types: Record<Status, ErrorType> = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "payment_required",
  403: "permission_error",
  404: "not_found",
  405: "invalid_request_error",
  408: "invalid_request_error",
  409: "conflict",
  410: "gone",
  413: "invalid_request_error",
  415: "invalid_request_error",
  429: "rate_limit_error",
  500: "server_error",
  503: "service_unavailable",
};

/** Sent as `Retry-After` where the error itself does not say when to come back. */
const retryAfterSeconds: Partial<Record<Reason, number>> = {
  idempotency_in_progress: 1,
  idempotency_unavailable: 2,
  rate_limited: 1,
  task_limit_reached: 1,
  daily_spend_reached: 60,
  usage_unavailable: 5,
  overloaded: 2,
  unavailable: 2,
};

/** A reply that refuses a request, ready to be written. */
export type ProblemReply = {
  status: number;
  headers: Record<string, string>;
  body: string;
};

export function statusOf(reason: Reason): number {
  return statuses[reason];
}

export function typeOf(reason: Reason): ErrorType {
  return types[statuses[reason]];
}

/** The reply for an error, in the contract the request asked for. */
export function renderProblem(
  error: AppError,
  requestId: string,
  contract: ResponseContract,
): ProblemReply {
  const status = statusOf(error.reason);
  const reply: ErrorReply = { error: presentError(error, contract), request_id: requestId };
  return { status, headers: problemHeaders(error), body: JSON.stringify(reply) };
}

/** The object `error` of a reply, in the contract the request asked for. */
export function presentError(error: AppError, contract: ResponseContract): ErrorReply["error"] {
  return {
    code: contract === "versioned" ? error.reason : statusOf(error.reason),
    message: error.message,
    type: typeOf(error.reason),
    ...(error.param === undefined ? {} : { param: error.param }),
    reason: error.reason,
  };
}

function problemHeaders(error: AppError): Record<string, string> {
  const headers: Record<string, string> = {
    "content-type": "application/json; charset=utf-8",
    "cache-control": "no-store",
  };
  const seconds = error.retryAfterSeconds ?? retryAfterSeconds[error.reason];
  if (seconds !== undefined) headers["retry-after"] = String(Math.max(1, Math.ceil(seconds)));
  // RFC 9110 section 15.5.2 wants the scheme named on every 401.
  if (error.reason === "invalid_api_key") headers["www-authenticate"] = "Bearer";
  return headers;
}
