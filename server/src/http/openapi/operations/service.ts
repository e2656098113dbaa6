import type { Operation, Reply } from "../operation.ts";
import { accountSchemas } from "../schemas/account.ts";

const shared = { method: "get", tag: "Service", access: "open", reasons: [] } as const;
const unchanged: Reply = { description: "What is at hand is the same.", headers: ["ETag"] };

function textReply(description: string, mediaType: string): Reply {
  return { description, content: { mediaType, schema: { type: "string" } } };
}

export const serviceOperations: readonly Operation[] = [
  {
    ...shared,
    path: "/healthz",
    id: "readHealth",
    summary: "Ask whether the process runs",
    replies: { 200: { description: "It does.", content: { schema: accountSchemas.HealthReply } } },
  },
  {
    ...shared,
    path: "/readyz",
    id: "readReadiness",
    summary: "Ask whether requests make sense",
    replies: {
      200: {
        description: "The server takes requests; a failed `storage` is told and does not decide.",
        content: { schema: accountSchemas.ReadinessReply },
      },
      503: {
        description: "The database does not work, or the server is stopping.",
        content: { schema: accountSchemas.ReadinessReply },
      },
    },
  },
  {
    ...shared,
    path: "/openapi.json",
    id: "readDocument",
    summary: "Read this document",
    headers: ["If-None-Match"],
    replies: {
      200: {
        description: "OpenAPI 3.1.",
        headers: ["ETag"],
        content: { schema: { type: "object", required: ["openapi", "paths"] } },
      },
      304: unchanged,
    },
  },
  {
    ...shared,
    path: "/docs",
    id: "readReference",
    summary: "The reference for people",
    replies: { 200: textReply("A page.", "text/html") },
  },
  {
    ...shared,
    path: "/docs/reference.js",
    id: "readReferenceScript",
    summary: "The script of that page",
    headers: ["If-None-Match"],
    replies: {
      200: { ...textReply("The script.", "text/javascript"), headers: ["ETag"] },
      304: unchanged,
    },
  },
  {
    ...shared,
    path: "/llms.txt",
    id: "readIndex",
    summary: "The documentation for language models",
    replies: { 200: textReply("An index in Markdown.", "text/plain") },
  },
];
