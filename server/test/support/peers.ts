/** Real servers on the loopback addresses, for tests of whatever goes out through the guard. */
import { generateKeyPairSync, sign } from "node:crypto";
import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server as TcpServer, Socket } from "node:net";
import type { TestContext } from "node:test";

export type Peer = {
  port: number;
  /** Address of `path` at this peer, by number unless a host name is given. */
  url(path?: string, hostname?: string): string;
  /** Connections accepted so far. */
  readonly connections: number;
};

/** An HTTP server on every loopback address; it ends with the test. */
export function startPeer(context: TestContext, listener: RequestListener): Promise<Peer> {
  const server = createServer(listener);
  context.after(() => server.closeAllConnections());
  return listen(context, server, "http");
}

/** The same behind TLS. */
export function startTlsPeer(
  context: TestContext,
  identity: Identity,
  listener: RequestListener,
): Promise<Peer> {
  const server = createTlsServer(identity, listener);
  context.after(() => server.closeAllConnections());
  return listen(context, server, "https");
}

/** A server that speaks no protocol but what `listener` writes. */
export function startTcpPeer(
  context: TestContext,
  listener: (socket: Socket) => void,
): Promise<Peer> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    listener(socket);
  });
  context.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  return listen(context, server, "http");
}

function listen(context: TestContext, server: Server | TcpServer, scheme: string): Promise<Peer> {
  let connections = 0;
  server.on("connection", () => {
    connections += 1;
  });
  context.after(() => void server.close());
  return new Promise((resolve) => {
    server.listen(0, "0.0.0.0", () => {
      const { port } = server.address() as AddressInfo; // a TCP server that listens has a port
      resolve({
        port,
        url: (path = "/", hostname = "127.0.0.1") => `${scheme}://${hostname}:${port}${path}`,
        get connections() {
          return connections;
        },
      });
    });
  });
}

export type Identity = { key: string; cert: string };

/** A private key and a self-signed certificate for `hostname`, valid from 2000 to 2099. */
export function createIdentity(hostname: string): Identity {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const ecdsaWithSha256 = sequence(hex("06082a8648ce3d040302"));
  const name = sequence(der(0x31, sequence(hex("0603550403"), der(0x0c, Buffer.from(hostname)))));
  const validity = sequence(
    der(0x18, Buffer.from("20000101000000Z")),
    der(0x18, Buffer.from("20990101000000Z")),
  );
  const serial = der(0x02, Buffer.from([1]));
  const spki = publicKey.export({ type: "spki", format: "der" });
  const content = sequence(serial, ecdsaWithSha256, name, validity, name, spki);
  const signature = sign("sha256", content, privateKey);
  const bits = der(0x03, Buffer.concat([Buffer.from([0]), signature]));
  const base64 = sequence(content, ecdsaWithSha256, bits).toString("base64");
  const lines = base64.replaceAll(/.{64}/g, "$&\n").trimEnd();
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
  };
}

/** One ASN.1 value: tag, length, content. */
function der(tag: number, content: Buffer): Buffer {
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  return Buffer.concat([Buffer.from([tag, 0x82, length >> 8, length & 0xff]), content]);
}

function sequence(...parts: Buffer[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function hex(text: string): Buffer {
  return Buffer.from(text, "hex");
}
