/** The transport under an emulated vendor: a real HTTP server that records requests and can be told to misbehave. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type RecordedRequest = {
  method: string;
  /** With its query. */
  path: string;
  headers: Record<string, string>;
  body: Buffer;
};

export type EmulatorReply = {
  status: number;
  headers?: Record<string, string>;
  /** Sent as JSON, unless it is bytes. */
  body: unknown;
  /** What goes wrong with this one reply, whatever the server was told. */
  how?: Misbehaviour;
};

/** What goes wrong with a reply; the vendor has done, and billed, the work all the same. */
export type Misbehaviour =
  /** Nothing at all is answered. */
  | { kind: "hang" }
  | { kind: "hang_after_headers" }
  /** The connection ends after this share of the body, which was announced whole. */
  | { kind: "cut"; share: number }
  /** The same, with a body whose length was not announced and which ends in order. */
  | { kind: "cut_quietly"; share: number }
  /** The connection ends before anything is answered. */
  | { kind: "reset" }
  /** A body of this length, sent as fast as it is read; status 200 unless told. */
  | { kind: "huge"; bytes: number; status?: number }
  /** Anything instead of the reply. */
  | { kind: "instead"; reply: EmulatorReply }
  /** The reply's own body, changed. */
  | { kind: "changed"; change: (body: unknown) => unknown }
  | { kind: "slow"; delayMs: number };

export type VendorServer = {
  /** `http://127.0.0.1:PORT` */
  origin: string;
  readonly requests: readonly RecordedRequest[];
  /** Body bytes written so far, over all replies. */
  readonly bytesSent: number;
  /** Misbehaves from now on; null ends it. */
  misbehave(how: Misbehaviour | null): void;
  /** Resolves once `count` requests have been read whole. */
  untilAsked(count: number): Promise<void>;
  stop(): Promise<void>;
};

export async function startVendorServer(
  answer: (request: RecordedRequest) => Promise<EmulatorReply> | EmulatorReply,
): Promise<VendorServer> {
  const requests: RecordedRequest[] = [];
  const watchers = new Set<{ count: number; resolve: () => void }>();
  let how: Misbehaviour | null = null;
  let bytesSent = 0;
  const count = (length: number): void => {
    bytesSent += length;
  };
  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = await readRequest(incoming);
    requests.push(request);
    const reply = await answer(request);
    const wanted = reply.how ?? how;
    for (const watcher of watchers) {
      if (requests.length < watcher.count) continue;
      watchers.delete(watcher);
      watcher.resolve();
    }
    await send(response, reply, wanted, count);
  };
  const server = createServer((incoming, response) => {
    response.on("error", () => {});
    serve(incoming, response).catch((error: unknown) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(599, { "content-type": "text/plain" }).end(String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server that listens has a port.
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    requests,
    get bytesSent() {
      return bytesSent;
    },
    misbehave: (next) => {
      how = next;
    },
    untilAsked: (wanted) =>
      new Promise((resolve) => {
        if (requests.length >= wanted) resolve();
        else watchers.add({ count: wanted, resolve });
      }),
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** The fields and files of a recorded form, in their order; a file is its bytes. */
export async function readForm({ headers, body }: RecordedRequest): Promise<FormEntry[]> {
  const type = headers["content-type"] ?? "";
  const form = await new Response(new Uint8Array(body), {
    headers: { "content-type": type },
  }).formData();
  return Promise.all(
    [...form].map(async ([name, value]): Promise<FormEntry> => {
      if (typeof value === "string") return { name, value };
      const bytes = Buffer.from(await value.arrayBuffer());
      return { name, filename: value.name, contentType: value.type, bytes };
    }),
  );
}

export type FormEntry =
  | { name: string; value: string }
  | { name: string; filename: string; contentType: string; bytes: Buffer };

/** A field as text, whatever was sent in it. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value ?? null);
}

async function readRequest(incoming: IncomingMessage): Promise<RecordedRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [
      name,
      [value ?? ""].flat().join(", "),
    ]),
  );
  return {
    method: incoming.method ?? "GET",
    path: incoming.url ?? "/",
    headers,
    body: Buffer.concat(chunks),
  };
}

async function send(
  response: ServerResponse,
  given: EmulatorReply,
  how: Misbehaviour | null,
  count: (length: number) => void,
): Promise<void> {
  if (how?.kind === "hang") return;
  if (how?.kind === "reset") return void response.destroy();
  if (how?.kind === "slow") await new Promise((resolve) => setTimeout(resolve, how.delayMs));
  const reply = how?.kind === "instead" ? how.reply : given;
  const value = how?.kind === "changed" ? how.change(reply.body) : reply.body;
  const body = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
  const headers = { "content-type": "application/json", ...reply.headers };
  const share = how?.kind === "cut" || how?.kind === "cut_quietly" ? how.share : 1;
  const part = body.subarray(0, Math.floor(body.length * share));
  if (how?.kind === "huge") return sendEndless(response, how, count);
  if (how?.kind === "cut_quietly") {
    // Without a length and without chunks, the end of the connection is the end of the body.
    response.useChunkedEncodingByDefault = false;
    response.writeHead(reply.status, { ...headers, connection: "close" });
  } else {
    response.writeHead(reply.status, { ...headers, "content-length": body.length });
  }
  count(part.length);
  if (how?.kind === "hang_after_headers") return response.flushHeaders();
  if (how?.kind === "cut") return void response.write(part, () => response.destroy());
  response.end(part);
}

async function sendEndless(
  response: ServerResponse,
  { bytes, status = 200 }: { bytes: number; status?: number },
  count: (length: number) => void,
): Promise<void> {
  const chunk = Buffer.alloc(1_048_576, "A");
  response.writeHead(status, { "content-type": "application/json" });
  for (let sent = 0; sent < bytes && !response.destroyed; sent += chunk.length) {
    count(chunk.length);
    if (response.write(chunk)) continue;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        response.off("drain", go).off("close", go);
        resolve();
      };
      response.on("drain", go).on("close", go);
    });
  }
  response.end();
}
