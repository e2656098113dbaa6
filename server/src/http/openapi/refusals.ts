/** What every route of a kind may refuse with, beside its own reasons; and the replies of a list of them. */
import type { Reason } from "../../lib/errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import { statusOf } from "../problem.ts";
import { headerReferences, limitHeaders } from "./components.ts";
import type { Operation } from "./operation.ts";

const always: readonly Reason[] = ["invalid_header", "internal_error", "overloaded", "unavailable"];

const withKey: readonly Reason[] = [
  "invalid_api_key",
  "ip_not_allowed",
  "unsupported_response_version",
  "rate_limited",
];

const withBody: readonly Reason[] = [
  "invalid_body",
  "body_too_large",
  "unsupported_media_type",
  "request_timeout",
];

/** Every reason that the operation may give, each once. */
export function reasonsOf(operation: Operation): Reason[] {
  const isPost = operation.method === "post";
  return [
    ...new Set<Reason>([
      ...always,
      ...(operation.access === "key" ? withKey : []),
      ...(operation.body === undefined ? [] : withBody),
      ...(takesJson(operation) ? (["invalid_json"] as const) : []),
      // A part of the path that is too long, or not decodable, is no route.
      ...(operation.pathParameters === undefined ? [] : (["route_not_found"] as const)),
      // What is refused before a route has begun with it is told as nothing run, whatever the route does with the key.
      ...(isPost ? (["idempotency_unavailable"] as const) : []),
      ...operation.reasons,
    ]),
  ];
}

/** `schemaOf` makes the schema of an error body with one of the reasons given. */
export function refusalReplies(
  operation: Operation,
  schemaOf: (reasons: readonly Reason[]) => JsonObject,
): JsonObject {
  const byStatus = Map.groupBy(reasonsOf(operation), statusOf);
  const replies = [...byStatus].toSorted(([a], [b]) => a - b);
  return Object.fromEntries(
    replies.map(([status, reasons]) => [
      String(status),
      {
        description: `Refused: ${reasons.map((reason) => `\`${reason}\``).join(", ")}.`,
        headers: refusalHeaders(operation, status, reasons),
        content: { "application/json": { schema: schemaOf(reasons) } },
      },
    ]),
  );
}

function refusalHeaders(
  { access }: Operation,
  status: number,
  reasons: readonly Reason[],
): JsonObject {
  const mayRetry = status === 429 || status === 503 || reasons.includes("idempotency_in_progress");
  return headerReferences([
    "X-Request-Id",
    ...(mayRetry ? (["Retry-After"] as const) : []),
    ...(access === "key" ? (["X-APIMart-Response-Version", ...limitHeaders] as const) : []),
  ]);
}

function takesJson({ body }: Operation): boolean {
  if (body === undefined) return false;
  const contents = Array.isArray(body) ? body : [body];
  return contents.some(({ mediaType = "application/json" }) => mediaType === "application/json");
}
