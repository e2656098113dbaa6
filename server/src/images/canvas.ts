/**
 * Raw pixels in memory and the few shapes that sandbox pictures are made of. Plain arithmetic instead
 * of SVG: the process that draws also decodes strangers' pictures, and has every loader blocked that
 * is not a photo format. Coordinates are pixels from the top left, colours are sRGB.
 */

import { must } from "../lib/errors.ts";

/** Red, green, blue, each 0–255. */
export type Colour = readonly [number, number, number];

/** `pixels` holds `channels` bytes a pixel, row by row; a fourth one is straight alpha. */
export type Canvas = { width: number; height: number; channels: 3 | 4; pixels: Uint8Array };

export type Box = { left: number; top: number; width: number; height: number };

export type Shape = {
  box: Box;
  /** Corner radius. */
  radius: number;
  colour: Colour;
  /** 0–1. */
  opacity: number;
  /** Width of the soft edge; 1 is a sharp edge without steps. */
  feather: number;
};

/** One byte a pixel that says how much of a colour lands there: what text is drawn with. */
export type Mask = { width: number; height: number; coverage: Uint8Array };

export function createCanvas(width: number, height: number, transparent: boolean): Canvas {
  const channels = transparent ? 4 : 3;
  return { width, height, channels, pixels: new Uint8Array(width * height * channels) };
}

/** Reads `#rrggbb`. */
export function parseColour(hex: string | undefined): Colour {
  const value = Number.parseInt(must(hex, "a colour").slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** `share` of `to` in `from`, 0–1. */
export function mixColours(from: Colour, to: Colour, share: number): Colour {
  const part = Math.min(1, Math.max(0, share));
  return [
    from[0] + (to[0] - from[0]) * part,
    from[1] + (to[1] - from[1]) * part,
    from[2] + (to[2] - from[2]) * part,
  ];
}

/** Lays a colour over one pixel, with an opacity of 0–1. */
export function blendPixel(canvas: Canvas, offset: number, colour: Colour, opacity: number): void {
  const { pixels } = canvas;
  const under = canvas.channels === 4 ? (pixels[offset + 3] ?? 0) / 255 : 1;
  const alpha = opacity + under * (1 - opacity);
  if (alpha <= 0) return;
  const share = opacity / alpha;
  for (let band = 0; band < 3; band++) {
    const old = pixels[offset + band] ?? 0;
    pixels[offset + band] = Math.round(old + ((colour[band] ?? 0) - old) * share);
  }
  if (canvas.channels === 4) pixels[offset + 3] = Math.round(alpha * 255);
}

/** Paints a rectangle with round corners; a wide feather makes a soft shadow of it. */
export function paintShape(canvas: Canvas, shape: Shape): void {
  const { box, feather } = shape;
  const area = clip(canvas, box, feather);
  for (let y = area.top; y < area.top + area.height; y++) {
    for (let x = area.left; x < area.left + area.width; x++) {
      const inside = 0.5 - edgeDistance(box, shape.radius, x + 0.5, y + 0.5) / feather;
      if (inside <= 0) continue;
      const cover = inside >= 1 ? 1 : feather > 1 ? inside * inside * (3 - 2 * inside) : inside;
      blendPixel(canvas, offsetOf(canvas, x, y), shape.colour, shape.opacity * cover);
    }
  }
}

/** Paints a colour through a mask whose top left corner lies at a point; what falls outside is cut. */
export function paintMask(
  canvas: Canvas,
  mask: Mask,
  at: { left: number; top: number },
  colour: Colour,
): void {
  const area = clip(canvas, { ...at, width: mask.width, height: mask.height }, 0);
  for (let y = area.top; y < area.top + area.height; y++) {
    for (let x = area.left; x < area.left + area.width; x++) {
      const cover = mask.coverage[(y - at.top) * mask.width + (x - at.left)] ?? 0;
      if (cover > 0) blendPixel(canvas, offsetOf(canvas, x, y), colour, cover / 255);
    }
  }
}

/** Lays a picture of three bytes a pixel over a box of its own size, with round corners. */
export function paintPicture(canvas: Canvas, rgb: Uint8Array, box: Box, radius: number): void {
  const area = clip(canvas, box, 0);
  for (let y = area.top; y < area.top + area.height; y++) {
    for (let x = area.left; x < area.left + area.width; x++) {
      const cover = Math.min(1, 0.5 - edgeDistance(box, radius, x + 0.5, y + 0.5));
      if (cover <= 0) continue;
      const from = ((y - box.top) * box.width + (x - box.left)) * 3;
      const colour: Colour = [rgb[from] ?? 0, rgb[from + 1] ?? 0, rgb[from + 2] ?? 0];
      blendPixel(canvas, offsetOf(canvas, x, y), colour, cover);
    }
  }
}

/** Makes everything outside a rectangle with round corners transparent. */
export function cutOut(canvas: Canvas, box: Box, radius: number): void {
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const cover = Math.min(1, Math.max(0, 0.5 - edgeDistance(box, radius, x + 0.5, y + 0.5)));
      if (cover === 1) continue;
      const offset = offsetOf(canvas, x, y);
      canvas.pixels[offset + 3] = Math.round((canvas.pixels[offset + 3] ?? 0) * cover);
      if (cover === 0) canvas.pixels.fill(0, offset, offset + 3);
    }
  }
}

function offsetOf(canvas: Canvas, x: number, y: number): number {
  return (y * canvas.width + x) * canvas.channels;
}

/** The whole pixels that a box, widened by its soft edge, shares with the canvas. */
function clip(canvas: Canvas, box: Box, feather: number): Box {
  const left = Math.max(0, Math.floor(box.left - feather / 2));
  const top = Math.max(0, Math.floor(box.top - feather / 2));
  const right = Math.min(canvas.width, Math.ceil(box.left + box.width + feather / 2));
  const bottom = Math.min(canvas.height, Math.ceil(box.top + box.height + feather / 2));
  return { left, top, width: Math.max(0, right - left), height: Math.max(0, bottom - top) };
}

/** Distance of a point from the edge of a rectangle with round corners; negative inside. */
function edgeDistance(box: Box, radius: number, x: number, y: number): number {
  const round = Math.min(radius, box.width / 2, box.height / 2);
  const dx = Math.abs(x - box.left - box.width / 2) - (box.width / 2 - round);
  const dy = Math.abs(y - box.top - box.height / 2) - (box.height / 2 - round);
  const outside = Math.sqrt(Math.max(dx, 0) ** 2 + Math.max(dy, 0) ** 2);
  return outside + Math.min(Math.max(dx, dy), 0) - round;
}
