import type { Egress } from "../lib/egress.ts";
import type { Random } from "../lib/random.ts";
import { objectName } from "../storage/names.ts";
import type { Storage } from "../storage/storage.ts";
import type { PictureInfo, PictureLimits, PictureProcesses } from "./picture.ts";

/** A finished picture as an upstream hands it over. */
export type OutputSource =
  | { kind: "bytes"; bytes: Uint8Array }
  | { kind: "url"; url: string; headers?: Record<string, string> };

/** A result whose bytes are in storage, exactly as the upstream sent them; its row is still to be written. */
export type StoredOutput = {
  object: string;
  contentType: PictureInfo["contentType"];
  width: number;
  height: number;
  bytes: number;
};

/** Larger pictures are no upstream's: 4K in the widest ratio has 75 million pixels. */
const outputLimits: PictureLimits = {
  formats: ["jpeg", "png", "webp"],
  pixelsMax: 120_000_000,
  bytesMax: 128 * 2 ** 20,
};

const downloadTimeoutMs = 120_000;

/**
 * Takes a picture in: downloads it if need be, reads its true size and type from the bytes, stores it.
 * Throws `PictureError` for bytes that are no picture, `EgressError`, or `StorageError`.
 */
export async function storeOutput(
  deps: { pictures: PictureProcesses; storage: Storage; random: Random; egress: Egress },
  source: OutputSource,
): Promise<StoredOutput> {
  const bytes = source.kind === "bytes" ? source.bytes : await download(deps.egress, source);
  const info = await deps.pictures.inspect(bytes, outputLimits);
  const object = objectName(deps.random);
  await deps.storage.put(object, bytes);
  return {
    object,
    contentType: info.contentType,
    width: info.width,
    height: info.height,
    bytes: bytes.byteLength,
  };
}

async function download(
  egress: Egress,
  { url, headers }: Extract<OutputSource, { kind: "url" }>,
): Promise<Uint8Array> {
  const reply = await egress.request(url, {
    headers: headers ?? {},
    bytesMax: outputLimits.bytesMax,
    timeoutMs: downloadTimeoutMs,
    redirectsMax: 2,
  });
  return reply.read();
}
