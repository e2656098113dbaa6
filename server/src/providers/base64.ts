/**
 * Base64 as vendors send pictures in it: standard, padded, without a gap. It is decoded from the bytes of a
 * reply while they arrive, because a picture of megabytes as a string is garbage of megabytes.
 */
import { z } from "zod";

import { ProviderError } from "./adapter.ts";

/** No JSON can carry a symbol, so what has it was made here. */
const mark: unique symbol = Symbol("decoded base64");

/** What a long base64 string of a reply was decoded to, in place of the string. */
export type DecodedBase64 = {
  readonly [mark]: true;
  /** Null for what is not valid. */
  readonly bytes: Uint8Array | null;
  /** Of the string. */
  readonly characters: number;
};

export type Base64Decoder = {
  /** Takes the next characters, one a byte. */
  add(text: Buffer): void;
  end(): DecodedBase64;
};

/** A picture in a reply: a string while it is short. */
export const base64Schema = z.union([
  z.string(),
  z.custom<DecodedBase64>((value) => typeof value === "object" && value !== null && mark in value),
]);

/**
 * The bytes of a picture in base64, with or without the prefix of a data URI. Throws a `ProviderError`
 * (`garbled`) for anything else: Node skips what it does not know, and a picture with holes would be kept.
 */
export function parseBase64(base64: z.infer<typeof base64Schema>): Uint8Array {
  const { bytes, characters } = typeof base64 === "string" ? decode(base64) : base64;
  if (bytes !== null) return bytes;
  throw new ProviderError("garbled", `a picture is not valid base64 (${characters} characters)`);
}

function decode(text: string): DecodedBase64 {
  const base64 = text.startsWith("data:") ? text.slice(text.indexOf(",") + 1) : text;
  const decoder = createBase64Decoder(base64.length);
  decoder.add(Buffer.from(base64));
  return decoder.end();
}

/** `charactersMax` is a bound on the text, or null where nothing is known of its length. */
export function createBase64Decoder(charactersMax: number | null): Base64Decoder {
  const blocks = createBlocks(charactersMax);
  /** The last of the text so far, because only the very last of it may be padded. */
  const tail = Buffer.alloc(unitCharacters);
  let tailLength = 0;
  let characters = 0;
  let isValid = true;

  function takeUnits(text: Buffer): void {
    if (text.length === 0 || !isValid) return;
    isValid = decodeUnits(text, blocks.take((text.length / unitCharacters) * unitBytes));
  }

  return {
    add: (text) => {
      characters += text.length;
      const missing = Math.min(unitCharacters - tailLength, text.length);
      tail.set(text.subarray(0, missing), tailLength);
      tailLength += missing;
      if (missing === text.length) return;
      takeUnits(tail);
      const rest = text.subarray(missing);
      tailLength = ((rest.length - 1) % unitCharacters) + 1;
      const tailStart = rest.length - tailLength;
      takeUnits(rest.subarray(0, tailStart));
      tail.set(rest.subarray(tailStart));
    },
    end: () => {
      const text = tail.toString("latin1", 0, tailLength);
      const isWhole = isValid && wholeBase64.test(text);
      if (isWhole) {
        const bytes = Buffer.from(text, "base64");
        blocks.take(bytes.length).set(bytes);
      }
      return { [mark]: true, bytes: isWhole ? blocks.join() : null, characters };
    },
  };
}

const wholeBase64 = /^(?:[A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{2}(?:==|[A-Za-z0-9+/][A-Za-z0-9+/=])$/;
const unitCharacters = 4;
const unitBytes = 3;
/** Node decodes strings only: in slices that V8's young generation forgets as quickly as it takes them in. */
const sliceCharacters = 16 * 1_024;

/** Decodes units without padding; false when there is anything else in them. */
function decodeUnits(text: Buffer, target: Buffer): boolean {
  // Node takes the URL alphabet too. Whatever else it does not know it skips, so that bytes are missing.
  if (text.includes("-") || text.includes("_")) return false;
  for (let from = 0; from < text.length; from += sliceCharacters) {
    const slice = text.toString("latin1", from, from + sliceCharacters);
    const written = target.write(slice, (from / unitCharacters) * unitBytes, "base64");
    if (written !== (slice.length / unitCharacters) * unitBytes) return false;
  }
  return true;
}

type Blocks = {
  /** Room for so many bytes behind those before. */
  take(bytes: number): Buffer;
  join(): Uint8Array;
};

/** For a text whose length is not known. */
const blockBytesUnknown = 2 ** 20;
/** An announcement is not believed for more than this at a time. */
const blockBytesMax = 4 * 2 ** 20;

function createBlocks(charactersMax: number | null): Blocks {
  const bytesMax = charactersMax === null ? blockBytesUnknown : Math.ceil(charactersMax / 4) * 3;
  const full: Buffer[] = [];
  let block: Buffer = Buffer.alloc(0);
  let used = 0;
  return {
    take: (bytes) => {
      if (block.length - used < bytes) {
        full.push(block.subarray(0, used));
        block = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(bytesMax, blockBytesMax)));
        used = 0;
      }
      used += bytes;
      return block.subarray(used - bytes, used);
    },
    join: () => {
      // Room that a picture does not need would live as long as it does.
      const isTight = full.length === 1 && used >= 0.75 * block.length;
      const last = block.subarray(0, used);
      return isTight ? last : Buffer.concat([...full, last]);
    },
  };
}
