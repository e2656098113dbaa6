/**
 * Every refusal the caller can be told, by reason. Nothing below `http/` knows a status number:
 * `http/problem.ts` maps each reason to one, and does not compile while a reason is missing there.
 */
export const reasons = [
  // the request itself
  "invalid_json",
  "invalid_body",
  "invalid_parameter",
  "missing_parameter",
  "unsupported_parameter",
  "invalid_header",
  "unsupported_media_type",
  "body_too_large",
  "request_timeout",
  "method_not_allowed",
  "route_not_found",
  "unsupported_response_version",
  // who asks
  "invalid_api_key",
  "model_not_allowed",
  "ip_not_allowed",
  // what is asked for
  "model_not_found",
  "task_not_found",
  "upload_not_found",
  "file_not_found",
  "file_expired",
  "task_already_ended",
  "webhook_not_found",
  "webhook_limit_reached",
  "delivery_not_found",
  // uploads and references that are in the body
  "invalid_image",
  "image_too_large",
  "invalid_mask",
  // money
  "insufficient_balance",
  "spend_cap_reached",
  "price_not_set",
  // usage reports
  "invalid_start",
  "invalid_end",
  "invalid_range",
  "range_too_large",
  "invalid_tz",
  "invalid_group_by",
  "invalid_scope",
  "too_many_models",
  "usage_unavailable",
  // repeats
  "idempotency_key_reused",
  "idempotency_in_progress",
  "idempotency_unavailable",
  // capacity
  "rate_limited",
  "task_limit_reached",
  "daily_spend_reached",
  "no_channel",
  "overloaded",
  "unavailable",
  "internal_error",
] as const;

export type Reason = (typeof reasons)[number];

export type AppErrorOptions = {
  /** The top-level field (or header) at fault. */
  param?: string;
  /** When the same request may succeed. */
  retryAfterSeconds?: number;
  /** For logs only; never sent. */
  detail?: unknown;
  cause?: unknown;
};

/** An error whose message the caller may read: it names the field, what was wrong and what is allowed. */
export class AppError extends Error {
  readonly reason: Reason;
  readonly param: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly detail: unknown;

  constructor(reason: Reason, message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "AppError";
    this.reason = reason;
    this.param = options.param;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.detail = options.detail;
  }
}

/** Our own mistake: ends the request or the attempt, is logged in full and shown to nobody. */
export class AssertionError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "AssertionError";
  }
}

/** Throws when something that our own code guarantees does not hold. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** The value, or an assertion when it is absent: for rows and entries that must exist. */
export function must<T>(value: T | null | undefined, what: string): T {
  if (value === null || value === undefined) throw new AssertionError(`${what} is missing`);
  return value;
}
