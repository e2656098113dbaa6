/** What stands before the API's nodes, as a load balancer does: one address, and connections to nodes that are ready. */
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

export type Front = {
  /** `http://127.0.0.1:PORT` */
  origin: string;
  stop(): Promise<void>;
};

/** `listOrigins` names the nodes that are ready now; while there is none, connections are broken at once. */
export async function startFront(listOrigins: () => readonly string[]): Promise<Front> {
  const sockets = new Set<Socket>();
  let turn = 0;
  const listener = createServer((client) => {
    const origins = listOrigins();
    turn += 1;
    const origin = origins[turn % Math.max(1, origins.length)];
    if (origin === undefined) {
      client.destroy();
      return;
    }
    const { hostname, port } = new URL(origin);
    const server = connect(Number(port), hostname);
    const end = (): void => {
      for (const socket of [client, server]) {
        sockets.delete(socket);
        socket.destroy();
      }
    };
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", end).on("close", end);
    }
    client.pipe(server).pipe(client);
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  // A TCP server that listens has a port.
  const { port } = listener.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    stop: async () => {
      const closed = new Promise((resolve) => listener.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
