/**
 * Painting over a part of a picture: what the mask leaves alone keeps the picture's own pixels, to the
 * last bit where the output format is lossless.
 */
import sharp from "sharp";

import type { Box, Canvas } from "./canvas.ts";
import type { Drawing } from "./picture.ts";

/** Where a mask is not opaque: its alpha channel, and the smallest box around the place. */
export type Hole = { alpha: Uint8Array; width: number; box: Box };

const opaque = 255;

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

/** Null when the mask is opaque everywhere. */
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

/**
 * Lays a picture of the hole's size over the base where the hole is: all of it where the mask is wholly
 * transparent, none where it is opaque, a mixture in between.
 */
export function paintThrough(base: Canvas, painted: Canvas, { alpha, width, box }: Hole): void {
  for (let y = 0; y < box.height; y++) {
    for (let x = 0; x < box.width; x++) {
      const target = (y + box.top) * width + (x + box.left);
      const kept = alpha[target] ?? opaque;
      if (kept === opaque) continue;
      const source = (y * box.width + x) * painted.channels;
      mixPixel({ base, target: target * 4, painted, source }, kept);
    }
  }
}

type Pair = { base: Canvas; target: number; painted: Canvas; source: number };

/** Colours count by their opacity, so that what nobody sees does not shine through at the edges. */
function mixPixel({ base, target, painted, source }: Pair, kept: number): void {
  const under = base.pixels;
  const over = painted.pixels;
  const overAlpha = painted.channels === 4 ? (over[source + 3] ?? opaque) : opaque;
  const underWeight = kept * (under[target + 3] ?? opaque);
  const overWeight = (opaque - kept) * overAlpha;
  const weight = underWeight + overWeight;
  for (let band = 0; band < 3; band++) {
    const colour = over[source + band] ?? 0;
    const mixed = (under[target + band] ?? 0) * underWeight + colour * overWeight;
    under[target + band] = weight === 0 ? colour : Math.round(mixed / weight);
  }
  under[target + 3] = Math.round(weight / opaque);
}

function boxAround(alpha: Uint8Array, width: number): Box | null {
  let [left, right, top, bottom] = [width, -1, -1, -1];
  for (let start = 0, y = 0; start < alpha.length; start += width, y++) {
    const row = alpha.subarray(start, start + width);
    const first = row.findIndex((value) => value !== opaque);
    if (first === -1) continue;
    left = Math.min(left, first);
    right = Math.max(
      right,
      row.findLastIndex((value) => value !== opaque),
    );
    if (top === -1) top = y;
    bottom = y;
  }
  return top === -1 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}
