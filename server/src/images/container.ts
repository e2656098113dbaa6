/**
 * Walks the containers of the four formats from the first byte to the picture's own end. A file whose
 * end is missing is cut short, whatever a lenient decoder makes of it; what follows the end, and every
 * part that is no part of the picture (EXIF, GPS, XMP, comments, thumbnails, further frames), can be
 * left out without touching a pixel.
 */
import { PictureError } from "./picture.ts";
import { readText } from "./sniff.ts";
import type { PictureFormat } from "./sniff.ts";

export type Container = {
  /** Where the parts of the picture itself are, in their order. */
  kept: readonly Range[];
  /** EXIF data, which may turn the picture; not part of `kept`. */
  exif: Uint8Array | null;
  /** More than one frame, in a format in which `kept` still holds them all. */
  isAnimated: boolean;
  /** The pixels are stored without loss. */
  isLossless: boolean;
};

/** From `start` up to, not including, `end`. */
export type Range = { start: number; end: number };

/** Far above what encoders write; bounds the work on files made of empty parts. */
const partsMax = 50_000;

/** Throws `PictureError` when the file is cut short or its parts do not fit together. */
export function parseContainer(bytes: Uint8Array, format: PictureFormat): Container {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return parsers[format](bytes, view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new PictureError("broken", `is a ${format} picture that is cut short`, { cause: error });
  }
}

/** The picture alone, pixel for pixel; the very same array when nothing has to go. */
export function stripContainer(bytes: Uint8Array, { kept }: Container): Uint8Array {
  const [first] = kept;
  const isWhole = kept.length === 1 && first?.start === 0 && first.end === bytes.length;
  if (isWhole) return bytes;
  const stripped = Buffer.concat(kept.map(({ start, end }) => bytes.subarray(start, end)));
  return readText(stripped, 0, 4) === "RIFF" ? repairWebpHeader(stripped) : stripped;
}

const parsers = {
  jpeg: parseJpeg,
  png: parsePng,
  webp: parseWebp,
  gif: (_bytes, view) => parseGif(view),
} satisfies Record<PictureFormat, (bytes: Uint8Array, view: DataView) => Container>;

/** Chunks that change how the pixels look; `eXIf`, text, time, animation and private ones are not here. */
const pngChunks = new Set(
  "IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs".split(" "),
);

function parsePng(bytes: Uint8Array, view: DataView): Container {
  const kept = createSelection("png");
  kept.keep(0, 8);
  let exif: Uint8Array | null = null;
  let hasData = false;
  for (let position = 8; ;) {
    const length = view.getUint32(position);
    const type = readText(bytes, position + 4, 4);
    const end = position + 12 + length;
    if (end > bytes.length) throw new RangeError("a chunk is longer than the file");
    // Checksums are the decoder's to check: it is lenient where nothing hangs on a chunk.
    if (pngChunks.has(type)) kept.keep(position, end);
    else kept.skip();
    if (type === "IEND") break;
    if (type === "IDAT") hasData = true;
    if (type === "eXIf") exif = bytes.subarray(position + 8, end - 4);
    position = end;
  }
  if (!hasData) throw broken("png");
  // Without its control chunks an animated PNG is its default picture.
  return { kept: kept.ranges, exif, isAnimated: false, isLossless: true };
}

function parseJpeg(bytes: Uint8Array, view: DataView): Container {
  const kept = createSelection("jpeg");
  kept.keep(0, 2);
  let exif: Uint8Array | null = null;
  let hasScan = false;
  let position = 2;
  for (;;) {
    if (view.getUint8(position) !== 0xff) throw broken("jpeg");
    const marker = view.getUint8(position + 1);
    if (marker === 0xff) {
      position += 1;
      continue;
    }
    if (marker === 0xd9) break;
    // Below C0 nothing is defined, and restart and start markers have no place between segments.
    if (marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd8)) throw broken("jpeg");
    let end = position + 2 + view.getUint16(position + 2);
    if (end > bytes.length) throw broken("jpeg");
    if (marker === 0xda) {
      hasScan = true;
      end = findScanEnd(bytes, end);
    }
    if (isJpegExif(bytes, marker, position)) exif ??= bytes.subarray(position + 4, end);
    if (isJpegPart(bytes, marker, position, end)) kept.keep(position, end);
    else kept.skip();
    position = end;
  }
  if (!hasScan) throw broken("jpeg");
  kept.keep(position, position + 2);
  return { kept: kept.ranges, exif, isAnimated: false, isLossless: false };
}

function isJpegExif(bytes: Uint8Array, marker: number, start: number): boolean {
  return marker === 0xe1 && readText(bytes, start + 4, 6) === "Exif\0\0";
}

/** Of the application segments only JFIF without a thumbnail, the colour profile and Adobe's colour transform. */
function isJpegPart(bytes: Uint8Array, marker: number, start: number, end: number): boolean {
  const name = readText(bytes, start + 4, 12);
  if (marker === 0xe0) return name.startsWith("JFIF\0") && end - start === 18;
  if (marker === 0xe2) return name === "ICC_PROFILE\0";
  if (marker === 0xee) return name.startsWith("Adobe");
  return marker >= 0xc0 && marker <= 0xdf;
}

/** In coded data FF is followed by 00 or a restart marker; anything else ends the scan. */
function findScanEnd(bytes: Uint8Array, start: number): number {
  // A search of the engine's own is some times faster than a loop over megabytes.
  for (let position = bytes.indexOf(0xff, start); position !== -1;) {
    const next = bytes[position + 1];
    if (next === undefined) break;
    if (next !== 0 && !(next >= 0xd0 && next <= 0xd7)) return position;
    position = bytes.indexOf(0xff, position + 2);
  }
  throw new RangeError("no marker after the scan");
}

const webpChunks = new Set(["VP8X", "ICCP", "ALPH", "VP8 ", "VP8L"]);
/** Bits of the first flag byte of `VP8X` (RFC 9649). */
const webpMetadataFlags = 0x08 | 0x04;

function parseWebp(bytes: Uint8Array, view: DataView): Container {
  const kept = createSelection("webp");
  const end = 8 + view.getUint32(4, true);
  if (end > bytes.length) throw new RangeError("the declared size is beyond the end");
  const kinds = new Set<string>();
  let exif: Uint8Array | null = null;
  kept.keep(0, 12);
  for (let position = 12; position + 8 <= end;) {
    const kind = readText(bytes, position, 4);
    const length = view.getUint32(position + 4, true);
    if (position + 8 + length > end) throw broken("webp");
    const next = Math.min(end, position + 8 + length + (length % 2));
    if (webpChunks.has(kind)) kept.keep(position, next);
    else kept.skip();
    if (kind === "EXIF") exif = bytes.subarray(position + 8, position + 8 + length);
    kinds.add(kind);
    position = next;
  }
  if (!["VP8 ", "VP8L", "ANMF"].some((kind) => kinds.has(kind))) throw broken("webp");
  return {
    kept: kept.ranges,
    exif,
    isAnimated: kinds.has("ANIM") || kinds.has("ANMF"),
    isLossless: kinds.has("VP8L"),
  };
}

/** Sets the size and clears the flags of the parts that were left out. `bytes` is our own copy. */
function repairWebpHeader(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(4, bytes.length - 8, true);
  if (readText(bytes, 12, 4) === "VP8X") {
    view.setUint8(20, view.getUint8(20) & ~webpMetadataFlags);
  }
  return bytes;
}

function parseGif(view: DataView): Container {
  let position = 13 + colourTableLength(view.getUint8(10));
  let frames = 0;
  for (let parts = 0; ; parts++) {
    if (parts > partsMax) throw broken("gif");
    const kind = view.getUint8(position);
    if (kind === 0x3b) break;
    if (kind === 0x2c) {
      frames += 1;
      position += 11 + colourTableLength(view.getUint8(position + 9));
    } else if (kind === 0x21) {
      position += 2;
    } else {
      throw broken("gif");
    }
    position = skipSubBlocks(view, position);
  }
  if (frames === 0) throw broken("gif");
  const kept = [{ start: 0, end: position + 1 }];
  return { kept, exif: null, isAnimated: frames > 1, isLossless: true };
}

function colourTableLength(flags: number): number {
  return flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0;
}

function skipSubBlocks(view: DataView, start: number): number {
  let position = start;
  for (let length = -1; length !== 0;) {
    length = view.getUint8(position);
    position += 1 + length;
  }
  return position;
}

/** Parts of a file that stay, neighbours merged. */
function createSelection(format: PictureFormat) {
  const ranges: Range[] = [];
  let parts = 0;
  function count(): void {
    parts += 1;
    if (parts > partsMax) throw broken(format);
  }
  return {
    ranges,
    skip: count,
    keep: (start: number, end: number): void => {
      count();
      const last = ranges.at(-1);
      if (last?.end === start) last.end = end;
      else ranges.push({ start, end });
    },
  };
}

function broken(format: PictureFormat): PictureError {
  return new PictureError("broken", `is a broken ${format} picture`);
}
