import { must } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";

/** Bytes of randomness in a name: 160 bits, so that a name cannot be guessed. */
const nameBytes = 20;

// Lower case only, so that names stay apart on file systems that ignore case.
const alphabet = "abcdefghijklmnopqrstuvwxyz234567";
const namePattern = /^[a-z2-7]{32}$/;

const extensions = {
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
  "image/gif": "gif",
} as const satisfies Record<string, string>;

const contentTypes: ReadonlyMap<string, string> = new Map(
  Object.entries(extensions).map(([contentType, extension]) => [extension, contentType]),
);

/** A fresh object name: 32 characters of lower-case base32, safe in paths, URLs and file names. */
export function objectName(random: Random): string {
  const bytes = random.bytes(nameBytes);
  let name = "";
  // Five bytes make eight characters without a remainder.
  for (let start = 0; start < nameBytes; start += 5) {
    let group = bytes.readUIntBE(start, 5);
    let text = "";
    for (let i = 0; i < 8; i++) {
      text = alphabet.charAt(group % 32) + text;
      group = Math.floor(group / 32);
    }
    name += text;
  }
  return name;
}

/** True for a string that `objectName` could have made; says nothing about whether it exists. */
export function isObjectName(value: string): boolean {
  return namePattern.test(value);
}

/** File name extension, without the dot, of a picture type that is served; other types are an assertion. */
export function extensionOf(contentType: string): string {
  const found = Object.entries(extensions).find(([type]) => type === contentType);
  return must(found, `an extension for ${contentType}`)[1];
}

/** Content type of a served file's extension; null when nothing of that kind is served. */
export function findContentType(extension: string): string | null {
  return contentTypes.get(extension) ?? null;
}
