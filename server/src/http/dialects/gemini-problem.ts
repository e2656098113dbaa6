import type { AppError } from "../../lib/errors.ts";

export type GeminiProblem = {
  error: { code: number; message: string; status: string; details: readonly object[] };
};

const statuses: Record<number, string> = {
  400: "INVALID_ARGUMENT",
  401: "UNAUTHENTICATED",
  402: "RESOURCE_EXHAUSTED",
  403: "PERMISSION_DENIED",
  404: "NOT_FOUND",
  409: "ABORTED",
  410: "NOT_FOUND",
  429: "RESOURCE_EXHAUSTED",
  500: "INTERNAL",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
  504: "DEADLINE_EXCEEDED",
};

/** A refusal as Google's services write it. */
export function presentGeminiProblem(error: AppError, status: number): GeminiProblem {
  return geminiProblem(status, error.message, error.reason);
}

/** `reason` is a word of ours, for programs. */
export function geminiProblem(status: number, message: string, reason: string): GeminiProblem {
  const info = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    reason: reason.toUpperCase(),
    domain: "darkroom",
  };
  return {
    error: {
      code: status,
      message,
      status: statuses[status] ?? "INVALID_ARGUMENT",
      details: [info],
    },
  };
}
