import { promisify } from "node:util";

import type { FastifyInstance } from "fastify";

import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";

/** Listens; resolves with the address that callers on this machine use. */
export async function listen(
  app: FastifyInstance,
  { host, port }: { host: string; port: number },
): Promise<string> {
  await app.listen({ host, port });
  const bound = app.server.address();
  const actual = bound === null || typeof bound === "string" ? port : bound.port;
  // A server that listens everywhere is found on loopback.
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${name.includes(":") ? `[${name}]` : name}:${actual}`;
}

/** Longest wait for requests under way when the server stops: a peer that dawdles does not hold it up. */
const drainMs = 10 * secondMs;

/** Between two looks whether connections are still in use. */
const lookMs = 50;

/**
 * Resolves when no connection is in use any more, or time is up. The server goes on listening: whoever asks how
 * it is must be told for as long as the process has work. Node knows which connections are idle; a book of our
 * own would cost every request.
 */
export async function finishReplies({ server }: FastifyInstance, clock: Clock): Promise<void> {
  server.keepAliveTimeout = 1;
  const countConnections = promisify(server.getConnections.bind(server));
  const until = clock.monotonic() + drainMs;
  for (;;) {
    server.closeIdleConnections();
    if ((await countConnections()) === 0 || clock.monotonic() >= until) return;
    await clock.sleep(lookMs);
  }
}

/** How long the calls of `LongCalls` may go on beside it: all in all a stop has 90 s. */
const longCallsMs = 60 * secondMs;

/** Calls whose callers get nothing but an error when the server stops waiting for them. */
export type LongCalls = { count(): number; end(): void };

const noCalls: LongCalls = { count: () => 0, end: () => undefined };

/** Takes no further connection and resolves when the requests under way have their replies, or their time is up. */
export async function closeServer(
  app: FastifyInstance,
  clock: Clock,
  calls: LongCalls = noCalls,
): Promise<void> {
  // A connection whose request is under way is not kept open for another one after its reply.
  app.server.keepAliveTimeout = 1;
  const closed = new AbortController();
  const late = closeLate(app, clock, calls, closed.signal);
  await app.close();
  closed.abort();
  await late;
}

async function closeLate(
  { server }: FastifyInstance,
  clock: Clock,
  calls: LongCalls,
  closed: AbortSignal,
): Promise<void> {
  await clock.sleep(drainMs, closed);
  if (calls.count() > 0) {
    const until = clock.monotonic() + longCallsMs;
    while (calls.count() > 0 && clock.monotonic() < until) {
      await clock.sleep(secondMs, closed);
      if (closed.aborted) return;
    }
    calls.end();
    // For what they are answered with.
    await clock.sleep(drainMs, closed);
  }
  if (!closed.aborted) server.closeAllConnections();
}

export type ApiRequest = { method: "GET" | "POST"; path: string; token: string; body?: string };

/** One request through the whole API, without a socket; resolves with the parsed body. */
export async function callInProcess(
  app: FastifyInstance,
  { method, path, token, body }: ApiRequest,
): Promise<unknown> {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const payload = body === undefined ? {} : { payload: body };
  const reply = await app.inject({ method, url: path, headers, ...payload });
  return reply.json();
}
