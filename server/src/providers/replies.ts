/** Takes long replies in: a bound on what is in memory of all of them, and one parsed in a turn of the event loop. */
import type { EgressReply } from "../lib/egress.ts";
import { createGate } from "../lib/gate.ts";
import { nextTurn } from "../lib/turn.ts";

export type Replies = {
  /** Reads a reply to its end and hands it to `parse`, whose work is not to hold up others. */
  take<T>(reply: EgressReply, parse: (bytes: Uint8Array) => T): Promise<T>;
};

/** Of all replies that are on their way or being parsed. */
const replyBytesMax = 256 * 2 ** 20;
/** What a reply weighs that does not say how long it is. */
const unknownBytes = 8 * 2 ** 20;
/** From here on joining and parsing a reply takes a millisecond and more. */
const longReplyBytes = 262_144;

/** One for all vendors of a process. */
export function createReplies(): Replies {
  const arriving = createGate(replyBytesMax);
  const parsing = createGate(1);
  return {
    take: (reply, parse) => {
      const { "content-length": announced } = reply.headers;
      const weight = announced === undefined ? unknownBytes : Number(announced);
      return arriving.run(new URL(reply.url).host, weight, async () => {
        const { chunks, length } = await readChunks(reply);
        if (length < longReplyBytes) return parse(Buffer.concat(chunks, length));
        // Until its turn a reply is in memory once: joined, as text and parsed it is there four times.
        return parsing.run("replies", 1, async () => {
          await nextTurn();
          return parse(Buffer.concat(chunks, length));
        });
      });
    },
  };
}

async function readChunks(reply: EgressReply): Promise<{ chunks: Uint8Array[]; length: number }> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of reply.body) {
    chunks.push(chunk);
    length += chunk.length;
  }
  return { chunks, length };
}
