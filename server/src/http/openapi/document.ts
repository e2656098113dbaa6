/** OpenAPI 3.1 of everything that callers may ask, from the same rows and schemas that the routes use. */
import type { Reason } from "../../lib/errors.ts";
import type { JsonObject, JsonValue } from "../../lib/json.ts";
import type { Model } from "../../models/row.ts";
import {
  createComponents,
  findSchema,
  headerReferences,
  limitHeaders,
  membersOf,
  replyHeaders,
  requestHeaders,
} from "./components.ts";
import type { Components } from "./components.ts";
import { listOperations, namedSchemas } from "./operations.ts";
import { tags } from "./operation.ts";
import type { Content, Operation, Reply } from "./operation.ts";
import { refusalReplies } from "./refusals.ts";

export type DocumentFacts = {
  models: readonly Model[];
  /** Under which callers reach the server; no slash at its end. */
  publicUrl: string;
  /** Version of the server. */
  version: string;
};

const description = `One address for every image model: post a prompt, get a task id at once, read the picture when it is made.

Every request needs \`Authorization: Bearer sk-…\` unless it says otherwise. Keys that begin with \`sk-test-\` run every model in a sandbox, for play money. Decide about refusals by \`error.reason\`. Clients must ignore fields that they do not know.`;

export function createDocument(facts: DocumentFacts): JsonObject {
  const operations = listOperations(facts.models);
  const components = createComponents(namedSchemas(facts.models));
  const used = new Set(operations.map(({ tag }) => tag));
  return {
    openapi: "3.1.1",
    info: { title: "Darkroom", version: facts.version, description },
    servers: [{ url: facts.publicUrl }],
    tags: Object.entries(tags)
      .filter(([name]) => [...used].some((tag) => tag === name))
      .map(([name, text]) => ({ name, description: text })),
    security: [{ key: [] }],
    paths: presentPaths(operations, components),
    components: {
      schemas: components.schemas,
      headers: replyHeaders,
      parameters: Object.fromEntries(
        Object.entries(requestHeaders).map(([name, header]) => [
          name,
          { name, in: "header", required: false, ...header },
        ]),
      ),
      securitySchemes: {
        key: {
          type: "http",
          scheme: "bearer",
          description: "A key of this server: `sk-live-…` or `sk-test-…`.",
        },
        "x-goog-api-key": keyIn("x-goog-api-key"),
        "x-key": keyIn("x-key"),
      },
    },
  };
}

function keyIn(name: string): JsonObject {
  return { type: "apiKey", in: "header", name, description: "The same key, in another header." };
}

function presentPaths(operations: readonly Operation[], components: Components): JsonObject {
  const paths: JsonObject = {};
  for (const [path, group] of Map.groupBy(operations, (operation) => operation.path)) {
    paths[path] = Object.fromEntries(
      group.map((operation) => [operation.method, presentOperation(operation, components)]),
    );
  }
  return paths;
}

function presentOperation(operation: Operation, components: Components): JsonObject {
  const parameters = presentParameters(operation);
  const { access, body, isBodyOptional, keyHeader } = operation;
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    ...(operation.description === undefined ? {} : { description: operation.description }),
    ...(access === "open" ? { security: [] } : {}),
    ...(keyHeader === undefined ? {} : { security: [{ key: [] }, { [keyHeader]: [] }] }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: isBodyOptional !== true,
            content: presentContent(body, components),
          },
        }),
    responses: presentReplies(operation, components),
  };
}

function presentParameters(operation: Operation): JsonValue[] {
  const { pathParameters = {}, query, headers = [], access } = operation;
  const named = access === "key" ? new Set([...headers, "X-APIMart-Response-Version"]) : headers;
  return [
    ...Object.entries(pathParameters).map(([name, parameter]): JsonObject => ({
      name,
      in: "path",
      required: true,
      description: parameter.description,
      schema: parameter.schema ?? { type: "string", minLength: 1 },
      ...(parameter.example === undefined ? {} : { example: parameter.example }),
    })),
    ...(query === undefined ? [] : membersOf(query)).map(
      ({ name, isRequired, schema: { description: text, ...schema } }): JsonObject => ({
        name,
        in: "query",
        required: isRequired,
        ...(text === undefined ? {} : { description: text }),
        schema,
      }),
    ),
    ...[...named].map((name): JsonObject => ({ $ref: `#/components/parameters/${name}` })),
  ];
}

function presentReplies(operation: Operation, components: Components): JsonObject {
  const refusals = refusalReplies(operation, (reasons) =>
    errorSchema(operation, components, reasons),
  );
  const replies: JsonObject = { ...refusals };
  for (const [status, reply] of Object.entries(operation.replies)) {
    replies[status] = merge(presentReply(operation, reply, components), refusals[status]);
  }
  return replies;
}

/** A status that both answers and refuses, as 503 of the readiness check: either body. */
function merge(reply: JsonObject, refusal: JsonValue | undefined): JsonObject {
  if (refusal === undefined) return reply;
  const schemas = [reply, refusal].map(jsonSchemaIn);
  const content = { "application/json": { schema: { anyOf: schemas } } };
  return { ...reply, content };
}

function jsonSchemaIn(reply: JsonValue): JsonValue {
  let value: JsonValue = reply;
  for (const name of ["content", "application/json", "schema"]) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
    value = value[name] ?? {};
  }
  return value;
}

function presentReply(operation: Operation, reply: Reply, components: Components): JsonObject {
  const ofKey =
    operation.access === "key" ? (["X-APIMart-Response-Version", ...limitHeaders] as const) : [];
  return {
    description: reply.description,
    headers: headerReferences(["X-Request-Id", ...ofKey, ...(reply.headers ?? [])]),
    ...(reply.content === undefined ? {} : { content: presentContent(reply.content, components) }),
  };
}

function presentContent(content: Content | readonly Content[], components: Components): JsonObject {
  const list: readonly Content[] = Array.isArray(content) ? content : [content];
  return Object.fromEntries(
    list.map(({ mediaType = "application/json", schema, examples }) => [
      mediaType,
      { schema: components.schemaOf(schema), ...(examples === undefined ? {} : { examples }) },
    ]),
  );
}

function errorSchema(
  { errorSchema: own }: Operation,
  components: Components,
  reasons: readonly Reason[],
): JsonObject {
  if (own !== undefined) return components.schemaOf(own);
  const only = { type: "object", properties: { reason: { enum: [...reasons] } } };
  return {
    allOf: [findSchema(components, "ErrorReply")],
    type: "object",
    properties: { error: only },
  };
}
