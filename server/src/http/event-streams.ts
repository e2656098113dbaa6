/**
 * Server-sent events. Thousands of streams are open at once, so no stream owns a timer: one clock beats
 * for all of them, a fifteenth of them every second.
 */
import { once } from "node:events";
import type { ServerResponse } from "node:http";

import type { FastifyReply } from "fastify";

import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";

export type ServerEvent = {
  name: string;
  /** One line. */
  data: string;
  id?: number;
};

export type EventStream = {
  /** Sends an event. A client that has left too much unread is dropped instead. */
  send(event: ServerEvent): void;
  /** Sends text as it is, no faster than the client reads; stops early when the client leaves. */
  sendText(pieces: AsyncIterable<string>): Promise<void>;
  /** Ends the stream when everything sent so far has left. */
  end(): void;
};

export type EventStreams = {
  /** Answers a request with a stream; `onClose` is called once, when it is over for whatever reason. */
  open(reply: FastifyReply, onClose: () => void): EventStream;
  /** Streams that are open now. */
  readonly count: number;
};

/** Every stream says something this often, so that no proxy takes it for dead. */
const beatSeconds = 15;
/** What a client may leave unread, in bytes beyond what the system itself buffers. */
const unreadBytesMax = 65_536;
/** Beats in a row at which something may wait to be read before the client is dropped. */
const unreadBeatsMax = 4;
/** How long a client waits before it connects again. */
const retryMs = 2 * secondMs;

const streamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-store, no-transform",
  // nginx would otherwise keep the events to itself until the stream ends.
  "x-accel-buffering": "no",
};

type OpenStream = { raw: ServerResponse; unreadBeats: number };

export function createEventStreams(clock: Clock): EventStreams {
  const groups = Array.from({ length: beatSeconds }, () => new Set<OpenStream>());
  let count = 0;
  let next = 0;
  let cancelBeat: (() => void) | null = null;

  function beatLater(): void {
    cancelBeat ??= clock.after(secondMs, () => {
      cancelBeat = null;
      next = (next + 1) % beatSeconds;
      for (const stream of groups[next] ?? []) beat(stream);
      if (count > 0) beatLater();
    });
  }

  function remove(stream: OpenStream, group: Set<OpenStream> | undefined): void {
    group?.delete(stream);
    count -= 1;
    if (count > 0) return;
    cancelBeat?.();
    cancelBeat = null;
  }

  return {
    open: (reply, onClose) => {
      const stream = { raw: startStream(reply), unreadBeats: 0 };
      const verbs = {
        send: (event: ServerEvent) => send(stream, event),
        sendText: (pieces: AsyncIterable<string>) => sendText(stream, pieces),
        end: () => stream.raw.end(),
      };
      // The client has left before its stream began, and there will be no word of it.
      if (stream.raw.destroyed) {
        queueMicrotask(onClose);
        return verbs;
      }
      // The group that has just had its turn: the first beat comes after a whole round.
      const group = groups[next];
      group?.add(stream);
      count += 1;
      beatLater();
      stream.raw.once("close", () => {
        remove(stream, group);
        onClose();
      });
      return verbs;
    },
    get count() {
      return count;
    },
  };
}

/** Takes the reply out of Fastify's hands: it would wait for a whole body. */
function startStream(reply: FastifyReply): ServerResponse {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { ...reply.getHeaders(), ...streamHeaders } as Record<string, string>);
  raw.write(`retry: ${retryMs}\n\n`);
  return raw;
}

function beat(stream: OpenStream): void {
  const { raw } = stream;
  if (raw.writableLength === 0) {
    stream.unreadBeats = 0;
    raw.write(":\n\n");
    return;
  }
  stream.unreadBeats += 1;
  if (stream.unreadBeats >= unreadBeatsMax) raw.destroy();
}

function send({ raw }: OpenStream, { name, id, data }: ServerEvent): void {
  if (raw.destroyed || raw.writableEnded) return;
  if (raw.writableLength > unreadBytesMax) {
    raw.destroy();
    return;
  }
  const head = id === undefined ? "" : `id: ${id}\n`;
  raw.write(`${head}event: ${name}\ndata: ${data}\n\n`);
}

async function sendText(stream: OpenStream, pieces: AsyncIterable<string>): Promise<void> {
  const { raw } = stream;
  for await (const piece of pieces) {
    if (raw.destroyed || raw.writableEnded) return;
    if (raw.write(piece)) continue;
    const left = new AbortController();
    const close = (): void => left.abort();
    raw.once("close", close);
    await once(raw, "drain", { signal: left.signal }).catch(() => undefined);
    raw.off("close", close);
    stream.unreadBeats = 0;
  }
}
