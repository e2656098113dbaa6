import type { TaskErrorCode } from "../../../../client/src/tasks.ts";
import type { AppError, Reason } from "../../lib/errors.ts";

/** Body of every refusal of the OpenAI API, and of the event that ends a stream early. */
export type OpenAiProblem = {
  error: {
    message: string;
    type: string;
    param: string | null;
    code: string;
    /** The task behind, where there is one. */
    task_id?: string;
  };
};

/** Where the vendor has a word of its own; every other reason is its own code. */
const codes: Partial<Record<Reason, string>> = {
  invalid_parameter: "invalid_value",
  missing_parameter: "missing_required_parameter",
  unsupported_parameter: "unknown_parameter",
  invalid_image: "invalid_image_file",
  insufficient_balance: "insufficient_quota",
  spend_cap_reached: "billing_hard_limit_reached",
  rate_limited: "rate_limit_exceeded",
};

/** Fields of a submit by the names that this dialect has for them. */
const params: Record<string, string> = { image_urls: "image", mask_url: "mask" };

export function presentOpenAiProblem(error: AppError, status: number): OpenAiProblem {
  const { reason, message } = error;
  return {
    error: {
      message,
      type: typeOf(reason, status),
      param: paramOf(error.param),
      code: codes[reason] ?? reason,
    },
  };
}

export function paramOf(param: string | undefined): string | null {
  return param === undefined ? null : (params[param] ?? param);
}

function typeOf(reason: Reason, status: number): string {
  if (reason === "insufficient_balance") return "insufficient_quota";
  if (reason === "spend_cap_reached") return "billing_limit_user_error";
  if (status === 429) return "requests";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

/**
 * The official clients repeat every 409, 429 and 5xx unless they are told not to. Whether an unexpected
 * failure made a task nobody knows, so that a repeat could pay twice; a key that stands for another body
 * stays so.
 */
export function retryHeaders({ reason }: AppError): Record<string, string> {
  const isFinal =
    reason === "internal_error" ||
    reason === "idempotency_key_reused" ||
    reason === "daily_spend_reached";
  return isFinal ? { "x-should-retry": "false" } : {};
}

export type OpenAiFailure = { status: number; type: string; code: string };

/** What a task that delivered nothing is to a client that waited for it. */
export const openAiFailures: Record<TaskErrorCode, OpenAiFailure> = {
  content_policy_violation: {
    status: 400,
    type: "image_generation_user_error",
    code: "moderation_blocked",
  },
  invalid_reference_image: {
    status: 400,
    type: "invalid_request_error",
    code: "invalid_image_file",
  },
  invalid_mask: { status: 400, type: "invalid_request_error", code: "invalid_image_format" },
  provider_rejected: { status: 400, type: "invalid_request_error", code: "provider_rejected" },
  provider_unavailable: { status: 503, type: "server_error", code: "provider_unavailable" },
  generation_timeout: { status: 504, type: "server_error", code: "generation_timeout" },
  no_image: { status: 502, type: "server_error", code: "no_image" },
  outcome_unknown: { status: 502, type: "server_error", code: "outcome_unknown" },
  cancelled: { status: 409, type: "invalid_request_error", code: "cancelled" },
  internal_error: { status: 500, type: "server_error", code: "internal_error" },
};
