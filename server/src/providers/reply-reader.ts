/**
 * Reads a reply while it arrives and takes the pictures out of it: base64 of megabytes is decoded piece by
 * piece, and only the JSON around it is kept as text. Otherwise a picture would be in memory five times: as
 * it came, joined, as text, as a string of the JSON, and as its own bytes.
 */
import { isAscii } from "node:buffer";

import { createBase64Decoder } from "./base64.ts";
import type { DecodedBase64 } from "./base64.ts";

export type ReplyContent = {
  /** The body, with long base64 strings as `DecodedBase64`; undefined when it is not JSON. */
  json: unknown;
  /** The first bytes as they came, for excerpts. */
  beginning: Uint8Array;
};

export type ReplyReader = {
  add(piece: Uint8Array): void;
  /** How much there is to be parsed: all that came but the pictures. */
  readonly textBytes: number;
  end(): ReplyContent;
};

const beginningBytesMax = 2_048;
/** Shorter strings stay what they are, so that ordinary replies are read as any JSON is. */
const longCharacters = 4_096;
const quote = 0x22;
const backslash = 0x5c;
const nothing = Buffer.alloc(0);
/** How a long string has to begin: with or without the prefix of a data URI, perhaps with escapes. */
const base64Start = /^(data:[^,"]{0,200},)?[A-Za-z0-9+/=\\]*$/;
/** An escape that its slice does not hold to its end. */
const openEscape = /\\(?:u[0-9A-Fa-f]{0,3})?$/;
/** Stands for the picture in the text. A vendor that sent it would name a picture of its own reply. */
const token = "\0base64:";

/** `bytesExpected` is the length that the reply announces, or null. */
export function createReplyReader(bytesExpected: number | null): ReplyReader {
  const pictures: DecodedBase64[] = [];
  const text = createCollector();
  const beginning = createCollector();
  let literal: Literal | null = null;
  /** The end of the last piece, where only the next one tells what it is. */
  let held = nothing;
  let received = 0;

  /** Where to go on in `bytes`. */
  function takeLiteral(open: Literal, bytes: Buffer, from: number): number {
    // No base64 has a quote in it, so the first one is the end, escaped or not.
    const end = bytes.indexOf(quote, from);
    open.add(bytes.subarray(from, end === -1 ? bytes.length : end));
    if (end === -1) return bytes.length;
    text.add(Buffer.from(JSON.stringify(token + pictures.length).slice(1, -1)));
    pictures.push(open.end());
    literal = null;
    return end;
  }

  /** Where to go on in `bytes`. */
  function takeText(bytes: Buffer, from: number): number {
    const { kind, textEnd, goOn } = findBase64(bytes, from);
    text.add(bytes.subarray(from, textEnd));
    if (kind === "undecided") held = Buffer.from(bytes.subarray(textEnd));
    if (kind === "base64") {
      const before = received - bytes.length + goOn;
      literal = createLiteral(bytesExpected === null ? null : bytesExpected - before);
    }
    return goOn;
  }

  return {
    add: (piece) => {
      received += piece.length;
      if (beginning.length < beginningBytesMax) beginning.add(piece.subarray(0, beginningBytesMax));
      const bytes = held.length === 0 ? viewOf(piece) : Buffer.concat([held, piece]);
      held = nothing;
      for (let at = 0; at < bytes.length;) {
        at = literal === null ? takeText(bytes, at) : takeLiteral(literal, bytes, at);
      }
    },
    get textBytes() {
      return text.length + held.length;
    },
    end: () => {
      text.add(held);
      return contentOf(text.join(), pictures, beginning.join());
    },
  };
}

/** What there is of a body that was read in one piece, perhaps not to its end. */
export function readContent(bytes: Uint8Array): ReplyContent {
  return contentOf(viewOf(bytes), [], bytes);
}

type Found = { kind: "base64" | "undecided" | "none"; textEnd: number; goOn: number };

/**
 * The first long base64 string. It takes no parser to find one: between two quotes, but outside of a
 * string, JSON has only a comma, a colon, brackets, a number or a word.
 */
function findBase64(bytes: Buffer, from: number): Found {
  const end = bytes.length;
  for (let open = bytes.indexOf(quote, from); open !== -1;) {
    const next = bytes.indexOf(quote, open + 1);
    const characters = (next === -1 ? end : next) - open - 1;
    const isEscaped = bytes[open - 1] === backslash;
    if (characters >= longCharacters && !isEscaped) {
      const match = base64Start.exec(bytes.toString("latin1", open + 1, open + 1 + longCharacters));
      const goOn = open + 1 + (match?.[1]?.length ?? 0);
      if (match !== null) return { kind: "base64", textEnd: open + 1, goOn };
    } else if (next === -1 && !isEscaped) {
      return { kind: "undecided", textEnd: open, goOn: end };
    }
    open = next;
  }
  // The next piece may begin with a quote that is escaped by this one.
  const isCut = bytes[end - 1] === backslash;
  return { kind: isCut ? "undecided" : "none", textEnd: isCut ? end - 1 : end, goOn: end };
}

type Literal = { add(bytes: Buffer): void; end(): DecodedBase64 };

/** The inside of a JSON string that is base64. */
function createLiteral(charactersMax: number | null): Literal {
  const decoder = createBase64Decoder(charactersMax);
  let escape = "";
  return {
    add: (bytes) => {
      if (escape === "" && !bytes.includes(backslash)) {
        decoder.add(bytes);
        return;
      }
      const text = escape + bytes.toString("latin1");
      const start = text.search(openEscape);
      const end = start === -1 ? text.length : start;
      escape = text.slice(end);
      decoder.add(unescape(text.slice(0, end)));
    },
    end: () => {
      decoder.add(Buffer.from(escape));
      return decoder.end();
    },
  };
}

/** Some servers write slashes as `\/` and pluses as `\u002B`. What is no escape is no base64 either. */
function unescape(text: string): Buffer {
  try {
    return Buffer.from(String(JSON.parse(`"${text}"`)));
  } catch {
    return Buffer.from(text);
  }
}

function contentOf(
  text: Uint8Array,
  pictures: readonly DecodedBase64[],
  bytes: Uint8Array,
): ReplyContent {
  return { json: parseJson(text, pictures), beginning: bytes.subarray(0, beginningBytesMax) };
}

function parseJson(bytes: Uint8Array, pictures: readonly DecodedBase64[]): unknown {
  try {
    // ASCII read as Latin-1 costs an eighth. The decoder also drops the byte order mark that some servers
    // begin with and `JSON.parse` refuses.
    const text = isAscii(bytes)
      ? viewOf(bytes).toString("latin1")
      : new TextDecoder().decode(bytes);
    if (pictures.length === 0) return JSON.parse(text) as unknown;
    return JSON.parse(text, (_name, value: unknown) => putBack(value, pictures)) as unknown;
  } catch {
    return undefined;
  }
}

function putBack(value: unknown, pictures: readonly DecodedBase64[]): unknown {
  const isToken = typeof value === "string" && value.startsWith(token);
  return isToken ? (pictures[Number(value.slice(token.length))] ?? value) : value;
}

type Collector = { readonly length: number; add(bytes: Uint8Array): void; join(): Uint8Array };

function createCollector(): Collector {
  const parts: Uint8Array[] = [];
  let length = 0;
  return {
    get length() {
      return length;
    },
    add: (bytes) => {
      length += bytes.length;
      // A few bytes must not keep the whole piece in memory that they came in.
      parts.push(2 * bytes.length < bytes.buffer.byteLength ? Buffer.from(bytes) : bytes);
    },
    join: () => Buffer.concat(parts, length),
  };
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
