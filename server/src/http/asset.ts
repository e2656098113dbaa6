/** Texts that change only with the server: compressed once, sent with a tag. */
import { hash } from "node:crypto";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";

import type { FastifyReply, FastifyRequest } from "fastify";

import { isKnown } from "./files.ts";

export type Asset = {
  contentType: string;
  /** Weak: one tag for both encodings. */
  etag: string;
  /** The only form in which it is kept; for the few clients that cannot unpack it, it is unpacked. */
  gzipped: Uint8Array;
};

const compress = promisify(gzip);
const decompress = promisify(gunzip);

export async function createAsset(contentType: string, content: string): Promise<Asset> {
  return {
    contentType,
    etag: `W/"${hash("sha256", content, "base64url").slice(0, 22)}"`,
    gzipped: await compress(content),
  };
}

/** Answers 304 to whoever has it already. `cacheControl` says how long nobody needs to ask again. */
export async function sendAsset(
  request: FastifyRequest,
  reply: FastifyReply,
  asset: Asset,
  cacheControl: string,
): Promise<FastifyReply> {
  reply.headers({
    "content-type": asset.contentType,
    "cache-control": cacheControl,
    etag: asset.etag,
    vary: "accept-encoding",
  });
  const bareTag = asset.etag.replace(/^W\//, "");
  if (isKnown(request.headers["if-none-match"], bareTag)) return reply.code(304).send();
  if (takesGzip(request.headers["accept-encoding"])) {
    return reply.header("content-encoding", "gzip").send(asset.gzipped);
  }
  return reply.send(await decompress(asset.gzipped));
}

/** RFC 9110, 12.5.3, as far as browsers and tools use it. */
function takesGzip(header: string | string[] | undefined): boolean {
  const codings = String(header ?? "")
    .toLowerCase()
    .split(",");
  return codings.some((coding) => {
    const [name = "", quality = ""] = coding.split(";").map((part) => part.trim());
    return (name === "gzip" || name === "*") && !/^q=0(\.0*)?$/.test(quality);
  });
}
