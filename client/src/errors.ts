/** The wire types of refusals, and of the contract they are told in. */

/** Value of the header `X-APIMart-Response-Version` that asks for the versioned contract. */
export type ResponseVersion = "2026-07-27";

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
