/** Everything a task can fail with: the closed list of `error.code` in a task. */
export const taskErrorCodes = [
  "content_policy_violation",
  "invalid_reference_image",
  "invalid_mask",
  "provider_rejected",
  "provider_unavailable",
  "generation_timeout",
  "no_image",
  "outcome_unknown",
  "cancelled",
  "internal_error",
] as const;

export type TaskErrorCode = (typeof taskErrorCodes)[number];
