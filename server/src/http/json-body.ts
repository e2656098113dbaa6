import { isUtf8 } from "node:buffer";

import type { FastifyBodyParser, FastifyInstance, FastifyRequest } from "fastify";

import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { isJsonObject } from "../lib/json.ts";
import { unsupportedMediaType } from "./framework-error.ts";

/** Deeper than any body of the API, and shallow enough for recursive code behind it. */
const depthMax = 64;

/**
 * Members and elements of a body. A few strings of many megabytes are parsed in a moment; millions of
 * small values stop the event loop for seconds and take thirty times their size in memory.
 */
const piecesMax = 100_000;

const charsetPattern = /;\s*charset\s*=\s*"?([^\s";]+)/i;

/**
 * Reads `application/json`, in UTF-8 only. `app` lends its own JSON parser, which refuses members
 * named `__proto__`. An empty body parses to `undefined`, for routes that take none.
 */
export function createJsonBodyParser(app: FastifyInstance): FastifyBodyParser<Buffer> {
  const parseText = app.getDefaultJsonParser("error", "error");
  return (request, bytes, done) => {
    const problem = findEncodingProblem(request, bytes);
    if (problem !== null) {
      done(problem);
      return;
    }
    if (bytes.length === 0) {
      done(null, undefined);
      return;
    }
    if (isIntricate(bytes)) {
      done(
        new AppError("invalid_body", `the body has more than ${piecesMax} members and elements`),
      );
      return;
    }
    const text = bytes.toString("utf8");
    void parseText(request, text, (error, value) => {
      done(error === null ? null : invalidJson(text), value);
    });
  };
}

/** The parsed body. Throws `invalid_json` or `invalid_body` unless it is an object of sane depth. */
export function parseBody(request: FastifyRequest): JsonObject {
  const body = request.body;
  if (body === undefined) {
    throw new AppError("invalid_body", "the body is empty; send a JSON object");
  }
  if (!isJsonObject(body)) {
    throw new AppError("invalid_body", `the body is ${nameKind(body)}; send a JSON object`);
  }
  assertDepth(body, depthMax);
  return body;
}

function nameKind(body: unknown): string {
  if (body === null) return "null";
  return Array.isArray(body) ? "an array" : `a ${typeof body}`;
}

/** Counts what separates and opens values; text that is full of commas is counted too, which the bound allows for. */
function isIntricate(bytes: Buffer): boolean {
  if (bytes.length <= piecesMax) return false;
  let pieces = 0;
  for (const mark of [",", "[", "{"]) {
    for (let at = bytes.indexOf(mark); at !== -1; at = bytes.indexOf(mark, at + 1)) {
      pieces += 1;
      if (pieces > piecesMax) return true;
    }
  }
  return false;
}

function findEncodingProblem(request: FastifyRequest, bytes: Buffer): AppError | null {
  const contentType = request.headers["content-type"] ?? "";
  const charset = charsetPattern.exec(contentType)?.[1]?.toLowerCase() ?? "utf-8";
  if (!["utf-8", "utf8", "us-ascii"].includes(charset)) {
    return unsupportedMediaType(contentType, "application/json, in UTF-8");
  }
  const encoding = request.headers["content-encoding"] ?? "identity";
  if (encoding !== "identity") {
    return new AppError(
      "unsupported_media_type",
      `header Content-Encoding ${JSON.stringify(encoding.slice(0, 80))} is not accepted; ` +
        "send the body as it is",
      { param: "Content-Encoding" },
    );
  }
  return isUtf8(bytes) ? null : new AppError("invalid_json", "the body is not valid UTF-8");
}

function invalidJson(text: string): AppError {
  return new AppError("invalid_json", `the body is not valid JSON: ${describeJsonError(text)}`);
}

/** V8's words name the place, and quote at most some twenty characters of the caller's text. */
function describeJsonError(text: string): string {
  try {
    JSON.parse(text);
  } catch (error) {
    return error instanceof Error ? error.message.slice(0, 200) : "";
  }
  return 'members named "__proto__", or "constructor" with a "prototype", are not allowed';
}

function assertDepth(value: unknown, levels: number): void {
  if (typeof value !== "object" || value === null) return;
  if (levels === 0) {
    throw new AppError("invalid_body", `the body is nested deeper than ${depthMax} levels`);
  }
  for (const item of Array.isArray(value) ? value : Object.values(value)) {
    assertDepth(item, levels - 1);
  }
}
