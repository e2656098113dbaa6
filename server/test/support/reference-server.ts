/** A server on the loopback address that hands out reference pictures, and remembers who asked. */
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";

export type ReferenceServer = {
  /** `http://127.0.0.1:PORT`. */
  origin: string;
  /** Serves bytes under a path, with a content type or none; returns the URL. */
  serve(path: string, bytes: Buffer, contentType?: string): string;
  /** Answers a path by hand; returns the URL. */
  answer(path: string, listener: RequestListener): string;
  /** Paths asked for so far, in their order. */
  readonly asked: readonly string[];
  /** Connections accepted so far. */
  readonly connections: number;
  stop(): Promise<void>;
};

export async function startReferenceServer(): Promise<ReferenceServer> {
  const listeners = new Map<string, RequestListener>();
  const asked: string[] = [];
  let connections = 0;
  const server = createServer((request, reply) => {
    const path = request.url ?? "/";
    asked.push(path);
    const listener = listeners.get(path);
    if (listener === undefined) reply.writeHead(404).end();
    else listener(request, reply);
  });
  server.on("connection", () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server that listens has a port.
  const { port } = server.address() as AddressInfo;
  const origin = `http://127.0.0.1:${port}`;
  const answer = (path: string, listener: RequestListener): string => {
    listeners.set(path, listener);
    return `${origin}${path}`;
  };
  return {
    origin,
    answer,
    serve: (path, bytes, contentType) =>
      answer(path, (_request, reply) => {
        if (contentType !== undefined) reply.setHeader("content-type", contentType);
        reply.setHeader("content-length", bytes.length).end(bytes);
      }),
    asked,
    get connections() {
      return connections;
    },
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
