/**
 * API keys as text: `sk-live-` or `sk-test-` and 43 base62 characters that carry 256 random bits.
 * A fast keyed digest is enough for a secret nobody can guess; without the pepper a stolen
 * database does not even say whether a leaked key was one of ours.
 */
import { createHmac } from "node:crypto";

import type { Mode } from "../db/schema.ts";
import type { Random } from "../lib/random.ts";

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const base = 62n;
const secretBytes = 32;
/** 62^43 is the first power of 62 above 2^256. */
const secretLength = 43;
const hintLength = 4;
const tokenPattern = /^sk-(live|test)-[0-9A-Za-z]{43}$/;

/** A new key in full: the only moment it exists outside its holder's hands. */
export function createToken(random: Random, mode: Mode): string {
  let rest = BigInt(`0x${random.bytes(secretBytes).toString("hex")}`);
  let secret = "";
  for (let i = 0; i < secretLength; i++) {
    secret = alphabet.charAt(Number(rest % base)) + secret;
    rest /= base;
  }
  return `sk-${mode}-${secret}`;
}

/** False for text that cannot be a key, so that noise costs no digest and no look-up. */
export function isToken(text: string): boolean {
  return tokenPattern.test(text);
}

/** HMAC-SHA256 of the whole key, in hex: what the database knows of it. */
export function digestToken(pepper: Uint8Array, token: string): string {
  return createHmac("sha256", pepper).update(token).digest("hex");
}

/** The end of a key, by which people tell their keys apart. */
export function hintOf(token: string): string {
  return token.slice(-hintLength);
}
