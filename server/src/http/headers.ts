/** Request headers that every route reads the same way, and reply headers that many routes share. */
import type { IncomingHttpHeaders } from "node:http";

import type { ResponseVersion } from "../../../client/src/errors.ts";
import { AppError } from "../lib/errors.ts";

/** `versioned` when the request named a known response version. */
export type ResponseContract = "default" | "versioned";

export const responseVersionHeader = "X-APIMart-Response-Version";
export const responseVersion: ResponseVersion = "2026-07-27";

/** Headers that would be ambiguous twice: Node keeps one of two, or joins them, without a word. */
const singleHeaders = new Map([
  ["authorization", "Authorization"],
  ["idempotency-key", "Idempotency-Key"],
  ["content-type", "Content-Type"],
  [responseVersionHeader.toLowerCase(), responseVersionHeader],
]);
const singleHeaderLengths = new Set([...singleHeaders.keys()].map((name) => name.length));

/** Throws `invalid_header` for a second one; `rawHeaders` is Node's list of name, value, name, value. */
export function assertSingleHeaders(rawHeaders: readonly string[]): void {
  const seen: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i] ?? "";
    // Lengths first: lower-casing every header of every poll is what this check would cost.
    if (!singleHeaderLengths.has(raw.length)) continue;
    const lower = raw.toLowerCase();
    const name = singleHeaders.get(lower);
    if (name === undefined) continue;
    if (seen.includes(lower)) {
      throw new AppError("invalid_header", `header ${name} is given twice; send it once`, {
        param: name,
      });
    }
    seen.push(lower);
  }
}

export function contractOf(headers: IncomingHttpHeaders): ResponseContract {
  return headers["x-apimart-response-version"] === responseVersion ? "versioned" : "default";
}

/** Throws `unsupported_response_version` for any other value than the known one. */
export function assertKnownResponseVersion(headers: IncomingHttpHeaders): void {
  const given = headers["x-apimart-response-version"];
  if (given === undefined || given === responseVersion) return;
  throw new AppError(
    "unsupported_response_version",
    `header ${responseVersionHeader} ${JSON.stringify(String(given).slice(0, 80))} is not known; ` +
      `use ${responseVersion}, or leave the header out`,
    { param: responseVersionHeader },
  );
}

/** The API answers with JSON only, so nothing in a reply may be run, framed or kept by a cache. */
const apiHeaders = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};

/** Keys travel in a header and never in a cookie, so any origin may call; credentials stay off. */
const anyOrigin = { "access-control-allow-origin": "*" };

const exposed =
  "X-Request-Id, Idempotency-Replayed, Retry-After, X-APIMart-Response-Version, Preference-Applied, " +
  "RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, X-Usage-Cache";

/** What a script needs to read a file in ranges. */
const exposedOfFiles =
  "X-Request-Id, ETag, Accept-Ranges, Content-Range, Content-Length, Content-Disposition";

const openHeaders = { ...apiHeaders, ...anyOrigin };
const browserHeaders = { ...openHeaders, "access-control-expose-headers": exposed };
const fileHeaders = { ...openHeaders, "access-control-expose-headers": exposedOfFiles };

/**
 * Headers that a reply under this path starts with; the route may replace them. Only a browser names the
 * origin of a script, and only a browser looks at what is exposed. Files are kept by caches, which may hand
 * a browser what another client asked for.
 */
export function baseHeaders(
  path: string,
  origin: string | undefined,
): Readonly<Record<string, string>> {
  if (path.startsWith("/f/")) return fileHeaders;
  if (!isOpenToBrowsers(path)) return apiHeaders;
  return origin === undefined ? openHeaders : browserHeaders;
}

/** A query may follow the path. */
function isOpenToBrowsers(path: string): boolean {
  if (path.startsWith("/v1/") || path.startsWith("/openai/v1/")) return true;
  if (path.startsWith("/v1beta/")) return true;
  const [bare = ""] = path.split("?", 1);
  return ["/balance", "/user/balance", "/usage"].includes(bare);
}

/** Reply headers of a preflight; without the CORS part where other origins have no business. */
export function preflightHeaders(
  path: string,
  methods: readonly string[],
): Readonly<Record<string, string>> {
  const allow = [...methods, "OPTIONS"].join(", ");
  if (!path.startsWith("/f/") && !isOpenToBrowsers(path)) return { allow };
  return {
    allow,
    ...anyOrigin,
    "access-control-allow-methods": allow,
    "access-control-allow-headers":
      "Authorization, Content-Type, Idempotency-Key, X-APIMart-Response-Version, Prefer, " +
      "Last-Event-ID, Range, If-Range, If-None-Match, X-Goog-Api-Key, X-Key",
    "access-control-max-age": "86400",
  };
}
