/**
 * Painting over a part of a picture: what the mask leaves alone keeps the picture's own pixels, to the
 * last bit where the output format is lossless.
 */
import sharp from "sharp";

import type { Box, Canvas } from "./canvas.ts";
import type { Drawing } from "./picture.ts";

/** Where a mask is wholly transparent: its alpha channel, and the smallest box around the place. */
export type Hole = { alpha: Uint8Array; width: number; box: Box };

type Size = { width: number; height: number };

/** A base's pixels in the drawing's size; at its own size they are exactly the picture's numbers. */
export async function readBase(
  picture: Uint8Array,
  drawing: Size & { format: Drawing["format"] },
): Promise<{ canvas: Canvas; profile: Uint8Array | null }> {
  const { width, height } = drawing;
  const { icc, space } = await sharp(picture).metadata();
  // Only PNG promises exact pixels, and only an RGB profile describes the RGB picture that comes out.
  const keepsProfile = drawing.format === "png" && (space === "srgb" || space === "rgb16");
  const pixels = await sharp(picture, { ignoreIcc: keepsProfile })
    .resize(width, height, { fit: "fill" })
    .toColourspace("srgb")
    .ensureAlpha()
    .raw()
    .toBuffer();
  const profile = keepsProfile ? (icc ?? null) : null;
  return { canvas: { width, height, channels: 4, pixels }, profile };
}

/** Null when the mask has no wholly transparent pixel. */
export async function readHole(mask: Uint8Array, { width, height }: Size): Promise<Hole | null> {
  const alpha = await sharp(mask)
    .resize(width, height, { fit: "fill", kernel: "nearest" })
    .ensureAlpha()
    .extractChannel("alpha")
    .toColourspace("b-w")
    .raw()
    .toBuffer();
  const box = boxAround(alpha, width);
  return box === null ? null : { alpha, width, box };
}

/** Copies a picture of the hole's size to where the hole is. */
export function copyThrough(base: Canvas, painted: Canvas, hole: Hole): void {
  const { alpha, width, box } = hole;
  const { channels } = painted;
  for (let y = 0; y < box.height; y++) {
    for (let x = 0; x < box.width; x++) {
      const target = (y + box.top) * width + (x + box.left);
      if (alpha[target] !== 0) continue;
      const source = (y * box.width + x) * channels;
      for (let band = 0; band < 3; band++)
        base.pixels[target * 4 + band] = painted.pixels[source + band] ?? 0;
      base.pixels[target * 4 + 3] = channels === 4 ? (painted.pixels[source + 3] ?? 0) : 255;
    }
  }
}

function boxAround(alpha: Uint8Array, width: number): Box | null {
  const first = alpha.indexOf(0);
  if (first === -1) return null;
  const top = Math.floor(first / width);
  const bottom = Math.floor(alpha.lastIndexOf(0) / width);
  let left = width;
  let right = 0;
  for (let y = top; y <= bottom; y++) {
    const row = alpha.subarray(y * width, (y + 1) * width);
    const start = row.indexOf(0);
    if (start === -1) continue;
    left = Math.min(left, start);
    right = Math.max(right, row.lastIndexOf(0));
  }
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
}
