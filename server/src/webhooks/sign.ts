/**
 * Standard Webhooks 1.0.0, symmetric: `v1,` and the base64 HMAC-SHA256 of id, timestamp and body, joined by
 * full stops. A secret reads `whsec_` and the base64 of the key's bytes. While two secrets are live, a
 * message carries both signatures, parted by a space, and receivers accept either.
 */
import { createHmac } from "node:crypto";

import { assert } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";

const secretPrefix = "whsec_";
const secretBytes = 32;

export function createSecret(random: Random): string {
  return `${secretPrefix}${random.bytes(secretBytes).toString("base64")}`;
}

export type Message = {
  id: string;
  /** Unix seconds of this try. */
  timestamp: number;
  body: string;
};

/** The headers that let the receiver verify a message; one signature for each secret. */
export function signatureHeaders(
  { id, timestamp, body }: Message,
  secrets: readonly string[],
): Record<string, string> {
  const content = `${id}.${timestamp}.${body}`;
  return {
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": secrets.map((secret) => sign(secret, content)).join(" "),
  };
}

function sign(secret: string, content: string): string {
  assert(secret.startsWith(secretPrefix), "a webhook secret begins with whsec_");
  const key = Buffer.from(secret.slice(secretPrefix.length), "base64");
  return `v1,${createHmac("sha256", key).update(content).digest("base64")}`;
}
