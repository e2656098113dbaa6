/**
 * Short words between the nodes of one database: NOTIFY and LISTEN on a connection of their own, because a
 * NOTIFY inside a transaction takes a lock that all commits wait for. They are hints: while the connection
 * is away they are lost, and nobody is told so.
 */
import type { Client } from "pg";

import type { Log } from "../lib/log.ts";
import { createLoop } from "../lib/loop.ts";
import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";

export type Notices = {
  /** Connects in the background, and again whenever the connection is lost. */
  start(): void;
  /** Tells every node, this one too. Resolves when the server has it, or when it is lost; never throws. */
  send(text: string): Promise<void>;
  stop(): Promise<void>;
  readonly isConnected: boolean;
};

export type NoticesDeps = {
  clock: Clock;
  log: Log;
  /** A connection that is not made yet; to a server, or a pooler that gives each client a session of its own. */
  createClient(): Client;
};

export type NoticesOptions = {
  /** Is called with every text of every node, this one included. */
  onNotice(text: string): void;
};

/** Longest text that a server takes, in bytes. */
export const noticeBytesMax = 7_999;

const channel = "darkroom";
/** A connection that is only listened on must be asked now and then whether it is still there. */
const askEveryMs = 10 * secondMs;
const retryMs = secondMs;

export function createNotices(deps: NoticesDeps, options: NoticesOptions): Notices {
  const { clock, log } = deps;
  let client: Client | null = null;

  function lose(lost: Client, error: unknown): void {
    if (client !== lost) return;
    client = null;
    log.warn({ err: error }, "the connection for wake-ups was lost; the slow poll carries on");
    loop.nudge();
  }

  async function connect(): Promise<void> {
    const fresh = deps.createClient();
    fresh.on("error", (error) => lose(fresh, error));
    fresh.on("end", () => lose(fresh, undefined));
    fresh.on("notification", ({ payload }) => options.onNotice(payload ?? ""));
    try {
      await fresh.connect();
      await fresh.query(`listen ${channel}`);
    } catch (error) {
      discard(fresh);
      throw error;
    }
    client = fresh;
  }

  async function turn(): Promise<number> {
    try {
      if (client === null) await connect();
      else await client.query("select 1");
      return askEveryMs;
    } catch (error) {
      log.warn({ err: error }, "the connection for wake-ups does not work");
      if (client !== null) discard(client);
      client = null;
      return retryMs;
    }
  }

  const loop = createLoop({
    clock,
    everyMs: retryMs,
    turn,
    onError: (error) => log.error({ err: error }, "wake-ups failed"),
  });
  return {
    start: () => loop.start(),
    send: async (text) => {
      const current = client;
      try {
        await current?.query("select pg_notify($1, $2)", [channel, text]);
      } catch (error) {
        if (current !== null) lose(current, error);
      }
    },
    stop: async () => {
      await loop.stop();
      const last = client;
      client = null;
      await last?.end().catch(() => undefined);
    },
    get isConnected() {
      return client !== null;
    },
  };
}

/** Does not wait for the goodbye of a server that may not answer. */
function discard(client: Client): void {
  client.end().catch(() => undefined);
}
