import type { Readable } from "node:stream";
import { assert } from "./errors.ts";
import type { Exchange } from "./egress-exchange.ts";

export type ReplyBody = {
  /** The bytes as they came, once. Breaking off closes the connection. */
  body: AsyncIterable<Uint8Array>;
  /** The whole body, once. */
  read(): Promise<Uint8Array>;
  /** Closes the connection without reading. Cheap to call twice. */
  discard(): void;
};

export type ReplyBodySource = {
  exchange: Exchange;
  source: Readable;
  headers: Readonly<Record<string, string>>;
  bytesMax: number;
  gapTimeoutMs: number;
};

/** Bounds a reply's body. A reply nobody reads is closed when the time of its exchange is up. */
export function createReplyBody(options: ReplyBodySource): ReplyBody {
  let taken = false;
  const take = (): AsyncGenerator<Uint8Array> => {
    assert(!taken, "a reply's body is read once");
    taken = true;
    return readBody(options);
  };
  return {
    body: { [Symbol.asyncIterator]: take },
    read: async () => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of take()) chunks.push(chunk);
      return Buffer.concat(chunks);
    },
    discard: () => {
      taken = true;
      options.exchange.end();
      closeQuietly(options.source);
    },
  };
}

/** A destroyed stream emits an error when nobody has read it to its end. */
export function closeQuietly(source: Readable): void {
  source.on("error", () => {});
  source.destroy();
}

async function* readBody(options: ReplyBodySource): AsyncGenerator<Uint8Array> {
  const { exchange, source, bytesMax, gapTimeoutMs } = options;
  try {
    checkHeaders(options);
    const chunks: AsyncIterator<Uint8Array> = source[Symbol.asyncIterator]();
    let received = 0;
    for (;;) {
      exchange.enter(gapTimeoutMs, "nothing more of the reply");
      const next = await chunks.next();
      // A consumer that is slow to store a chunk is not a peer that is slow to send one.
      exchange.leave();
      if (next.done === true) return;
      received += next.value.byteLength;
      if (received > bytesMax) throw exchange.fail("too_large", describeLimit(bytesMax));
      yield next.value;
    }
  } catch (error) {
    throw exchange.describe(error);
  } finally {
    exchange.end();
    closeQuietly(source);
  }
}

/**
 * A length that is announced is believed only when it is too long. A compressed reply is refused,
 * never inflated: a few kilobytes can become gigabytes.
 */
function checkHeaders({ exchange, headers, bytesMax }: ReplyBodySource): void {
  const encoding = headers["content-encoding"] ?? "";
  if (encoding !== "" && encoding.toLowerCase() !== "identity") {
    throw exchange.fail("broken", `the reply is encoded as ${encoding.slice(0, 40)}`);
  }
  if (Number(headers["content-length"] ?? 0) > bytesMax) {
    throw exchange.fail("too_large", describeLimit(bytesMax));
  }
}

function describeLimit(bytesMax: number): string {
  return `the reply is longer than ${bytesMax} bytes`;
}
