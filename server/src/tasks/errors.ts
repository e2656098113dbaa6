import type { Language } from "../models/model.ts";
import { texts } from "./texts.ts";

/** Everything a task can fail with: the closed list of `error.code`. */
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

/** Why a slot or a whole task failed, as stored. The words are chosen when it is read. */
export type TaskError = { code: TaskErrorCode; param?: string };

export function isTaskErrorCode(value: string): value is TaskErrorCode {
  return (taskErrorCodes as readonly string[]).includes(value);
}

/** The words for a code; our own, never the vendor's. */
export function describeTaskError(code: TaskErrorCode, language: Language): string {
  return texts[language][code];
}
