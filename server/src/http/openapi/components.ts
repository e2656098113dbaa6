/** The parts of the document that operations point to by name. */
import { z } from "zod";

import { must } from "../../lib/errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import { idempotencyHeader, replayedHeader } from "../idempotency.ts";
import { responseVersion, responseVersionHeader } from "../headers.ts";
import type {
  HeaderName,
  LimitHeaderName,
  NamedSchemas,
  RequestHeaderName,
  Schema,
} from "./operation.ts";

export type Components = {
  schemas: JsonObject;
  /** A reference for a named schema, the schema itself for any other. */
  schemaOf(schema: Schema): JsonObject;
};

const prefix = "#/components/schemas/";

export function createComponents(named: NamedSchemas): Components {
  const registry = z.registry<{ id: string }>();
  const schemas: JsonObject = {};
  const names = new Map<Schema, string>();
  for (const [name, schema] of Object.entries(named)) {
    names.set(schema, name);
    if (schema instanceof z.ZodType) registry.add(schema, { id: name });
    else schemas[name] = schema;
  }
  const made = z.toJSONSchema(registry, {
    uri: (id) => prefix + id,
    io: "input",
    override,
  }).schemas;
  for (const [name, schema] of Object.entries(made)) schemas[name] = clean(schema);
  return {
    schemas,
    schemaOf: (schema) => {
      const name = names.get(schema);
      if (name !== undefined) return { $ref: prefix + name };
      return schema instanceof z.ZodType ? inlineSchema(schema) : schema;
    },
  };
}

/** The members of an object schema, each as a schema of its own. */
export function membersOf(
  schema: z.ZodObject,
): { name: string; isRequired: boolean; schema: JsonObject }[] {
  return Object.entries(schema.shape).map(([name, member]) => {
    // Zod types the members of an object of any shape by its core alone; each is a full schema.
    const type = member as z.ZodType;
    return { name, isRequired: !type.safeParse(undefined).success, schema: inlineSchema(type) };
  });
}

export function findSchema(components: Components, name: string): JsonObject {
  must(components.schemas[name], `schema ${name}`);
  return { $ref: prefix + name };
}

function inlineSchema(schema: z.ZodType): JsonObject {
  return clean(z.toJSONSchema(schema, { io: "input", override }));
}

/** Zod bounds every integer by what JavaScript counts exactly, which says nothing of the field. */
function override({ jsonSchema }: { jsonSchema: { minimum?: number; maximum?: number } }): void {
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
}

function clean(schema: object): JsonObject {
  // What Zod makes is JSON with some methods around it, which the round trip drops.
  const { $schema: _dialect, $id: _id, ...rest } = JSON.parse(JSON.stringify(schema)) as JsonObject;
  return rest;
}

const seconds: JsonObject = { type: "integer", minimum: 1 };
const count: JsonObject = { type: "integer", minimum: 0 };
const text: JsonObject = { type: "string" };

export const replyHeaders: Record<HeaderName, JsonObject> = {
  "X-Request-Id": { description: "Id of the request, to quote to the operator.", schema: text },
  "Retry-After": { description: "Seconds after which to ask again.", schema: seconds },
  [replayedHeader]: {
    description: "`true` when an earlier request with the same key made the task.",
    schema: { type: "string", const: "true" },
  },
  [responseVersionHeader]: {
    description: "The version that was asked for.",
    schema: { type: "string", const: responseVersion },
  },
  "Preference-Applied": { description: "The wait that was applied.", schema: text },
  ETag: { description: "For `If-None-Match`.", schema: text },
  "Last-Modified": { description: "When the content last changed.", schema: text },
  Location: { description: "Where the content is.", schema: text },
  "Content-Range": { description: "Which bytes of how many.", schema: text },
  "X-Usage-Cache": { description: "Whether the figures were kept.", schema: text },
  "RateLimit-Policy": {
    description:
      "The limits of the key and its account, as draft-ietf-httpapi-ratelimit-headers writes them; left out where there are none.",
    schema: text,
    example: '"key-requests";q=60;w=60, "key-tasks";q=4;qu="concurrent-requests"',
  },
  RateLimit: {
    description: "What is left of the requests a minute, and seconds until all of them are.",
    schema: text,
    example: '"key-requests";r=59;t=1',
  },
  "X-RateLimit-Limit": {
    description: "Requests a minute of the limit that has least left.",
    schema: count,
  },
  "X-RateLimit-Remaining": { description: "What is left of it.", schema: count },
  "X-RateLimit-Reset": {
    description: "Seconds until it is whole again.",
    schema: count,
  },
} satisfies Record<HeaderName, JsonObject>;

/** On every reply to a request whose key was known, when that key or its account has limits. */
export const limitHeaders: readonly LimitHeaderName[] = [
  "RateLimit-Policy",
  "RateLimit",
  "X-RateLimit-Limit",
  "X-RateLimit-Remaining",
  "X-RateLimit-Reset",
];

export function headerReferences(names: Iterable<HeaderName>): JsonObject {
  return Object.fromEntries(
    [...new Set(names)].map((name) => [name, { $ref: `#/components/headers/${name}` }]),
  );
}

export const requestHeaders: Record<RequestHeaderName, JsonObject> = {
  [idempotencyHeader]: {
    description: "Repeating a request with the same key and body makes no second task.",
    schema: { type: "string", pattern: "^[!-~]{1,191}$" },
  },
  [responseVersionHeader]: {
    description: "Asks for the versioned response contract.",
    schema: { type: "string", const: responseVersion },
  },
  Prefer: {
    description: "`wait=N` waits at most N seconds (60 at most) for the task to end.",
    schema: text,
    example: "wait=30",
  },
  "Last-Event-ID": { description: "Id of the last event that arrived.", schema: text },
  Range: { description: "One range of bytes.", schema: text },
  "If-None-Match": { description: "Tags of what is at hand.", schema: text },
};
