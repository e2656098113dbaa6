/**
 * What `/openapi.json` says of a route. The document must stay true: every public route has an operation
 * and every operation a route (`operations.test.ts`), real replies keep their schemas
 * (`server/test/api/openapi.test.ts`), and hostile requests get documented answers only
 * (`server/test/api/fuzz.test.ts`).
 *
 * To document a route:
 * 1. `schemas/<room>.ts`: a Zod schema for each body, held to the wire type of `client/src/` by
 *    `Agrees`. The key in the exported record is the schema's name in the document.
 * 2. `operations/<room>.ts`: an `Operation` a route, with the schemas of step 1 and every reason with
 *    which the route itself refuses; what any route may answer is added by `refusals.ts`.
 * 3. A new file of either kind gets a line in `operations.ts`.
 *
 * All of this is loaded at the first request for the document, so nothing else may import it.
 */
import type { z } from "zod";

import type { Reason } from "../../lib/errors.ts";
import type { JsonObject } from "../../lib/json.ts";

export const tags = {
  Images: "Make pictures: submit a task, read it, cancel it.",
  Models: "What each model takes, promises and costs.",
  Uploads: "Files that serve as references.",
  Account: "Balances and usage.",
  Webhooks: "Callbacks when tasks end.",
  OpenAI: "The OpenAI dialect: for clients that speak it already.",
  Gemini: "The Gemini dialect, for tools that speak only that.",
  BFL: "The dialect of Black Forest Labs, for tools that speak only that.",
  Service: "Health and documentation.",
} as const;

/** A Zod schema, or JSON Schema where the catalogue or another place writes it. */
export type Schema = z.ZodType | JsonObject;

/** Reply headers that `components.headers` describes. */
export type HeaderName =
  | "X-Request-Id"
  | "Retry-After"
  | "Idempotency-Replayed"
  | "X-APIMart-Response-Version"
  | "Preference-Applied"
  | "ETag"
  | "Last-Modified"
  | "Location"
  | "Content-Range"
  | "X-Usage-Cache"
  | LimitHeaderName;

/** What a key or account with limits is told of them. */
export type LimitHeaderName =
  | "RateLimit"
  | "RateLimit-Policy"
  | "X-RateLimit-Limit"
  | "X-RateLimit-Remaining"
  | "X-RateLimit-Reset";

/** Request headers that `components.parameters` describes. */
export type RequestHeaderName =
  | "Idempotency-Key"
  | "X-APIMart-Response-Version"
  | "Prefer"
  | "Last-Event-ID"
  | "Range"
  | "If-None-Match";

export type Content = {
  /** `application/json` unless it says otherwise. */
  mediaType?: string;
  schema: Schema;
  examples?: Readonly<Record<string, JsonObject>>;
};

export type Reply = {
  description: string;
  /** Left out: the reply has no body. */
  content?: Content | readonly Content[];
  /** Beside `X-Request-Id`, which every reply has. */
  headers?: readonly HeaderName[];
};

export type PathParameter = { description: string; schema?: JsonObject; example?: string };

export type Operation = {
  method: "get" | "post" | "put" | "patch" | "delete";
  /** As OpenAPI writes it: `/v1/tasks/{id}`. */
  path: string;
  /** Fastify's pattern, where it is not the path with `:id` for `{id}`. */
  route?: string;
  /** Unique; generators make method names of it. */
  id: string;
  tag: keyof typeof tags;
  summary: string;
  description?: string;
  /** `key`: the API key is needed; `open`: anybody may ask. */
  access: "key" | "open";
  /** A header in which the key may stand instead, as a vendor's clients send it. */
  keyHeader?: "x-goog-api-key" | "x-key";
  /** Every name in braces of the path. */
  pathParameters?: Readonly<Record<string, PathParameter>>;
  /** An object schema: a parameter for each of its members. */
  query?: z.ZodObject;
  headers?: readonly RequestHeaderName[];
  body?: Content | readonly Content[];
  /** True when the request may be sent without its body. */
  isBodyOptional?: true;
  /** What the route answers when it does not refuse, by status. */
  replies: Readonly<Record<number, Reply>>;
  /** Why the route itself refuses; statuses come from `problem.ts`. */
  reasons: readonly Reason[];
  /** Refuses in a shape of its own: a dialect, whose errors are not `ErrorReply`. */
  errorSchema?: Schema;
};

/** Named schemas: the keys become names in `components.schemas`. */
export type NamedSchemas = Readonly<Record<string, Schema>>;

/** The same operation under another path. */
export function alias(operation: Operation, path: string, id: string): Operation {
  return {
    ...operation,
    path,
    id,
    summary: `${operation.summary} (alias)`,
    description: `The same as \`${operation.path}\`.`,
  };
}

type Mutable<T> = { -readonly [Member in keyof T]: Mutable<T[Member]> };
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;

/** `true` when a schema and a wire type take the same values, readonly or not; `false` does not compile. */
export type Agrees<S extends z.ZodType, Wire> = Same<Mutable<z.output<S>>, Mutable<Wire>>;
export type AllTrue<T extends readonly true[]> = T;
