/**
 * Work on strangers' pictures with libvips. Runs in a picture process and nowhere else: the main
 * process never loads sharp. The loaders are an allow-list, formats are decided by our own look at the
 * bytes, and every error of the decoder means that the picture is at fault.
 */
import sharp from "sharp";
import type { Metadata, Sharp, SharpOptions } from "sharp";
import { parseContainer, stripContainer } from "./container.ts";
import type { Container } from "./container.ts";
import { PictureError } from "./picture.ts";
import type { PictureInfo, PictureLimits } from "./picture.ts";
import { checkHeader, checkPixels, contentTypes, formatMegabytes } from "./sniff.ts";
import type { PictureFormat } from "./sniff.ts";

/** Ends before the supervisor's own deadline, so that a slow picture does not cost the process. */
const decodeSecondsMax = 9;

/** OpenAI takes masks below this. */
const maskBytesMax = 4 * 2 ** 20;

export type Opened = { format: PictureFormat; container: Container; metadata: Metadata };

/** Restricts libvips to the four formats from memory and to one thread, without caches. Call once. */
export function restrictSharp(): void {
  sharp.block({ operation: ["VipsForeignLoad"] });
  sharp.unblock({
    operation: [
      "VipsForeignLoadJpegBuffer",
      "VipsForeignLoadPngBuffer",
      "VipsForeignLoadWebpBuffer",
      "VipsForeignLoadNsgifBuffer",
    ],
  });
  sharp.cache(false);
  sharp.concurrency(1);
}

/** As in `PictureProcesses.clean`; `bytes` is null when the picture may stay as it is. */
export async function clean(
  bytes: Uint8Array,
  limits: PictureLimits,
): Promise<{ bytes: Uint8Array | null; info: PictureInfo }> {
  const { format, container, metadata } = await openPicture(bytes, limits);
  const isTurned = (metadata.orientation ?? 1) > 1;
  if (format === "gif" || container.isAnimated || isTurned) {
    const encoded = await encodeAgain(bytes, { format, container, metadata }, limits);
    const target = format === "gif" ? "png" : format;
    return { bytes: encoded, info: describe(target, await readMetadata(encoded, limits)) };
  }
  // What is handed on is what was proved, not the file that it was cut from.
  const stripped = stripContainer(bytes, container);
  await decodeWhole(stripped, metadata, limits);
  return { bytes: stripped === bytes ? null : stripped, info: describe(format, metadata) };
}

export async function inspectMask(
  bytes: Uint8Array,
  limits: PictureLimits,
): Promise<{ info: PictureInfo; transparentPixels: number }> {
  const { format, metadata } = await openPicture(bytes, limits);
  const info = describe(format, metadata);
  if (!metadata.hasAlpha) {
    await decodeWhole(bytes, metadata, limits);
    return { info, transparentPixels: 0 };
  }
  const alpha = await decoding(() =>
    openSharp(bytes, limits).extractChannel("alpha").raw().toBuffer(),
  );
  return { info, transparentPixels: countZeros(alpha) };
}

/** As in `PictureProcesses.cleanMask`; `bytes` is null when the picture may stay as it is. */
export async function cleanMask(
  bytes: Uint8Array,
  limits: PictureLimits,
): Promise<{ bytes: Uint8Array | null; info: PictureInfo }> {
  const { metadata } = await openPicture(bytes, limits);
  if (!metadata.hasAlpha) return clean(bytes, limits);
  const { data: alpha, info } = await decoding(() =>
    openSharp(bytes, limits)
      .autoOrient()
      .extractChannel("alpha")
      .toColourspace("b-w")
      .raw()
      .toBuffer({ resolveWithObject: true }),
  );
  let encoded = await encodeAlpha(alpha, info);
  if (encoded.length >= maskBytesMax) {
    // Only where it is wholly transparent does a mask say anything; the rest may be evened out.
    for (const [index, value] of alpha.entries()) alpha[index] = value === 0 ? 0 : 255;
    encoded = await encodeAlpha(alpha, info);
  }
  return { bytes: encoded, info: describe("png", await readMetadata(encoded, limits)) };
}

/** A black picture with this alpha channel: colours under a mask mean nothing, and cost bytes. */
function encodeAlpha(
  alpha: Uint8Array,
  { width, height }: { width: number; height: number },
): Promise<Uint8Array> {
  const create = { width, height, channels: 3, background: "#000000" } as const;
  return sharp({ create })
    .joinChannel(Buffer.from(alpha.buffer, alpha.byteOffset, alpha.length), {
      raw: { width, height, channels: 1 },
    })
    .png()
    .toBuffer();
}

export async function openPicture(bytes: Uint8Array, limits: PictureLimits): Promise<Opened> {
  const format = checkHeader(bytes, limits);
  const container = parseContainer(bytes, format);
  return { format, container, metadata: await readMetadata(bytes, limits) };
}

async function readMetadata(bytes: Uint8Array, limits: PictureLimits): Promise<Metadata> {
  const metadata = await decoding(() => openSharp(bytes, limits).metadata());
  // A decoder may compute other dimensions than the header declares, for example from frames.
  checkPixels(metadata, limits.pixelsMax);
  return metadata;
}

/** Asking for the last row makes libvips decode all rows before it, without keeping them. */
async function decodeWhole(
  bytes: Uint8Array,
  metadata: Metadata,
  limits: PictureLimits,
): Promise<void> {
  const lastRow = { left: 0, top: metadata.height - 1, width: 1, height: 1 };
  await decoding(() => openSharp(bytes, limits).extract(lastRow).raw().toBuffer());
}

/** Upright and single: the first frame, with its orientation baked in and the colour profile kept. */
async function encodeAgain(
  bytes: Uint8Array,
  { format, container, metadata }: Opened,
  limits: PictureLimits,
): Promise<Uint8Array> {
  for (const encode of encodersOf(format, container)) {
    const upright = openSharp(bytes, limits).autoOrient().keepIccProfile();
    const encoded = await decoding(() => encode(keepDepth(upright, metadata)).toBuffer());
    if (encoded.length <= limits.bytesMax) return encoded;
  }
  throw new PictureError(
    "too_large",
    `has more than ${formatMegabytes(limits.bytesMax)} MB when it is turned upright; send it upright`,
  );
}

/** Ways to encode, best first; the next one is for a result that has become too large to keep. */
function encodersOf(
  format: PictureFormat,
  container: Container,
): readonly ((picture: Sharp) => Sharp)[] {
  if (format === "jpeg") {
    return [
      (picture) => picture.jpeg({ quality: 95, chromaSubsampling: "4:4:4" }),
      (picture) => picture.jpeg({ quality: 85, chromaSubsampling: "4:2:0" }),
    ];
  }
  if (format === "webp") {
    return [
      (picture) =>
        picture.webp(container.isLossless ? { lossless: true, exact: true } : { quality: 95 }),
      (picture) => picture.webp({ quality: 85 }),
    ];
  }
  return [(picture) => picture.png()];
}

/** sharp works in 8 bits unless it is told otherwise. */
export function keepDepth(picture: Sharp, metadata: Metadata): Sharp {
  if (metadata.format !== "png" || metadata.depth !== "ushort") return picture;
  return picture.toColourspace(metadata.channels < 3 ? "grey16" : "rgb16");
}

/** Gives up, as a picture at fault, when decoding and encoding take longer than `secondsMax`. */
export function openSharp(
  bytes: Uint8Array,
  limits: PictureLimits,
  secondsMax = decodeSecondsMax,
): Sharp {
  const options: SharpOptions = {
    failOn: "warning",
    limitInputPixels: limits.pixelsMax,
    unlimited: false,
    sequentialRead: true,
    pages: 1,
  };
  return sharp(bytes, options).timeout({ seconds: secondsMax });
}

/** Runs work of the decoder on a stranger's picture; throws `PictureError` when it fails. */
export async function decoding<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new PictureError("broken", "cannot be decoded; it is damaged or cut short", {
      cause: error,
    });
  }
}

function describe(format: PictureFormat, metadata: Metadata): PictureInfo {
  const { width, height } = metadata.autoOrient;
  return { format, contentType: contentTypes[format], width, height, hasAlpha: metadata.hasAlpha };
}

function countZeros(values: Uint8Array): number {
  let zeros = 0;
  for (const value of values) if (value === 0) zeros += 1;
  return zeros;
}
