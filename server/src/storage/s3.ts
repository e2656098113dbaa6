/**
 * Objects in an S3 bucket: `<prefix><name>`. Loaded only when one is configured.
 *
 * The endpoint is the operator's own setting and may be private, so its connections do not go through
 * `lib/egress.ts`; nothing that a caller or a vendor says can change where they go.
 */
import { createHash } from "node:crypto";

import { Agent, request as sendRequest } from "undici";

import { assert } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import { createS3Client, S3Error } from "./s3-client.ts";
import type { S3Client, S3Reply, Send } from "./s3-client.ts";
import { createS3Signer } from "./s3-signer.ts";
import type { S3Credentials, S3Signer } from "./s3-signer.ts";
import { keyOf, locateBucket } from "./s3-target.ts";
import type { S3Target } from "./s3-target.ts";
import { uploadObject } from "./s3-upload.ts";
import { findXmlText, listContents, listUndeleted, renderDelete } from "./s3-xml.ts";
import { StorageError } from "./storage.ts";
import { isObjectName } from "./names.ts";
import type { ByteRange, ObjectPage, OpenObject, PresignOptions, Storage } from "./storage.ts";

export type S3StorageDeps = {
  target: S3Target;
  credentials: S3Credentials;
  clock: Clock;
  random: Random;
  /** Objects above this size are written in parts. Default 16 MiB. */
  partBytes?: number;
  /** Keys on a page of a listing. Default 1,000, the most that the protocol allows. */
  pageKeysMax?: number;
  /** Before the second try of a request; doubled before each one after it. Default 200 ms. */
  retryPauseMs?: number;
};

type Bucket = {
  target: S3Target;
  signer: S3Signer;
  client: S3Client;
  partBytes: number;
  pageKeysMax: number;
};

const connectTimeoutMs = 5 * secondMs;
/** Between two pieces of a body; a caller who reads slowly does not count. */
const gapTimeoutMs = 30 * secondMs;
const connectionsMax = 64;
/** Of their own, so that slow downloads never keep a finished picture from being stored. */
const streamedConnectionsMax = 512;
const readTimeoutMs = 120 * secondMs;
const readBytesMax = 256 * 2 ** 20;
const replyBytesMax = 65_536;
const checkTimeoutMs = 5 * secondMs;
/** The protocol's bound for one request. */
const removeMax = 1_000;
/** Some stores remove one key after another: a thousand took Swift 2.30 up to 38 s. */
const removeTimeoutMs = 120 * secondMs;
const undeletedBytesMax = 2 ** 20;
/** A thousand entries, the protocol's bound, with their keys and owners. */
const pageBytesMax = 2 * 2 ** 20;
/** Under the prefix, and no name of an object. */
const ownerKey = "darkroom-owner-";

export function createS3Storage(deps: S3StorageDeps): Storage {
  const { target, clock, random, partBytes = 16 * 2 ** 20, retryPauseMs = 200 } = deps;
  const { pageKeysMax = 1_000 } = deps;
  const agent = createAgent(connectionsMax);
  const streamed = createAgent(streamedConnectionsMax);
  const signer = createS3Signer({ region: target.region, credentials: deps.credentials, clock });
  const client = createS3Client({
    signer,
    clock,
    random,
    send: sendThrough(agent),
    sendStreamed: sendThrough(streamed),
    retryPauseMs,
  });
  const bucket: Bucket = { target, signer, client, partBytes, pageKeysMax };
  const { publicEndpoint } = target;
  return {
    put: async (name, bytes) => uploadObject(bucket, locate(bucket, name), bytes),
    open: (name, range) => openObject(bucket, name, range),
    read: (name) => readObject(bucket, name),
    stat: (name) => statObject(bucket, name),
    remove: (name) => removeObject(bucket, name),
    removeMany: (names) => removeObjects(bucket, names),
    list: (after) => listObjects(bucket, after),
    claim: (owner) => claimBucket(bucket, owner),
    ...(publicEndpoint === null
      ? {}
      : { presign: (name, options) => presign(bucket, { name, publicEndpoint, options }) }),
    check: () => checkBucket(bucket),
    // What is left of an upload is not under any name; docs/operating.md has the bucket's rule for it.
    sweepTemporaryFiles: () => Promise.resolve(0),
    close: async () => {
      await Promise.all([agent.destroy(), streamed.destroy()]);
    },
  };
}

function createAgent(connections: number): Agent {
  return new Agent({
    connections,
    pipelining: 1,
    connect: { timeout: connectTimeoutMs },
    // Until the headers, time is the client's, on the injected clock.
    headersTimeout: 0,
    bodyTimeout: gapTimeoutMs,
  });
}

function sendThrough(dispatcher: Agent): Send {
  return (url, options) => sendRequest(url, { ...options, dispatcher });
}

async function openObject(
  bucket: Bucket,
  name: string,
  range: ByteRange | undefined,
): Promise<OpenObject | null> {
  const url = locate(bucket, name);
  const headers: Record<string, string> =
    range === undefined ? {} : { range: `bytes=${range.start}-${range.end}` };
  const opened = await find(() =>
    bucket.client.open({ what: "open", method: "GET", url, headers }),
  ).catch((error: unknown) => {
    assert(!(error instanceof S3Error) || error.status !== 416, "a range lies inside its object");
    throw error;
  });
  if (opened === null) return null;
  try {
    if (range !== undefined) checkRange(opened, range);
    return { bytes: sizeOf(opened), stream: opened.stream };
  } catch (error) {
    opened.stream.destroy();
    throw error;
  }
}

function checkRange({ status, headers }: S3Reply, { start, end }: ByteRange): void {
  const [, from, to, size] =
    /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers["content-range"] ?? "") ?? [];
  if (status !== 206 || size === undefined) {
    throw new StorageError("the object store failed: open: it ignored a range");
  }
  assert(end < Number(size), "a range lies inside its object");
  if (Number(from) !== start || Number(to) !== end) {
    throw new StorageError("the object store failed: open: it gave another range");
  }
}

async function readObject(bucket: Bucket, name: string): Promise<Buffer | null> {
  const url = locate(bucket, name);
  const request = { what: "read", method: "GET", url, timeoutMs: readTimeoutMs } as const;
  const found = await find(() => bucket.client.call(request, readBytesMax));
  return found?.body ?? null;
}

async function statObject(bucket: Bucket, name: string): Promise<{ bytes: number } | null> {
  const url = locate(bucket, name);
  const found = await find(() => bucket.client.call({ what: "stat", method: "HEAD", url }, 0));
  return found === null ? null : { bytes: sizeOf(found) };
}

async function removeObject(bucket: Bucket, name: string): Promise<void> {
  const url = locate(bucket, name);
  await find(() => bucket.client.call({ what: "remove", method: "DELETE", url }, replyBytesMax));
}

async function removeObjects(bucket: Bucket, names: readonly string[]): Promise<string[]> {
  const nameOfKey = new Map(names.map((name) => [keyOf(bucket.target, name), name]));
  const keys = [...nameOfKey.keys()];
  const left: string[] = [];
  for (let start = 0; start < keys.length; start += removeMax) {
    left.push(...(await removeKeys(bucket, keys.slice(start, start + removeMax))));
  }
  return left.flatMap((key) => nameOfKey.get(key) ?? []);
}

async function removeKeys(bucket: Bucket, keys: readonly string[]): Promise<string[]> {
  const url = new URL(`${locateBucket(bucket.target, bucket.target.endpoint)}/?delete=`);
  const body = Buffer.from(renderDelete(keys));
  // Amazon asks for this digest here, and for no other request.
  const headers = {
    "content-md5": createHash("md5").update(body).digest("base64"),
    "content-type": "application/xml",
  };
  const request = { what: "remove many", method: "POST", url, headers, body } as const;
  const reply = await bucket.client.call(
    { ...request, timeoutMs: removeTimeoutMs },
    undeletedBytesMax,
  );
  return listUndeleted(String(reply.body));
}

async function listObjects(bucket: Bucket, after: string | null): Promise<ObjectPage> {
  const { prefix } = bucket.target;
  const { keys, isCut } = await listKeys(bucket, prefix, after);
  const objects = keys
    .filter(({ key }) => isObjectName(key.slice(prefix.length)))
    .map(({ key, modifiedAt }) => ({ name: key.slice(prefix.length), modifiedAt }));
  return { objects, next: isCut ? (keys.at(-1)?.key ?? null) : null };
}

/** The next keys that begin with `prefix`, in order. */
async function listKeys(bucket: Bucket, prefix: string, after: string | null) {
  const { client, target, pageKeysMax } = bucket;
  const url = new URL(`${locateBucket(target, target.endpoint)}/`);
  url.searchParams.set("list-type", "2");
  url.searchParams.set("max-keys", String(pageKeysMax));
  url.searchParams.set("prefix", prefix);
  if (after !== null) url.searchParams.set("start-after", after);
  const reply = await client.call({ what: "list", method: "GET", url }, pageBytesMax);
  const xml = String(reply.body);
  return { keys: listContents(xml), isCut: findXmlText(xml, "IsTruncated") === "true" };
}

async function claimBucket(bucket: Bucket, owner: string): Promise<string[]> {
  const { client, target } = bucket;
  const prefix = `${target.prefix}${ownerKey}`;
  const url = new URL(`${locateBucket(target, target.endpoint)}/${prefix}${owner}`);
  const body = Buffer.from("An installation of Darkroom keeps its pictures here.\n");
  await client.call({ what: "claim", method: "PUT", url, body }, replyBytesMax);
  const { keys } = await listKeys(bucket, prefix, null);
  return keys.map(({ key }) => key.slice(prefix.length));
}

async function presign(
  { target, signer }: Bucket,
  input: { name: string; publicEndpoint: string; options: PresignOptions },
): Promise<string> {
  const { name, publicEndpoint, options } = input;
  const url = new URL(`${locateBucket(target, publicEndpoint)}/${keyOf(target, name)}`);
  url.searchParams.set("response-content-type", options.contentType);
  url.searchParams.set("response-content-disposition", options.contentDisposition);
  url.searchParams.set("response-cache-control", options.cacheControl);
  return signer.presign(url, options.expiresInSeconds);
}

/** Writes one small object, always the same: a store that can be read may still be full or read-only. */
async function checkBucket({ client, target }: Bucket): Promise<void> {
  const url = new URL(`${locateBucket(target, target.endpoint)}/${target.prefix}darkroom-check`);
  const body = Buffer.from("Darkroom writes this to see that it can.\n");
  await client.call(
    { what: "check", method: "PUT", url, body, timeoutMs: checkTimeoutMs, triesMax: 1 },
    replyBytesMax,
  );
}

function locate({ target }: Bucket, name: string): URL {
  return new URL(`${locateBucket(target, target.endpoint)}/${keyOf(target, name)}`);
}

/** Null for an object that is not there; a bucket that is not there is a failure. */
async function find<T>(work: () => Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    const isAbsent = error instanceof S3Error && error.status === 404;
    // The reply to HEAD has no body that could tell which of the two is missing.
    if (isAbsent && (error.code === null || error.code === "NoSuchKey")) return null;
    throw error;
  }
}

function sizeOf({ headers }: S3Reply): number {
  const bytes = Number(headers["content-length"] ?? Number.NaN);
  if (!Number.isSafeInteger(bytes)) {
    throw new StorageError("the object store failed: it told no size");
  }
  return bytes;
}
