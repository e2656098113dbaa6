/**
 * A TCP proxy before a PostgreSQL server that fails as networks do: it cuts connections, refuses new ones,
 * lets bytes stand still, and swallows the reply to a statement.
 */
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

export type FaultProxy = AsyncDisposable & {
  /** The database's address, through the proxy. */
  url: string;
  /** Breaks every connection that is open. */
  cut(): void;
  /** While refused, connections are broken as soon as they are made. */
  refuse(isRefused: boolean): void;
  /** While stalled, nothing passes in either direction, and nothing is broken. */
  stall(isStalled: boolean): void;
  /** From now on, breaks every connection that sends a message with these words. */
  forbid(words: string): void;
  /**
   * Breaks, once, the connection that sends a message with these words: before the server has seen it, or
   * after the server has answered. Calls `also` in that moment; resolves when it has happened.
   */
  cutAt(words: string, when: "before" | "after", also?: () => void): Promise<void>;
};

type Trap = { words: string; when: "before" | "after"; sprung: () => void };
type Pair = { client: Socket; server: Socket };

/** `url` may name a socket folder (`?host=/…`) or a host. */
export async function startFaultProxy(url: string): Promise<FaultProxy> {
  const pairs = new Set<Pair>();
  let isRefused = false;
  let isStalled = false;
  let trap: Trap | null = null;
  let forbidden: string | null = null;

  const listener = createServer((client) => {
    if (isRefused) {
      client.destroy();
      return;
    }
    const server = connectTo(url);
    const pair = { client, server };
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
    let swallowing: Trap | null = null;
    client.on("data", (bytes: Buffer) => {
      if (forbidden !== null && bytes.includes(forbidden)) {
        end();
        return;
      }
      if (trap !== null && bytes.includes(trap.words)) {
        const sprung = trap;
        trap = null;
        if (sprung.when === "before") {
          end();
          sprung.sprung();
          return;
        }
        swallowing = sprung;
      }
      server.write(bytes);
    });
    server.on("data", (bytes: Buffer) => {
      if (swallowing === null) {
        client.write(bytes);
        return;
      }
      end();
      swallowing.sprung();
    });
    if (isStalled) pause(pair, true);
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as AddressInfo;
  const cut = (): void => {
    for (const { client } of pairs) client.destroy();
  };
  return {
    url: addressOf(url, port),
    cut,
    refuse: (refused) => {
      isRefused = refused;
    },
    stall: (stalled) => {
      isStalled = stalled;
      for (const pair of pairs) pause(pair, stalled);
    },
    forbid: (words) => {
      forbidden = words;
    },
    cutAt: (words, when, also = () => undefined) =>
      new Promise((resolve) => {
        const sprung = (): void => {
          also();
          resolve();
        };
        trap = { words, when, sprung };
      }),
    [Symbol.asyncDispose]: async () => {
      isRefused = true;
      cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

function pause({ client, server }: Pair, isStalled: boolean): void {
  for (const socket of [client, server]) {
    if (isStalled) socket.pause();
    else socket.resume();
  }
}

function connectTo(url: string): Socket {
  const { hostname, port, searchParams } = new URL(url);
  const folder = searchParams.get("host");
  const number = port === "" ? 5432 : Number(port);
  return folder === null ? connect(number, hostname) : connect(`${folder}/.s.PGSQL.${number}`);
}

function addressOf(url: string, port: number): string {
  const proxied = new URL(url);
  proxied.hostname = "127.0.0.1";
  proxied.port = String(port);
  proxied.searchParams.delete("host");
  return proxied.href;
}
