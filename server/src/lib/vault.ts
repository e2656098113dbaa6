/**
 * Secrets of others (keys of vendors) that the database keeps: sealed with a key derived from the master
 * secret, so that a copy of the database alone gives none of them away. The name of the owner is sealed
 * in, so that an envelope moved to another row does not open there.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";

import { AppError, assert } from "./errors.ts";
import type { Random } from "./random.ts";

export type Vault = {
  /** The envelope of a text, as one line of text; another one at every call. */
  seal(name: string, text: string): string;
  /** The text in an envelope. Throws `AppError` (`unavailable`) when it was not sealed here for this name. */
  open(name: string, envelope: string): string;
};

const version = "v1";
const cipher = "aes-256-gcm";
const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;

/** `key`: the 32 bytes that `secrets.derive("vault")` gives. */
export function createVault({ key, random }: { key: Uint8Array; random: Random }): Vault {
  assert(key.length === keyBytes, "the vault's key has 32 bytes");
  return {
    seal: (name, text) => {
      const nonce = random.bytes(nonceBytes);
      const sealing = createCipheriv(cipher, key, nonce, { authTagLength: tagBytes });
      sealing.setAAD(dataOf(name));
      const body = Buffer.concat([sealing.update(text, "utf8"), sealing.final()]);
      return [version, nonce, Buffer.concat([body, sealing.getAuthTag()])].map(encode).join(".");
    },
    open: (name, envelope) => {
      const { nonce, sealed } = parseEnvelope(name, envelope);
      const opening = createDecipheriv(cipher, key, nonce, { authTagLength: tagBytes });
      opening.setAAD(dataOf(name));
      opening.setAuthTag(sealed.subarray(-tagBytes));
      try {
        const text = opening.update(sealed.subarray(0, -tagBytes));
        return Buffer.concat([text, opening.final()]).toString("utf8");
      } catch (error) {
        throw unopened(name, "it was changed, or sealed with another secret file or name", error);
      }
    },
  };
}

function parseEnvelope(name: string, envelope: string): { nonce: Buffer; sealed: Buffer } {
  const [found, nonceText, sealedText, ...rest] = envelope.split(".");
  if (found !== version) throw unopened(name, "its version is not known to this program");
  const nonce = Buffer.from(nonceText ?? "", "base64url");
  const sealed = Buffer.from(sealedText ?? "", "base64url");
  const isWhole = nonce.length === nonceBytes && sealed.length >= tagBytes && rest.length === 0;
  if (!isWhole) throw unopened(name, "it is not a whole envelope");
  return { nonce, sealed };
}

function encode(part: string | Buffer): string {
  return typeof part === "string" ? part : part.toString("base64url");
}

function dataOf(name: string): Buffer {
  return Buffer.from(`${version} ${name}`);
}

function unopened(name: string, reason: string, cause?: unknown): AppError {
  return new AppError("unavailable", `the stored secret of ${name} cannot be opened: ${reason}`, {
    cause,
  });
}
