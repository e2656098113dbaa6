/**
 * Vendors' pictures made into what a model's contract promises. Runs in a picture process and nowhere
 * else. Whatever passes through here loses its metadata, signed provenance included.
 */
import sharp from "sharp";
import type { Metadata, Sharp } from "sharp";
import type { Box, Canvas } from "./canvas.ts";
import { decoding, keepDepth, openPicture, openSharp } from "./operations.ts";
import type { Composition, Conversion, PictureLimits } from "./picture.ts";
import { embedProfile } from "./profile.ts";
import { copyThrough, readBase, readHole } from "./repaint.ts";

type Size = { width: number; height: number };

/** Ends before the supervisor's own deadline; large pictures take seconds to encode. */
const convertSecondsMax = 55;
const qualityDefault = 95;
/** Vendors round sides up to multiples of 16; a rest below that, or below 2 %, is cut off. */
const trimPixelsMax = 15;
const trimShareMax = 0.02;

/** As in `PictureProcesses.convert`. */
export async function convert(
  bytes: Uint8Array,
  limits: PictureLimits,
  conversion: Conversion,
): Promise<Uint8Array> {
  const { metadata } = await openPicture(bytes, limits);
  const upright = openSharp(bytes, limits, convertSecondsMax).autoOrient();
  const coloured = isRgb(metadata) ? upright.keepIccProfile() : upright;
  const fitted = fit(coloured, metadata.autoOrient, conversion);
  return decoding(() => encode(fitted, metadata, conversion).toBuffer());
}

/** As in `PictureProcesses.composite`. */
export async function composite(
  bytes: Uint8Array,
  limits: PictureLimits,
  { reference, mask }: Composition,
): Promise<Uint8Array> {
  await openPicture(bytes, limits);
  const { width, height } = await sharp(reference).metadata();
  const { canvas, profile } = await readBase(reference, { width, height, format: "png" });
  const hole = await readHole(mask, canvas);
  if (hole !== null) {
    const painted = await decoding(() => readPart(bytes, limits, { whole: canvas, box: hole.box }));
    copyThrough(canvas, painted, hole);
  }
  const png = await encodeCanvas(canvas);
  return profile === null ? png : embedProfile(png, profile);
}

/** Only an RGB profile describes the RGB picture that comes out. */
function isRgb({ space }: Metadata): boolean {
  return space === "srgb" || space === "rgb16";
}

function fit(picture: Sharp, have: Size, want: Size): Sharp {
  const { width, height } = want;
  if (have.width === width && have.height === height) return picture;
  if (isTrim(have.width, width) && isTrim(have.height, height)) {
    const left = Math.floor((have.width - width) / 2);
    const top = Math.floor((have.height - height) / 2);
    return picture.extract({ left, top, width, height });
  }
  return picture.resize(width, height, { fit: "cover" });
}

function isTrim(have: number, want: number): boolean {
  return have >= want && have - want <= Math.max(trimPixelsMax, want * trimShareMax);
}

function encode(picture: Sharp, metadata: Metadata, { format, compression }: Conversion): Sharp {
  const quality = Math.min(100, Math.max(1, compression ?? qualityDefault));
  const encoders: Record<Conversion["format"], () => Sharp> = {
    png: () => keepDepth(picture, metadata).png(),
    jpeg: () =>
      picture.flatten({ background: "#ffffff" }).jpeg({ quality, chromaSubsampling: "4:4:4" }),
    webp: () => picture.webp({ quality }),
  };
  return encoders[format]();
}

/** The pixels inside `box` of a picture that is scaled to `whole`. */
async function readPart(
  bytes: Uint8Array,
  limits: PictureLimits,
  { whole, box }: { whole: Size; box: Box },
): Promise<Canvas> {
  const pixels = await openSharp(bytes, limits, convertSecondsMax)
    .autoOrient()
    .resize(whole.width, whole.height, { fit: "fill" })
    .extract(box)
    .toColourspace("srgb")
    .ensureAlpha()
    .raw()
    .toBuffer();
  return { width: box.width, height: box.height, channels: 4, pixels };
}

function encodeCanvas({ pixels, width, height }: Canvas): Promise<Uint8Array> {
  const picture = sharp(pixels, { raw: { width, height, channels: 4 } });
  return (isOpaque(pixels) ? picture.removeAlpha() : picture).png().toBuffer();
}

function isOpaque(pixels: Uint8Array): boolean {
  for (let index = 3; index < pixels.length; index += 4) if (pixels[index] !== 255) return false;
  return true;
}
