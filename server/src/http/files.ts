import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import { AppError, must } from "../lib/errors.ts";
import type { Clock } from "../lib/time.ts";
import type { Links } from "../storage/links.ts";
import { findContentType } from "../storage/names.ts";
import { chooseRange } from "../storage/range.ts";
import type { Storage } from "../storage/storage.ts";

export type FilesDeps = {
  storage: Pick<Storage, "open" | "stat" | "presign">;
  links: Pick<Links, "verify">;
  clock: Pick<Clock, "now">;
};

type FileRoute = { Params: { signed: string; file: string } };
type FileRequest = FastifyRequest<FileRoute>;

/** A stored object that the request may read. */
type File = {
  object: string;
  /** Name for whoever saves it: the last segment of the link. */
  name: string;
  contentType: string;
  etag: string;
  bytes: number;
  /** Whole seconds until the link expires. */
  leftSeconds: number;
};

/** How long an address of the store works, and most of that time a browser may go there by itself. */
const presignedSeconds = 300;
const redirectSeconds = 240;
/** A link in its last seconds still leaves time to follow the redirect. */
const presignedSecondsMin = 10;

/**
 * Serves stored pictures by signed link, with GET and HEAD. Where callers can reach the store itself, a
 * GET is sent on to it; everything else, and every other store's bytes, are answered here. A link that is not ours, and bytes that
 * are gone, are `file_not_found`; a link past its expiry is `file_expired`, whether or not the bytes
 * are still there.
 */
export function registerFiles(app: FastifyInstance, deps: FilesDeps): void {
  app.route<FileRoute>({
    method: ["GET", "HEAD"],
    url: "/f/:signed/:file",
    handler: (request, reply) => serveFile(deps, request, reply),
  });
}

async function serveFile(
  deps: FilesDeps,
  request: FileRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  // Set before anything can fail: a page must be able to read why, and no cache may keep a refusal.
  reply.headers({ "access-control-allow-origin": "*", "cache-control": "no-store" });
  const file = await loadFile(deps, request.params);
  if (isKnown(request.headers["if-none-match"], file.etag)) {
    return describeFile(reply, file).code(304).send();
  }
  // RFC 9110, 14.2: a range means something for GET only.
  if (request.method === "HEAD") {
    return describeFile(reply, file).header("content-length", file.bytes).send();
  }
  if (deps.storage.presign === undefined) return sendFile(deps, request, reply, file);
  return redirectToStore(deps.storage.presign, reply, file);
}

/**
 * The range of the request is repeated by the client: it is no part of what is signed. The other
 * headers of `describeFile` cannot be asked of a store; its pictures are not under our origin.
 */
async function redirectToStore(
  presign: NonNullable<Storage["presign"]>,
  reply: FastifyReply,
  file: File,
): Promise<FastifyReply> {
  const { leftSeconds } = file;
  const location = await presign(file.object, {
    expiresInSeconds: Math.max(presignedSecondsMin, Math.min(presignedSeconds, leftSeconds)),
    contentType: file.contentType,
    contentDisposition: dispositionOf(file),
    cacheControl: cacheControlOf(file),
  });
  return reply
    .headers({
      "cache-control": `private, max-age=${Math.min(redirectSeconds, leftSeconds)}`,
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "cross-origin",
    })
    .redirect(location, 302);
}

async function loadFile(deps: FilesDeps, params: FileRoute["Params"]): Promise<File> {
  const link = deps.links.verify(params.signed, params.file);
  if (link.state === "invalid") throw missing();
  if (link.state === "expired") throw expired(link.expiresAtMs);
  const found = await deps.storage.stat(link.object);
  if (found === null) throw missing();
  return {
    object: link.object,
    name: params.file,
    contentType: must(findContentType(link.extension), "the content type of a signed link"),
    etag: `"${link.object}"`,
    bytes: found.bytes,
    leftSeconds: Math.max(0, Math.floor((link.expiresAtMs - deps.clock.now()) / 1_000)),
  };
}

function missing(): AppError {
  return new AppError(
    "file_not_found",
    "no file is served at this address; use the url of a task's result or of an upload unchanged",
  );
}

function expired(expiresAtMs: number): AppError {
  const end = new Date(expiresAtMs).toISOString().replace(".000Z", "Z");
  return new AppError(
    "file_expired",
    `this link expired at ${end}; save files before the expires_at that comes with their url`,
  );
}

/** `If-None-Match` (RFC 9110, 13.1.2): a list of tags, or `*`; the comparison is the weak one. */
export function isKnown(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  const tags = header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes("*") || tags.includes(etag);
}

function describeFile(reply: FastifyReply, file: File): FastifyReply {
  return reply.headers({
    "content-type": file.contentType,
    "x-content-type-options": "nosniff",
    "content-disposition": dispositionOf(file),
    // The bytes come from vendors and callers: whatever a browser takes them for, they run nothing.
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "cross-origin",
    "referrer-policy": "no-referrer",
    "cache-control": cacheControlOf(file),
    "accept-ranges": "bytes",
    etag: file.etag,
  });
}

function dispositionOf({ name }: File): string {
  // The link check leaves only characters that need no quoting here.
  return `inline; filename="${name}"`;
}

function cacheControlOf({ leftSeconds }: File): string {
  return `private, immutable, max-age=${leftSeconds}`;
}

async function sendFile(
  deps: FilesDeps,
  request: FileRequest,
  reply: FastifyReply,
  file: File,
): Promise<FastifyReply> {
  const choice = chooseRange({
    range: request.headers.range,
    ifRange: singleValue(request.headers["if-range"]),
    etag: file.etag,
    bytes: file.bytes,
  });
  if (choice.kind === "unsatisfiable") {
    return reply.code(416).header("content-range", `bytes */${file.bytes}`).send();
  }
  const range = choice.kind === "part" ? choice.range : undefined;
  const opened = await deps.storage.open(file.object, range);
  // The sweeper may have come since the file was looked up.
  if (opened === null) throw missing();
  describeFile(reply, file).header("content-length", opened.bytes);
  if (range !== undefined) {
    reply.code(206).header("content-range", `bytes ${range.start}-${range.end}/${file.bytes}`);
  }
  // Fastify destroys the stream when the client leaves, also when it left before this line.
  return reply.send(opened.stream);
}

function singleValue(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(",") : value;
}
