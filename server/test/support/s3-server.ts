/**
 * An S3 server in the process: s3rver behind a front that adds what it lacks and real stores have. The
 * front verifies signatures and digests, an object appears all at once, and a test can make requests
 * fail, hang or lose their replies.
 */
import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";

import { hide } from "../../src/lib/secrets.ts";
import type { S3Credentials } from "../../src/storage/s3-signer.ts";

export type S3TestServer = {
  /** Origin of the server. */
  endpoint: string;
  bucket: string;
  credentials: S3Credentials;
  /** Requests so far, as `PUT /bucket/key?query`. */
  requests: string[];
  /** Headers of those requests. */
  headers: IncomingMessage["headers"][];
  /** Asked for each request; null lets it pass. */
  fault: { choose: (request: string) => S3Fault | null };
  /** Uploads in parts that were begun and neither completed nor aborted. */
  listUploads(): Promise<string[]>;
  /** Keys in the bucket. */
  listKeys(): Promise<string[]>;
};

export type S3Fault =
  | { kind: "refuse"; status: number; code: string; toldRegion?: string }
  /** The connection is closed and nothing has happened. */
  | { kind: "cut" }
  /** It happens, and the connection is closed instead of a reply. */
  | { kind: "lose reply" }
  /** The headers and half of the body are sent. */
  | { kind: "cut body" }
  /** No answer until the server is closed. */
  | { kind: "hang" };

type StoredObject = {
  bucket: string;
  key: string;
  content: Readable;
  metadata: Record<string, string>;
};

type Store = {
  getResourcePath(bucket: string, key: string | undefined, resource: string): string;
  putMetadata(bucket: string, key: string, metadata: object, md5: string): Promise<void>;
  putObject(object: StoredObject): Promise<{ size: number; md5: string }>;
  getObject(bucket: string, key: string, options?: { end?: unknown }): Promise<unknown>;
  listObjects(
    bucket: string,
    options: { prefix: string },
  ): Promise<{ objects: { key: string; lastModifiedDate: Date }[] }>;
  putPart(
    bucket: string,
    uploadId: string,
    part: string,
    content: Readable,
  ): Promise<{ size: number; md5: string }>;
};

type S3rver = {
  store: Store;
  configureBuckets(): Promise<unknown>;
  callback(): RequestListener;
};

const require = createRequire(import.meta.url);
// The package has no types of its own.
const createS3rver = require("s3rver") as new (options: object) => S3rver;

const bucket = "pictures";
const accessKeyId = "S3RVER";
const secretAccessKey = "S3RVER";
const region = "us-east-1";

/** What the server needs of a test: to be told of its end. */
export type Ending = { after(end: () => Promise<void>): void };

/** Closed, and its folder removed, when the test ends. */
export async function startS3Server(t: Ending): Promise<S3TestServer> {
  const directory = await mkdtemp(join(tmpdir(), "darkroom-s3-"));
  const inner = new createS3rver({ silent: true, directory, configureBuckets: [{ name: bucket }] });
  await inner.configureBuckets();
  makeAtomic(inner.store);
  const requests: string[] = [];
  const headers: IncomingMessage["headers"][] = [];
  const fault: S3TestServer["fault"] = { choose: () => null };
  const pass = inner.callback();
  const server = createServer((request, reply) => {
    const asked = `${request.method} ${request.url}`;
    requests.push(asked);
    headers.push({ ...request.headers });
    const chosen = fault.choose(asked);
    if (chosen !== null) misbehave(chosen, { request, reply, pass });
    else answer({ request, reply, pass }, inner.store);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(async () => {
    await closeServer(server);
    await rm(directory, { recursive: true, force: true, maxRetries: 3 });
  });
  // A TCP server that listens has an address with a port.
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    bucket,
    credentials: { accessKeyId, secretAccessKey: hide(secretAccessKey), sessionToken: null },
    requests,
    headers,
    fault,
    listUploads: () => listNames(inner.store.getResourcePath(bucket, undefined, "uploads")),
    listKeys: () => listKeys(join(directory, bucket)),
  };
}

async function closeServer(server: Server): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
}

async function listNames(folder: string): Promise<string[]> {
  return existsSync(folder) ? readdir(folder) : [];
}

async function listKeys(folder: string): Promise<string[]> {
  const suffix = "._S3rver_object";
  const entries = await readdir(folder, { recursive: true });
  const keys = entries.filter((entry) => entry.endsWith(suffix));
  return keys.map((entry) => entry.slice(0, -suffix.length)).toSorted();
}

/**
 * S3rver writes into the object's own file, so a reader would see a part of it. Here it is written
 * beside and renamed; reads and writes of a store take turns, because bytes and their size are in two
 * files. Bodies must have the digest that was signed.
 */
function makeAtomic(store: Store): void {
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = turn.then(work);
    turn = mine.catch(() => undefined);
    return mine;
  };
  const getObject = store.getObject.bind(store);
  store.getObject = (name, key, options) =>
    // S3rver takes an end of 0 for no end; an object of that value it does not.
    inTurn(() =>
      getObject(name, key, options?.end === 0 ? { ...options, end: Object(0) } : options),
    );
  store.putObject = async ({ bucket: name, key, content, metadata }) => {
    const bytes = await readBody(content);
    const md5 = createHash("md5").update(bytes).digest("hex");
    const path = store.getResourcePath(name, key, "object");
    await inTurn(async () => {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(`${path}.new`, bytes);
      await rename(`${path}.new`, path);
      await store.putMetadata(name, key, metadata, md5);
    });
    return { size: bytes.byteLength, md5 };
  };
  store.putPart = async (name, uploadId, part, content) => {
    const bytes = await readBody(content);
    const folder = join(store.getResourcePath(name, undefined, "uploads"), uploadId);
    await writeFile(join(folder, part), bytes);
    return { size: bytes.byteLength, md5: createHash("md5").update(bytes).digest("hex") };
  };
}

async function readBody(content: Readable): Promise<Buffer> {
  const bytes = await buffer(content);
  const { headers } = content as Partial<IncomingMessage>;
  const claimed = headers?.["x-amz-content-sha256"];
  if (claimed !== undefined && claimed !== createHash("sha256").update(bytes).digest("hex")) {
    throw new Error("XAmzContentSHA256Mismatch");
  }
  return bytes;
}

function answer(exchange: Exchange, store: Store): void {
  const { request, reply, pass } = exchange;
  const { searchParams } = new URL(request.url ?? "/", "http://s3");
  const id = searchParams.get("uploadId");
  const upload = join(store.getResourcePath(bucket, undefined, "uploads"), id ?? "none");
  if (!isSigned(request)) refuse(request, reply, { status: 403, code: "SignatureDoesNotMatch" });
  else if (searchParams.get("list-type") === "2") void answerList(reply, store, searchParams);
  else if (id === null) pass(request, reply);
  else if (!existsSync(upload)) refuse(request, reply, { status: 404, code: "NoSuchUpload" });
  else if (request.method === "DELETE") {
    rmSync(upload, { recursive: true });
    reply.writeHead(204).end();
  } else pass(request, reply);
}

/** S3rver makes its tokens of further pages with a cipher that Node no longer has. */
async function answerList(
  reply: ServerResponse,
  store: Store,
  query: URLSearchParams,
): Promise<void> {
  const { objects } = await store.listObjects(bucket, { prefix: query.get("prefix") ?? "" });
  const after = query.get("start-after") ?? "";
  const found = objects
    .filter(({ key }) => key > after)
    .toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const page = found.slice(0, Number(query.get("max-keys") ?? 1_000));
  const entries = page.map(
    ({ key, lastModifiedDate }) =>
      `<Contents><Key>${key}</Key><LastModified>${lastModifiedDate.toISOString()}</LastModified></Contents>`,
  );
  const isCut = `<IsTruncated>${page.length < found.length}</IsTruncated>`;
  reply.writeHead(200, { "content-type": "application/xml" });
  reply.end(`<ListBucketResult>${isCut}${entries.join("")}</ListBucketResult>`);
}

type Exchange = { request: IncomingMessage; reply: ServerResponse; pass: RequestListener };

function misbehave(fault: S3Fault, { request, reply, pass }: Exchange): void {
  if (fault.kind === "refuse") refuse(request, reply, fault);
  else if (fault.kind === "cut") request.socket.destroy();
  else if (fault.kind !== "hang") {
    const write = reply.write.bind(reply);
    reply.write = (chunk: Buffer) =>
      fault.kind === "lose reply" || write(chunk.subarray(0, chunk.byteLength / 2));
    reply.end = () => {
      // What was written is on its way before the connection ends.
      setImmediate(() => request.socket.destroy());
      return reply;
    };
    pass(request, reply);
  }
}

function refuse(
  request: IncomingMessage,
  reply: ServerResponse,
  { status, code, toldRegion }: { status: number; code: string; toldRegion?: string },
): void {
  request.resume();
  reply.writeHead(status, { "content-type": "application/xml" });
  const told = toldRegion === undefined ? "" : `<Region>${toldRegion}</Region>`;
  const xml = `<Error><Code>${code}</Code><Message>no</Message>${told}</Error>`;
  reply.end(request.method === "HEAD" ? "" : `<?xml version="1.0"?>${xml}`);
}

/** Signature Version 4 as the store computes it, from what has really arrived. */
function isSigned(request: IncomingMessage): boolean {
  const url = new URL(request.url ?? "/", "http://s3");
  return url.searchParams.has("X-Amz-Signature")
    ? isSignedInUrl(request, url)
    : isSignedInHeader(request, url);
}

function isSignedInHeader(request: IncomingMessage, url: URL): boolean {
  const [, signedHeaders = "", signature] =
    /SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})/.exec(request.headers.authorization ?? "") ??
    [];
  const amzHeaders = Object.keys(request.headers).filter((name) => name.startsWith("x-amz-"));
  const signed = signedHeaders.split(";");
  if (![...amzHeaders, "host"].every((name) => signed.includes(name))) return false;
  const bodySha256 = String(request.headers["x-amz-content-sha256"]);
  const time = String(request.headers["x-amz-date"]);
  return signature === computeSignature({ request, url, signedHeaders, bodySha256, time });
}

function isSignedInUrl(request: IncomingMessage, url: URL): boolean {
  const signature = url.searchParams.get("X-Amz-Signature");
  const signedHeaders = url.searchParams.get("X-Amz-SignedHeaders") ?? "";
  const time = url.searchParams.get("X-Amz-Date") ?? "";
  url.searchParams.delete("X-Amz-Signature");
  return (
    signature ===
    computeSignature({ request, url, signedHeaders, bodySha256: "UNSIGNED-PAYLOAD", time })
  );
}

type Signable = {
  request: IncomingMessage;
  url: URL;
  signedHeaders: string;
  bodySha256: string;
  time: string;
};

function computeSignature({ request, url, signedHeaders, bodySha256, time }: Signable): string {
  const query = [...url.searchParams].map((pair) => pair.map(encode).join("=")).toSorted();
  const headers = signedHeaders
    .split(";")
    .map((name) => `${name}:${String(request.headers[name])}\n`);
  const path = decodeURIComponent(url.pathname).split("/").map(encode).join("/");
  const canonical = [
    request.method,
    path,
    query.join("&"),
    headers.join(""),
    signedHeaders,
    bodySha256,
  ].join("\n");
  const day = time.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const digest = createHash("sha256").update(canonical).digest("hex");
  const key = [day, region, "s3", "aws4_request"].reduce<Buffer | string>(
    hmac,
    `AWS4${secretAccessKey}`,
  );
  return hmac(key, ["AWS4-HMAC-SHA256", time, scope, digest].join("\n")).toString("hex");
}

function hmac(key: Buffer | string, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
