/** Where deliveries go: addresses of submits and of endpoints, checked as far as that needs no network. */
import { AppError } from "../lib/errors.ts";
import { EgressError } from "../lib/egress.ts";
import type { Egress } from "../lib/egress.ts";

/** Longest address that is taken, in characters. */
export const addressLengthMax = 8_192;
/** An address of a submit grows by its last segment. */
export const urlLengthMax = addressLengthMax + 16;

export type Target = { url: string; origin: string };

/** The URL itself, and the scheme, host and port by which deliveries are bounded. */
export function parseTarget(url: string): Target {
  // An address that no longer parses gets a lane like any other, and fails there by name.
  const parsed = URL.parse(url);
  return parsed === null ? { url, origin: "invalid:" } : { url, origin: parsed.origin };
}

/** The address that a submit's base stands for: the path grows by `/callback`, the query stays. */
export function callbackOf(base: string): Target {
  const url = URL.parse(base.trim());
  if (url === null) return parseTarget(base);
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/callback`;
  url.hash = "";
  return { url: url.href, origin: url.origin };
}

/**
 * Refuses an address that deliveries could never reach: its form, its port, a user name, a host that is
 * not public. Throws `invalid_parameter` naming the field `param`.
 */
export function checkAddress(
  egress: Pick<Egress, "checkUrl">,
  address: string,
  param: "url" | "webhook",
): void {
  try {
    egress.checkUrl(address, { lengthMax: addressLengthMax });
  } catch (error) {
    if (!(error instanceof EgressError)) throw error;
    throw new AppError("invalid_parameter", `${param} ${error.message}`, { param });
  }
}
