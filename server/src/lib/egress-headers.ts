import { assert } from "./errors.ts";
import { EgressError } from "./egress-error.ts";

/** By lower-case name. */
export type Headers = Readonly<Record<string, string>>;

/** One request of a chain of redirects. */
export type Hop = { url: URL; headers: Headers };

/** Decided by the guard; another `host` would even make undici connect elsewhere than the URL says. */
const guardedHeaders: readonly string[] = [
  "accept-encoding",
  "connection",
  "content-length",
  "host",
  "transfer-encoding",
  "upgrade",
];

/** Everything else may be a credential: each vendor has its own header for keys. */
const harmlessHeaders: readonly string[] = [
  "accept",
  "accept-encoding",
  "accept-language",
  "user-agent",
];

const redirectStatuses: readonly number[] = [301, 302, 303, 307, 308];

/** The headers to send, in lower case; encodings are declined because a compressed reply is unbounded. */
export function buildHeaders(headers: Headers = {}): Headers {
  const given = Object.entries(headers).map(
    ([name, value]) => [name.toLowerCase(), value] as const,
  );
  for (const [name] of given) {
    assert(!guardedHeaders.includes(name), `the header ${name} is set by the guard`);
  }
  return { "user-agent": "darkroom", ...Object.fromEntries(given), "accept-encoding": "identity" };
}

/** As they stand on the wire: name, colon, space, value, line end. */
export function countHeaderBytes(headers: Headers): number {
  return Object.entries(headers).reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value) + 4,
    0,
  );
}

/** Where a redirect points; null for other replies. A redirect to nowhere points to the empty text. */
export function findLocation(status: number, headers: Headers): string | null {
  return redirectStatuses.includes(status) ? (headers["location"] ?? "") : null;
}

/** The next request of a redirected one. Throws an `EgressError` (`redirect`) for one not to follow. */
export function followRedirect({ url, headers }: Hop, location: string): Hop {
  const next = location === "" ? null : URL.parse(location, url.href);
  if (next === null) throw new EgressError("redirect", "redirects to no URL");
  if (url.protocol === "https:" && next.protocol !== "https:") {
    throw new EgressError("redirect", "redirects from https to http");
  }
  const isSameOrigin = next.origin === url.origin;
  return { url: next, headers: isSameOrigin ? headers : keepHarmless(headers) };
}

function keepHarmless(headers: Headers): Headers {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => harmlessHeaders.includes(name)),
  );
}
