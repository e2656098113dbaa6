/**
 * Writes an object to an S3 store: small ones with one request, larger ones in parts that become the
 * object all at once. Either way nobody ever sees a part of it.
 */
import { S3Error } from "./s3-client.ts";
import type { S3Client, S3Request } from "./s3-client.ts";
import { findXmlText, renderParts } from "./s3-xml.ts";
import { StorageError } from "./storage.ts";

export type S3UploadDeps = {
  client: S3Client;
  /** At least 5 MiB by the protocol; an upload takes this much memory. */
  partBytes: number;
};

/** An upload in parts, from its first part on. */
type Upload = { id: string; etags: string[] };

type Part = { bytes: Uint8Array; isLast: boolean };

const replyBytesMax = 65_536;
/** The protocol's bound. */
const partsMax = 10_000;
const firstBufferBytes = 65_536;
const cleanUpTimeoutMs = 5_000;

/** Failures of the source pass through unchanged; only the store's own are `StorageError`. */
export async function uploadObject(
  deps: S3UploadDeps,
  url: URL,
  source: Uint8Array | AsyncIterable<Uint8Array>,
): Promise<{ bytes: number }> {
  let upload: Upload | null = null;
  let bytes = 0;
  try {
    for await (const part of cut(source, deps.partBytes)) {
      bytes += part.bytes.byteLength;
      if (upload === null && part.isLast) await putWhole(deps, url, part.bytes);
      else await putPart(deps, url, (upload ??= await begin(deps, url)), part.bytes);
    }
    if (upload !== null) await complete(deps, url, { upload, bytes });
    return { bytes };
  } catch (error) {
    if (upload !== null) await abortQuietly(deps, url, upload);
    throw error;
  }
}

function cut(
  source: Uint8Array | AsyncIterable<Uint8Array>,
  partBytes: number,
): Iterable<Part> | AsyncIterable<Part> {
  return source instanceof Uint8Array ? cutBytes(source, partBytes) : cutStream(source, partBytes);
}

function* cutBytes(source: Uint8Array, partBytes: number): Generator<Part> {
  let start = 0;
  do {
    const end = Math.min(start + partBytes, source.byteLength);
    yield { bytes: source.subarray(start, end), isLast: end === source.byteLength };
    start = end;
  } while (start < source.byteLength);
}

/** Parts of exactly `partBytes` but for the last; each is valid until the next is asked for. */
async function* cutStream(
  source: AsyncIterable<Uint8Array>,
  partBytes: number,
): AsyncGenerator<Part> {
  let buffer = Buffer.allocUnsafeSlow(Math.min(firstBufferBytes, partBytes));
  let filled = 0;
  for await (const chunk of source) {
    for (let start = 0; start < chunk.byteLength;) {
      if (filled === partBytes) {
        yield { bytes: buffer, isLast: false };
        filled = 0;
      }
      const end = Math.min(chunk.byteLength, start + partBytes - filled);
      const needed = filled + end - start;
      if (needed > buffer.byteLength) buffer = grow(buffer, { filled, needed, partBytes });
      buffer.set(chunk.subarray(start, end), filled);
      filled = needed;
      start = end;
    }
  }
  yield { bytes: buffer.subarray(0, filled), isLast: true };
}

function grow(
  buffer: Buffer,
  { filled, needed, partBytes }: { filled: number; needed: number; partBytes: number },
) {
  const larger = Buffer.allocUnsafeSlow(
    Math.min(partBytes, Math.max(needed, buffer.byteLength * 2)),
  );
  larger.set(buffer.subarray(0, filled));
  return larger;
}

async function putWhole({ client }: S3UploadDeps, url: URL, body: Uint8Array): Promise<void> {
  try {
    await client.call({ what: "put", method: "PUT", url, body }, replyBytesMax);
  } catch (error) {
    await withdraw(client, url, error);
    throw error;
  }
}

async function begin({ client }: S3UploadDeps, url: URL): Promise<Upload> {
  const request = ask("begin an upload", "POST", withQuery(url, { uploads: "" }));
  const { body } = await client.call(request, replyBytesMax);
  const id = findXmlText(String(body), "UploadId");
  if (id === null) throw new StorageError("the object store failed: an upload got no id");
  return { id, etags: [] };
}

async function putPart(
  { client }: S3UploadDeps,
  url: URL,
  { id, etags }: Upload,
  body: Uint8Array,
): Promise<void> {
  if (etags.length === partsMax) {
    throw new StorageError(`the object store failed: more than ${partsMax} parts`);
  }
  const query = { partNumber: String(etags.length + 1), uploadId: id };
  const request = { ...ask("put a part", "PUT", withQuery(url, query)), body };
  const { headers } = await client.call(request, replyBytesMax);
  const etag = headers["etag"];
  if (etag === undefined) throw new StorageError("the object store failed: a part got no tag");
  etags.push(etag);
}

async function complete(
  { client }: S3UploadDeps,
  url: URL,
  { upload, bytes }: { upload: Upload; bytes: number },
): Promise<void> {
  const body = Buffer.from(renderParts(upload.etags));
  const target = withQuery(url, { uploadId: upload.id });
  try {
    const reply = await client.call(
      { ...ask("complete an upload", "POST", target), body, timeoutMs: 120_000 },
      replyBytesMax,
    );
    // A store that joins for long answers 200 at once, and may say in the body that it failed.
    const code = /<Error[ >]/.test(String(reply.body))
      ? findXmlText(String(reply.body), "Code")
      : null;
    if (code !== null)
      throw new StorageError(`the object store failed: complete an upload: ${code}`);
  } catch (error) {
    if (await isComplete(client, { url, bytes, error })) return;
    await withdraw(client, url, error);
    throw error;
  }
}

/** A repeat of a completion whose reply was lost hears that there is no such upload any more. */
async function isComplete(
  client: S3Client,
  { url, bytes, error }: { url: URL; bytes: number; error: unknown },
): Promise<boolean> {
  if (!(error instanceof S3Error) || error.code !== "NoSuchUpload") return false;
  try {
    const { headers } = await client.call(ask("stat", "HEAD", url), 0);
    return Number(headers["content-length"]) === bytes;
  } catch {
    // The failure to complete is what is reported.
    return false;
  }
}

/** After a write that may have happened although it failed: a name that failed must stay absent. */
async function withdraw(client: S3Client, url: URL, error: unknown): Promise<void> {
  if (!(error instanceof S3Error) || !error.mayHaveHappened) return;
  await callOnceQuietly(client, ask("remove", "DELETE", url));
}

/** Parts of an upload that is never ended stay, unseen and paid for, until the bucket's own rule. */
async function abortQuietly({ client }: S3UploadDeps, url: URL, upload: Upload): Promise<void> {
  const target = withQuery(url, { uploadId: upload.id });
  await callOnceQuietly(client, ask("abort an upload", "DELETE", target));
}

/** For cleaning up after a failure that is already being reported. */
async function callOnceQuietly(client: S3Client, request: S3Request): Promise<void> {
  const once = { ...request, triesMax: 1, timeoutMs: cleanUpTimeoutMs };
  await client.call(once, replyBytesMax).catch(() => undefined);
}

function ask(what: string, method: S3Request["method"], url: URL): S3Request {
  return { what, method, url };
}

function withQuery(url: URL, query: Readonly<Record<string, string>>): URL {
  const target = new URL(url);
  for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value);
  return target;
}
