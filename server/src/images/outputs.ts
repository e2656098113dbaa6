import type { Egress } from "../lib/egress.ts";
import type { Random } from "../lib/random.ts";
import { objectName } from "../storage/names.ts";
import type { Storage } from "../storage/storage.ts";
import { downloadPicture } from "./download.ts";
import { measurePicture } from "./measure.ts";
import type { Measured } from "./measure.ts";
import type { Conversion, PictureInfo, PictureLimits, PictureProcesses } from "./picture.ts";

export { DownloadError } from "./download.ts";

/** A finished picture as an upstream hands it over. */
export type OutputSource =
  | { kind: "bytes"; bytes: Uint8Array }
  | { kind: "url"; url: string; headers?: Record<string, string> };

/** What a model's contract promises of a picture. */
export type OutputPromise = {
  width: number;
  height: number;
  format: "png" | "jpeg" | "webp";
  /** Quality for when jpeg or webp has to be made here, 0–100; null where the caller asked for none. */
  compression: number | null;
  /** False where the upstream's own pixels, or its own format, are kept as they are. */
  isExactPixels: boolean;
  isExactFormat: boolean;
  /** Where the upstream knows no masks: its picture is laid over the first reference, through the mask. */
  masked: { reference: () => Promise<Uint8Array>; mask: () => Promise<Uint8Array> } | null;
};

export type DownloadOptions = {
  /** Hosts that the picture may come from, redirects included; null for any public host. */
  allowedHosts: readonly string[] | null;
  /** Calls a download off. */
  signal?: AbortSignal | undefined;
};

/** A result whose bytes are in storage; its row is still to be written. */
export type StoredOutput = {
  object: string;
  contentType: PictureInfo["contentType"];
  width: number;
  height: number;
  bytes: number;
};

export type OutputDeps = {
  pictures: PictureProcesses;
  storage: Storage;
  random: Random;
};

/** Larger pictures are no upstream's: 4K in the widest ratio has 75 million pixels. */
const outputLimits: PictureLimits = {
  formats: ["jpeg", "png", "webp"],
  pixelsMax: 120_000_000,
  bytesMax: 64 * 2 ** 20,
};

/**
 * Hands the bytes of a picture to `use`, as the upstream sent them; downloads them if need be, and counts them as
 * being in memory until `use` is done. Throws `EgressError`, `DownloadError`, or `PictureError` for what does
 * not begin like a picture.
 */
export function takeOutput<T>(
  { egress, memory }: { egress: Egress; memory: object },
  source: OutputSource,
  { allowedHosts, signal }: DownloadOptions,
  use: (bytes: Uint8Array) => Promise<T>,
): Promise<T> {
  if (source.kind === "bytes") return use(source.bytes);
  const { url, headers = {} } = source;
  const download = { url, headers, allowedHosts, signal };
  return downloadPicture({ egress, memory }, download, outputLimits, use);
}

/** Throws `PictureError` for bytes that are no picture, as `storeOutput` would; no pixel is decoded. */
export function checkOutput(bytes: Uint8Array): void {
  measurePicture(bytes, outputLimits);
}

/**
 * Reads a picture's true size and type from the bytes, makes what is promised of it (`promise`: null where
 * whatever the upstream made is right), and stores it. Bytes that keep the promise are stored exactly as
 * the upstream sent them and are not decoded. Throws `PictureError` for bytes that are no picture,
 * `StorageError`, or `AppError` when too many pictures wait to be converted.
 */
export async function storeOutput(
  { pictures, storage, random }: OutputDeps,
  sent: Uint8Array,
  promise: OutputPromise | null,
): Promise<StoredOutput> {
  const seen = measurePicture(sent, outputLimits);
  const made = promise === null ? null : await keepPromise(pictures, sent, { seen, promise });
  const { contentType, width, height } = made === null ? seen : measurePicture(made, outputLimits);
  const bytes = made ?? sent;
  const object = objectName(random);
  await storage.put(object, bytes);
  return { object, contentType, width, height, bytes: bytes.byteLength };
}

/** Null when the bytes keep the promise as they are. */
async function keepPromise(
  pictures: PictureProcesses,
  bytes: Uint8Array,
  { seen, promise }: { seen: Measured; promise: OutputPromise },
): Promise<Uint8Array | null> {
  if (promise.masked !== null) {
    const { masked } = promise;
    const [reference, mask] = await Promise.all([masked.reference(), masked.mask()]);
    return pictures.composite(bytes, outputLimits, { reference, mask });
  }
  const conversion = findConversion(seen, promise);
  return conversion === null ? null : pictures.convert(bytes, outputLimits, conversion);
}

function findConversion(seen: Measured, promise: OutputPromise): Conversion | null {
  const { width, height } = promise.isExactPixels ? promise : seen;
  const format = promise.isExactFormat ? promise.format : seen.format;
  const isKept = width === seen.width && height === seen.height && format === seen.format;
  if (isKept || format === "gif") return null;
  return { width, height, format, compression: promise.compression };
}
