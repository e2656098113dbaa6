/** Refusals in the words of the API that a path speaks; the status is the same in every dialect. */
import type { AppError } from "../../lib/errors.ts";
import { statusOf } from "../problem.ts";
import { presentBflProblem } from "./bfl-problem.ts";
import { presentGeminiProblem } from "./gemini-problem.ts";
import { presentOpenAiProblem, retryHeaders } from "./openai-problem.ts";

export type DialectProblem = { headers: Record<string, string>; body: string };

/** Null for a path of our own API. */
export function renderDialectProblem(path: string, error: AppError): DialectProblem | null {
  switch (dialectOf(path)) {
    case "openai":
      return {
        headers: retryHeaders(error),
        body: JSON.stringify(presentOpenAiProblem(error, statusOf(error.reason))),
      };
    case "gemini":
      return {
        headers: {},
        body: JSON.stringify(presentGeminiProblem(error, statusOf(error.reason))),
      };
    case "bfl":
      return { headers: {}, body: JSON.stringify(presentBflProblem(error)) };
    case null:
      return null;
  }
}

type Dialect = "openai" | "gemini" | "bfl";

function dialectOf(path: string): Dialect | null {
  if (path.startsWith("/openai/")) return "openai";
  if (path.startsWith("/v1beta/") || /^\/v1\/models\/[^/]*:[^/]*$/.test(path)) return "gemini";
  if (path.startsWith("/v1/flux-") || path === "/v1/get_result") return "bfl";
  return null;
}
