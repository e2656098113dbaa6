/**
 * Signed links to stored objects: `/f/{expiry}.{key id}.{signature}/{object}.{extension}`.
 *
 * The expiry (unix seconds) is part of what is signed and is fixed when the object is made, so
 * signing again gives the same link and polling never prolongs one. There is no query, because
 * clients name downloads by the last path segment. A link is its own permission: whoever has it may
 * read the object until the expiry, and nothing else is asked.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

import { assert } from "../lib/errors.ts";
import { toUnixSeconds } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import { findContentType, isObjectName } from "./names.ts";

export type Links = {
  /** The path of a link, without a host. `expiresAtMs` is cut to the second. */
  sign(object: string, extension: string, expiresAtMs: number): string;
  /** Judges the two path segments after `/f/`. Never throws. */
  verify(segment: string, file: string): CheckedLink;
  /**
   * The link that an absolute URL is, when it lies under one of `bases` (an origin with an optional
   * path, no trailing slash) and carries our signature; null for every other URL. A query or a
   * fragment is ignored. An expired link is still ours: the state says so.
   */
  recognise(url: string, bases: readonly string[]): SignedLink | null;
};

export type SignedLink = {
  state: "valid" | "expired";
  object: string;
  extension: string;
  expiresAtMs: number;
};

export type CheckedLink = SignedLink | { state: "invalid" };

export type LinksDeps = {
  /** Key of at least 32 bytes; signs every new link. */
  secret: Uint8Array;
  /** The key before the last rotation: its links are honoured until they expire. */
  previousSecret?: Uint8Array;
  clock: Pick<Clock, "now">;
};

const invalid = { state: "invalid" } as const;
const segmentPattern = /^([1-9]\d{0,11})\.([0-9a-f]{8})\.([A-Za-z0-9_-]{43})$/;
const filePattern = /^([a-z0-9]+)\.([a-z0-9]+)$/;

type Key = { id: string; secret: Uint8Array };

export function createLinks(deps: LinksDeps): Links {
  const current = createKey(deps.secret);
  const keys = [current];
  if (deps.previousSecret !== undefined) keys.push(createKey(deps.previousSecret));
  const verify = (segment: string, file: string) =>
    checkLink({ keys, nowMs: deps.clock.now() }, segment, file);
  return {
    sign: (object, extension, expiresAtMs) => signPath(current, object, extension, expiresAtMs),
    verify,
    recognise: (url, bases) => {
      const found = findSegments(url, bases);
      if (found === null) return null;
      const link = verify(found.segment, found.file);
      return link.state === "invalid" ? null : link;
    },
  };
}

function createKey(secret: Uint8Array): Key {
  assert(secret.byteLength >= 32, "a link key has at least 32 bytes");
  return { id: hmac(secret, "darkroom link key id").toString("hex").slice(0, 8), secret };
}

function signPath(key: Key, object: string, extension: string, expiresAtMs: number): string {
  assert(isObjectName(object), "a link needs an object name");
  assert(findContentType(extension) !== null, `files of type ${extension} are not served`);
  const expiry = String(toUnixSeconds(expiresAtMs));
  assert(/^[1-9]\d{0,11}$/.test(expiry), "a link needs an expiry after 1970");
  const signature = computeSignature(key, expiry, object, extension);
  return `/f/${expiry}.${key.id}.${signature}/${object}.${extension}`;
}

function checkLink(
  now: { keys: readonly Key[]; nowMs: number },
  segment: string,
  file: string,
): CheckedLink {
  const [, expiry, keyId, signature] = segmentPattern.exec(segment) ?? [];
  const [, object, extension] = filePattern.exec(file) ?? [];
  if (expiry === undefined || keyId === undefined || signature === undefined) return invalid;
  if (object === undefined || extension === undefined) return invalid;
  if (!isObjectName(object) || findContentType(extension) === null) return invalid;
  const key = now.keys.find((candidate) => candidate.id === keyId);
  if (key === undefined) return invalid;
  if (!isSame(signature, computeSignature(key, expiry, object, extension))) return invalid;
  const expiresAtMs = Number(expiry) * 1_000;
  const state = now.nowMs < expiresAtMs ? "valid" : "expired";
  return { state, object, extension, expiresAtMs };
}

function computeSignature(key: Key, expiry: string, object: string, extension: string): string {
  // No field can hold a line feed, so different fields never give the same text.
  const text = ["darkroom link v1", expiry, object, extension].join("\n");
  return hmac(key.secret, text).toString("base64url");
}

/**
 * Compares the texts of two digests in constant time. The text and not the bytes, because base64url
 * of 256 bits has two spare bits: four spellings of a signature would decode to the same digest.
 */
function isSame(given: string, expected: string): boolean {
  const left = Buffer.from(given, "latin1");
  const right = Buffer.from(expected, "latin1");
  return left.byteLength === right.byteLength && timingSafeEqual(left, right);
}

function hmac(secret: Uint8Array, text: string): Buffer {
  return createHmac("sha256", secret).update(text).digest();
}

function findSegments(
  url: string,
  bases: readonly string[],
): { segment: string; file: string } | null {
  const parsed = URL.parse(url);
  if (parsed === null || parsed.username !== "" || parsed.password !== "") return null;
  for (const base of bases) {
    const root = new URL(base);
    const prefix = `${root.pathname.replace(/\/$/, "")}/f/`;
    if (parsed.origin !== root.origin || !parsed.pathname.startsWith(prefix)) continue;
    const [segment, file, ...rest] = parsed.pathname.slice(prefix.length).split("/");
    if (segment !== undefined && file !== undefined && rest.length === 0) return { segment, file };
  }
  return null;
}
