import { hash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

import { AppError } from "../lib/errors.ts";
import type { JsonObject, JsonValue } from "../lib/json.ts";
import { canonicalJson } from "../lib/json.ts";

export const idempotencyHeader = "Idempotency-Key";
export const replayedHeader = "Idempotency-Replayed";

const keyPattern = /^[!-~]{1,191}$/;

/** The key as it stands in the header, quotes and all; null without one. Throws `invalid_header`. */
export function parseIdempotencyKey(headers: IncomingHttpHeaders): string | null {
  const value = headers["idempotency-key"];
  if (value === undefined) return null;
  const key = String(value);
  if (keyPattern.test(key)) return key;
  const problem =
    key.length > 191 ? `has ${key.length} characters` : "is empty or has other characters";
  throw new AppError(
    "invalid_header",
    `header ${idempotencyHeader} ${problem}; use 1 to 191 visible ASCII characters without spaces`,
    { param: idempotencyHeader },
  );
}

/**
 * Equal for bodies that mean the same: SHA-256, in hex, over the JSON with sorted members. A data URI
 * counts by its own digest, so that tens of megabytes are not copied into one more string.
 */
export function digestBody(body: JsonObject): string {
  return hash("sha256", canonicalJson(shortenDataUris(body)));
}

function shortenDataUris(value: JsonValue): JsonValue {
  if (typeof value === "string") {
    return /^data:/i.test(value) ? `data:;sha256,${hash("sha256", value)}` : value;
  }
  if (Array.isArray(value)) return value.map(shortenDataUris);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, shortenDataUris(member)]),
  );
}
