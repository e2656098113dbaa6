/** Takes replies in, bounded for all vendors together: in memory, and in time on the event loop. */
import type { EgressReply } from "../lib/egress.ts";
import { createGate } from "../lib/gate.ts";
import { createTurnBudget } from "../lib/turn-budget.ts";
import { nextTurn } from "../lib/turn.ts";
import { createReplyReader } from "./reply-reader.ts";
import type { ReplyContent } from "./reply-reader.ts";

export type Replies = {
  /** Reads a reply to its end. */
  take(reply: EgressReply): Promise<ReplyContent>;
};

/** Of all replies that are on their way or being parsed. */
const replyBytesMax = 256 * 2 ** 20;
/** What a reply weighs that does not say how long it is. */
const unknownBytes = 8 * 2 ** 20;
/** Of all replies, in one turn of the event loop: some eight milliseconds of work. Less costs more turns. */
const turnBytesMax = 2 * 2 ** 20;
/** From here on joining and parsing a text takes a millisecond and more. */
const longTextBytes = 262_144;

/** One for all vendors of a process. */
export function createReplies(): Replies {
  const arriving = createGate(replyBytesMax);
  const taking = createTurnBudget(turnBytesMax);
  const parsing = createGate(1);
  return {
    take: (reply) => {
      const { "content-length": length } = reply.headers;
      const announced = length === undefined ? null : Number(length);
      return arriving.run(new URL(reply.url).host, announced ?? unknownBytes, async () => {
        const reader = createReplyReader(announced);
        const turns = taking.join();
        for await (const piece of reply.body) {
          await turns.spend(piece.length);
          reader.add(piece);
        }
        if (reader.textBytes < longTextBytes) return reader.end();
        // Until its turn a text is in memory once: joined, decoded and parsed it is there four times.
        return parsing.run("replies", 1, async () => {
          await nextTurn();
          return reader.end();
        });
      });
    },
  };
}
