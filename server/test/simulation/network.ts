/**
 * The way out of a simulated process, to servers that are simulated too: exchanges take time, and go wrong
 * as they do on a network. What a server has done, it has done, whatever the asker is told of it.
 */
import { EgressError } from "../../src/lib/egress.ts";
import type { Egress, EgressReply, EgressRequest } from "../../src/lib/egress.ts";
import { must } from "../../src/lib/errors.ts";
import { secondMs } from "../../src/lib/time.ts";
import type { Clock } from "../../src/lib/time.ts";

export type Answer = {
  status: number;
  body?: Uint8Array;
  /** Until the headers are there; longer than the asker waits is a timeout. */
  afterMs: number;
  /** Between the halves of the body. */
  gapMs?: number;
  /** `lost`: nothing of the answer arrives. `cut`: the headers and half of the body do. */
  fault?: "lost" | "cut";
};

/** Answers a request that has arrived; a server that is unreachable has never seen it. */
export type Server = (url: URL, request: EgressRequest) => Answer | "unreachable";

/** Whether anything still goes wrong: the end of a run is calm. */
export type Weather = { isCalm: boolean };

type Network = { clock: Clock; servers: ReadonlyMap<string, Server> };

const tripMs = 20;

/** Knows servers by their host names. */
export function createNetwork(network: Network): Egress {
  return {
    request: (url, request) => exchange(network, url, request),
    checkUrl: () => undefined,
    close: () => Promise.resolve(),
  };
}

async function exchange(
  network: Network,
  url: string,
  request: EgressRequest,
): Promise<EgressReply> {
  const { timeoutMs, headersTimeoutMs = 10 * secondMs, signal } = request;
  const target = new URL(url);
  await wait(network, tripMs, { limitMs: timeoutMs, signal });
  const server = must(network.servers.get(target.hostname), `a server ${target.hostname}`);
  const answer = server(target, request);
  if (answer === "unreachable") throw new EgressError("unreachable", "no connection");
  const limitMs = Math.min(timeoutMs, headersTimeoutMs);
  await wait(network, answer.afterMs, { limitMs, signal });
  if (answer.fault === "lost") throw broken();
  const chunks = (): AsyncGenerator<Uint8Array> => send(network, answer, request);
  const { status, body = new Uint8Array() } = answer;
  return {
    status,
    headers: { "content-length": String(body.length) },
    url,
    body: { [Symbol.asyncIterator]: chunks },
    read: () => collect(chunks()),
    discard: () => undefined,
  };
}

async function* send(
  network: Network,
  { body = new Uint8Array(), gapMs = 0, fault }: Answer,
  { gapTimeoutMs = 10 * secondMs, signal }: EgressRequest,
): AsyncGenerator<Uint8Array> {
  const half = Math.ceil(body.length / 2);
  if (half > 0) yield body.subarray(0, half);
  await wait(network, gapMs, { limitMs: gapTimeoutMs, signal });
  if (fault === "cut") throw broken();
  if (half < body.length) yield body.subarray(half);
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

type Patience = { limitMs: number; signal: AbortSignal | undefined };

async function wait({ clock }: Network, ms: number, { limitMs, signal }: Patience): Promise<void> {
  await clock.sleep(Math.min(ms, limitMs), signal);
  if (signal?.aborted === true) throw new EgressError("aborted", "was called off", { sent: true });
  if (ms <= limitMs) return;
  throw new EgressError("timeout", `nothing within ${limitMs} ms`, { sent: true });
}

function broken(): EgressError {
  return new EgressError("broken", "the connection broke", { sent: true });
}
