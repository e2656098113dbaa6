import { AppError } from "../lib/errors.ts";
import type { ReferenceInput } from "../models/model.ts";
import { formatMegabytes } from "./sniff.ts";

export type DataReference = Extract<ReferenceInput, { kind: "data" }>;

export type DataReferencePlace = {
  /** The top-level field. */
  param: string;
  /** Place in a list; null for a field that holds one picture. */
  index: number | null;
};

/**
 * The bytes of a reference in the body. Its size is checked by the length of the text before anything
 * is decoded. Throws `AppError` (`invalid_image`, `image_too_large`); whether the bytes are a picture
 * is for the picture processes to say.
 */
export function parseDataReference(
  reference: DataReference,
  place: DataReferencePlace,
  bytesMax: number,
): Buffer {
  const { base64 } = reference;
  const { param } = place;
  const name = place.index === null ? param : `${param}[${place.index}]`;
  if (base64 === "") {
    throw new AppError("invalid_image", `${name} holds no data after the comma`, { param });
  }
  const byteLength = decodedLength(base64);
  if (byteLength > bytesMax) {
    throw new AppError(
      "image_too_large",
      `${name} has ${formatMegabytes(byteLength)} MB; at most ${formatMegabytes(bytesMax)} MB are allowed`,
      { param },
    );
  }
  const bytes = findBase64Bytes(base64);
  if (bytes === null) {
    throw new AppError(
      "invalid_image",
      `${name} is not valid base64; use the standard alphabet (A-Z a-z 0-9 + /) with = padding and without spaces or line breaks`,
      { param },
    );
  }
  return bytes;
}

/**
 * Strict decoding: null unless the text is the one canonical encoding of its bytes. `Buffer.from`
 * skips blanks, takes the URL alphabet and stops at the first `=`, so the result is encoded again and
 * compared: 20 MB take about 30 ms, where a regular expression alone takes 140 ms.
 */
export function findBase64Bytes(base64: string): Buffer | null {
  if (base64.length % 4 !== 0) return null;
  const bytes = Buffer.from(base64, "base64");
  return bytes.toString("base64") === base64 ? bytes : null;
}

function decodedLength(base64: string): number {
  const padding = base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
  return Math.floor(base64.length / 4) * 3 - padding;
}
