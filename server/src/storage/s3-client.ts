/**
 * Requests to an S3 store: signed, bounded in time and repeated when a failure may pass. Every request
 * that is made here may be repeated without harm: names are written once, and removing is for ever.
 */
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";

import { jitter } from "../lib/random.ts";
import type { Random } from "../lib/random.ts";
import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import type { S3Signer } from "./s3-signer.ts";
import { findXmlText } from "./s3-xml.ts";
import { StorageError } from "./storage.ts";

/** The store refused, failed or did not answer. The message is fit for logs: no address, no key. */
export class S3Error extends StorageError {
  /** Null when there was no answer. */
  readonly status: number | null;
  /** The store's own word, such as `NoSuchKey`; null when it said none. */
  readonly code: string | null;
  /** The store may have done what it was asked for all the same. */
  readonly mayHaveHappened: boolean;
  readonly isPassing: boolean;

  constructor(message: string, facts: S3Failure) {
    super(`the object store failed: ${message}`, { cause: facts.cause });
    this.name = "S3Error";
    this.status = facts.status;
    this.code = facts.code;
    this.mayHaveHappened = facts.mayHaveHappened;
    this.isPassing = facts.isPassing;
  }
}

type S3Failure = {
  status: number | null;
  code: string | null;
  mayHaveHappened: boolean;
  isPassing: boolean;
  cause?: unknown;
};

export type S3Request = {
  /** For messages: `put`, `read`. */
  what: string;
  method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  url: URL;
  headers?: Readonly<Record<string, string>>;
  body?: Uint8Array;
  /** For one try, the upload included; for what streams, until the headers are there. */
  timeoutMs?: number;
  triesMax?: number;
};

export type S3Reply = {
  status: number;
  /** By lower-case name. */
  headers: Readonly<Record<string, string>>;
};

export type S3Client = {
  /** One exchange with a reply of at most `bytesMax`. Throws `S3Error`, also for any status but 2xx. */
  call(request: S3Request, bytesMax: number): Promise<S3Reply & { body: Buffer }>;
  /** The same with the body still on the wire: read it to its end, or destroy it. */
  open(request: S3Request): Promise<S3Reply & { stream: Readable }>;
};

/** Undici's `request` on an agent of the storage's own. */
export type Send = (
  url: URL,
  options: Pick<Dispatcher.RequestOptions, "method" | "body" | "signal"> & {
    headers: Record<string, string>;
  },
) => Promise<Dispatcher.ResponseData>;

export type S3ClientDeps = {
  signer: S3Signer;
  clock: Clock;
  random: Random;
  /** For exchanges that end soon. */
  send: Send;
  /** For bodies that are read as slowly as a caller likes. */
  sendStreamed: Send;
  /** Before the second try; doubled before each one after it. */
  retryPauseMs: number;
};

const triesMaxDefault = 4;
/** No further try begins after this: a caller may be waiting, and the engine tries again by itself. */
const triesWithinMs = 30 * secondMs;
const replyTimeoutMs = 20 * secondMs;
/** Slower uploads are given up: 256 KB a second. */
const uploadBytesPerMs = 256;
const errorBytesMax = 65_536;
/** SHA-256 of nothing. */
const emptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

export function createS3Client(deps: S3ClientDeps): S3Client {
  return {
    call: (request, bytesMax) =>
      repeat(deps, request, () =>
        exchange(deps, { request, send: deps.send }, async (reply, stream) => ({
          ...reply,
          body: await collect(stream, bytesMax),
        })),
      ),
    open: (request) =>
      repeat(deps, request, () =>
        exchange(deps, { request, send: deps.sendStreamed }, (reply, stream) => {
          // A stream that is destroyed before its end reports that; whoever destroyed it knows.
          stream.on("error", () => undefined);
          return Promise.resolve({ ...reply, stream });
        }),
      ),
  };
}

async function repeat<T>(deps: S3ClientDeps, request: S3Request, work: () => Promise<T>) {
  const { triesMax = triesMaxDefault } = request;
  const lastTryAt = deps.clock.monotonic() + triesWithinMs;
  let mayHaveHappened = false;
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof S3Error)) throw error;
      mayHaveHappened ||= error.mayHaveHappened;
      if (error.isPassing && tries < triesMax && deps.clock.monotonic() < lastTryAt) {
        await deps.clock.sleep(jitter(deps.random, deps.retryPauseMs * 2 ** (tries - 1), 0.5));
        continue;
      }
      const { status, code, isPassing } = error;
      const message = error.message.replace(/^.*?failed: /, "");
      throw new S3Error(message, { status, code, isPassing, mayHaveHappened, cause: error.cause });
    }
  }
}

/** One try. `take` gets a reply of 2xx with its body still on the wire. */
async function exchange<T>(
  deps: S3ClientDeps,
  { request, send }: { request: S3Request; send: Send },
  take: (reply: S3Reply, stream: Readable) => Promise<T>,
): Promise<T> {
  const { what, method, url, body } = request;
  const { timeoutMs = replyTimeoutMs + (body?.byteLength ?? 0) / uploadBytesPerMs } = request;
  const bodySha256 = await hash(body);
  const headers = await deps.signer.sign({
    method,
    url,
    headers: request.headers ?? {},
    bodySha256,
  });
  const late = new AbortController();
  const cancel = deps.clock.after(timeoutMs, () => late.abort(new Error("no reply in time")));
  try {
    const response = await send(url, { method, headers, body: body ?? null, signal: late.signal });
    const reply = { status: response.statusCode, headers: joinHeaders(response.headers) };
    if (reply.status >= 300) throw await refuse(what, reply, response.body);
    return await take(reply, response.body);
  } catch (error) {
    throw error instanceof StorageError ? error : describeLoss(what, error);
  } finally {
    cancel();
  }
}

/** Off the event loop: a part of sixteen megabytes takes many milliseconds. */
async function hash(body: Uint8Array | undefined): Promise<string> {
  if (body === undefined || body.byteLength === 0) return emptySha256;
  const digest = await crypto.subtle.digest("SHA-256", body);
  return Buffer.from(digest).toString("hex");
}

async function refuse(what: string, reply: S3Reply, stream: Readable): Promise<S3Error> {
  const { status } = reply;
  const xml = await collect(stream, errorBytesMax).catch(() => Buffer.alloc(0));
  const code = findXmlText(String(xml), "Code");
  // What a store of another region says: Amazon in a header, on HEAD too, others in the body.
  const told = reply.headers["x-amz-bucket-region"] ?? findXmlText(String(xml), "Region") ?? "";
  const region = /^[a-z0-9-]+$/.exec(told)?.[0];
  const isElsewhere = status < 400 || code === "AuthorizationHeaderMalformed";
  const hint = isElsewhere && region !== undefined ? `; the bucket is in region ${region}` : "";
  return new S3Error(`${what}: ${[status, code?.slice(0, 80)].join(" ").trim()}${hint}`, {
    status,
    code,
    mayHaveHappened: status >= 500 && status !== 501 && status !== 503,
    isPassing: mayPass(status, code),
  });
}

function mayPass(status: number, code: string | null): boolean {
  if (status === 501) return false;
  return status >= 500 || status === 429 || status === 408 || code === "RequestTimeout";
}

const unsentCodes = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"];

/** No answer, or half of one: the connection broke, or time was up. */
function describeLoss(what: string, error: unknown): S3Error {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const reason = code === "" ? (error instanceof Error ? error.message : "no answer") : code;
  return new S3Error(`${what}: ${reason.slice(0, 80)}`, {
    status: null,
    code: null,
    mayHaveHappened: !unsentCodes.includes(code),
    isPassing: true,
    cause: error,
  });
}

async function collect(stream: Readable, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Undici's bodies give buffers.
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > bytesMax) throw new StorageError("the object store failed: its reply is too long");
    chunks.push(chunk);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

function joinHeaders(headers: Dispatcher.ResponseData["headers"]): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, [value ?? ""].flat().join(", ")]),
  );
}
