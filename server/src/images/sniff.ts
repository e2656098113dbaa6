/**
 * What the first bytes of a file tell without decoding it. Safe for the main process: plain reads of
 * bounded length, no native code.
 */
import { PictureError } from "./picture.ts";
import type { PictureInfo, PictureLimits } from "./picture.ts";

export type PictureFormat = PictureInfo["format"];

export const contentTypes = {
  jpeg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  gif: "image/gif",
} as const satisfies Record<PictureFormat, PictureInfo["contentType"]>;

export type Size = { width: number; height: number };

const pngSignature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
/** More than any camera writes before the frame header of a JPEG. */
const jpegSegmentsMax = 1_000;
const megabyte = 2 ** 20;

/** The format of a file by its first 16 bytes; null for everything that is none of the four. */
export function sniffFormat(bytes: Uint8Array): PictureFormat | null {
  if (bytes.length < 16) return null;
  if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return "jpeg";
  if (pngSignature.every((byte, index) => bytes[index] === byte)) return "png";
  const head = readText(bytes, 0, 16);
  if (/^RIFF....WEBPVP8[ LX]$/s.test(head)) return "webp";
  if (/^GIF8[79]a/.test(head)) return "gif";
  return null;
}

/** Pixels that the header declares, before any orientation; null where it declares none. */
export function findSize(bytes: Uint8Array, format: PictureFormat): Size | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const size = sizeReaders[format](view);
    return size !== null && size.width > 0 && size.height > 0 ? size : null;
  } catch (error) {
    // A view refuses reads beyond its end: the file stops within its header.
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/**
 * Refuses what needs no decoding to be refused: a foreign format, too many bytes, too many pixels in
 * the header. The declared type and the file name are never looked at. Throws `PictureError`.
 */
export function checkHeader(bytes: Uint8Array, limits: PictureLimits): PictureFormat {
  if (bytes.length > limits.bytesMax) {
    throw new PictureError(
      "too_large",
      `has ${formatMegabytes(bytes.length)} MB; at most ${formatMegabytes(limits.bytesMax)} MB are allowed`,
    );
  }
  const format = checkFormat(bytes, limits);
  const size = findSize(bytes, format);
  if (size === null) throw new PictureError("broken", `is a broken ${format} picture`);
  checkPixels(size, limits.pixelsMax);
  return format;
}

/** Refuses by the first 16 bytes what is none of the formats. Throws `PictureError`. */
export function checkFormat(
  bytes: Uint8Array,
  { formats }: Pick<PictureLimits, "formats">,
): PictureFormat {
  const format = sniffFormat(bytes);
  if (format !== null && formats.includes(format)) return format;
  throw new PictureError("unsupported", `is not a ${formatChoice(formats)} picture`);
}

export function checkPixels({ width, height }: Size, pixelsMax: number): void {
  if (width * height <= pixelsMax) return;
  const most = Number((pixelsMax / 1e6).toFixed(2));
  throw new PictureError(
    "too_large",
    `has ${width}x${height} pixels; at most ${most} megapixels are allowed`,
  );
}

/** Megabytes of 2^20 bytes with at most two decimals, rounded up so that "too many" stays visible. */
export function formatMegabytes(bytes: number): string {
  return String(Math.ceil((bytes / megabyte) * 100) / 100);
}

export function readText(bytes: Uint8Array, start: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(start, start + length));
}

const sizeReaders = {
  png: findPngSize,
  gif: (view) => ({ width: view.getUint16(6, true), height: view.getUint16(8, true) }),
  webp: findWebpSize,
  jpeg: findJpegSize,
} satisfies Record<PictureFormat, (view: DataView) => Size | null>;

const pngHeaderType = 0x49484452;
/** The three bytes that begin a VP8 key frame, and the one that begins VP8L data. */
const vp8StartCode = 0x9d012a;
const vp8lSignature = 0x2f;

function findPngSize(view: DataView): Size | null {
  if (view.getUint32(12) !== pngHeaderType) return null;
  return { width: view.getUint32(16), height: view.getUint32(20) };
}

/** RFC 9649: the first chunk begins at byte 12, its data at byte 20. */
function findWebpSize(view: DataView): Size | null {
  const kind = String.fromCharCode(view.getUint8(15));
  if (kind === "X") return { width: getUint24(view, 24) + 1, height: getUint24(view, 27) + 1 };
  if (kind === "L") {
    if (view.getUint8(20) !== vp8lSignature) return null;
    const bits = view.getUint32(21, true);
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
  }
  if (view.getUint32(22) % 2 ** 24 !== vp8StartCode) return null;
  return {
    width: view.getUint16(26, true) & 0x3fff,
    height: view.getUint16(28, true) & 0x3fff,
  };
}

function findJpegSize(view: DataView): Size | null {
  let position = 2;
  for (let segments = 0; segments < jpegSegmentsMax; segments++) {
    if (view.getUint8(position) !== 0xff) return null;
    const marker = view.getUint8(position + 1);
    if (marker === 0xff) {
      position += 1;
      continue;
    }
    if (isJpegFrame(marker)) {
      return { width: view.getUint16(position + 7), height: view.getUint16(position + 5) };
    }
    position += 2 + view.getUint16(position + 2);
  }
  return null;
}

/** SOF0 to SOF15 without DHT, JPG and DAC, which share the range. */
function isJpegFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

function getUint24(view: DataView, position: number): number {
  return view.getUint16(position, true) | (view.getUint8(position + 2) << 16);
}

function formatChoice(formats: readonly string[]): string {
  const last = formats.at(-1) ?? "known";
  return formats.length > 1 ? `${formats.slice(0, -1).join(", ")} or ${last}` : last;
}
