/** A webhook receiver: a real HTTP server that keeps what it is sent and answers as it is told. */
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

export type Received = { path: string; headers: IncomingHttpHeaders; body: string };

/** Answers one request; a receiver that hangs does nothing at all. */
export type Answer = (response: ServerResponse, received: Received) => void;

export type Receiver = {
  /** `http://127.0.0.1:PORT`, no slash at the end. */
  origin: string;
  /** Everything received so far. */
  received: Received[];
  /** Requests that have not been answered, and the most there were at once. */
  readonly open: number;
  readonly openMax: number;
  /** From now on every request is answered so. */
  answerWith(answer: Answer): void;
  /** Resolves when at least `count` requests have been received. */
  untilReceived(count: number): Promise<void>;
  stop(): Promise<void>;
};

export function reply(status: number, headers: Record<string, string> = {}, body = ""): Answer {
  return (response) => void response.writeHead(status, headers).end(body);
}

export const hang: Answer = () => undefined;

export async function startReceiver(first: Answer = reply(204)): Promise<Receiver> {
  const received: Received[] = [];
  const watchers = new Set<{ count: number; resolve: () => void }>();
  let answer = first;
  let open = 0;
  let openMax = 0;
  const server = createServer((request, response) => {
    open += 1;
    openMax = Math.max(openMax, open);
    response.once("close", () => {
      open -= 1;
    });
    void text(request)
      .catch(() => "")
      .then((body) => {
        const one = { path: request.url ?? "", headers: request.headers, body };
        received.push(one);
        answer(response, one);
        for (const watcher of watchers) {
          if (received.length < watcher.count) continue;
          watchers.delete(watcher);
          watcher.resolve();
        }
      });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A listening TCP server has an address with a port.
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    received,
    get open() {
      return open;
    },
    get openMax() {
      return openMax;
    },
    answerWith: (next) => {
      answer = next;
    },
    untilReceived: (count) =>
      new Promise((resolve) => {
        if (received.length >= count) resolve();
        else watchers.add({ count, resolve });
      }),
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
