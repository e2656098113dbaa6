/** Points at which a process can be made to die: around every commit of its database and every send to a vendor. */
import { writeSync } from "node:fs";

import type { Database } from "../../src/db/database.ts";
import type { Egress, EgressReply } from "../../src/lib/egress.ts";

export type FailPoints = {
  /** Counts from now on, and kills this process at that passage, the first being 1; null: at none. */
  arm(dieAt: number | null): void;
  /** What was passed since then, in order. */
  readonly passages: readonly string[];
  pass(name: string): void;
};

export function createFailPoints(): FailPoints {
  let passages: string[] = [];
  let dieAt: number | null = null;
  return {
    arm: (next) => {
      passages = [];
      dieAt = next;
    },
    get passages() {
      return passages;
    },
    pass: (name) => {
      passages.push(name);
      if (passages.length !== dieAt) return;
      // Written at once: whatever is only queued dies with the process.
      writeSync(1, `${name}\n`);
      process.kill(process.pid, "SIGKILL");
    },
  };
}

/** Each transaction is passed twice: with everything written but not committed, and committed but not yet known. */
export function endangerCommits(points: FailPoints, db: Database): Database {
  return {
    ...db,
    transaction: async (work) => {
      const result = await db.transaction(async (tx) => {
        const written = await work(tx);
        points.pass("before a commit");
        return written;
      });
      points.pass("after a commit");
      return result;
    },
  };
}

/** Each exchange is passed three times: before the send, when a reply has come, and when it has been read. */
export function endangerSends(points: FailPoints, egress: Egress): Egress {
  return {
    ...egress,
    request: async (url, request) => {
      const what = `${request.method ?? "GET"} ${new URL(url).pathname}`;
      points.pass(`before ${what}`);
      const reply = await egress.request(url, request);
      points.pass(`before the reply to ${what}`);
      return endangerReply(reply, () => points.pass(`after the reply to ${what}`));
    },
  };
}

function endangerReply(reply: EgressReply, passEnd: () => void): EgressReply {
  return {
    ...reply,
    read: async () => {
      const bytes = await reply.read();
      passEnd();
      return bytes;
    },
    body: {
      [Symbol.asyncIterator]: async function* () {
        yield* reply.body;
        passEnd();
      },
    },
  };
}
