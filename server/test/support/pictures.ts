/** Pictures for tests to send, and what tests want to know of those they get back. */
import assert from "node:assert/strict";

import sharp from "sharp";

import type { Task, TaskImage } from "../../../client/src/tasks.ts";
import { download } from "./client.ts";

/** Red, green, blue, each 0 to 255. */
export type Rgb = readonly [number, number, number];

export type SentFormat = "png" | "jpeg" | "webp" | "gif";

/** Colours that no landscape of the sandbox has. */
export const colours = {
  magenta: [255, 0, 200],
  green: [0, 255, 0],
  cyan: [0, 255, 255],
  red: [255, 0, 0],
  blue: [0, 0, 255],
  yellow: [255, 255, 0],
} as const satisfies Record<string, Rgb>;

export type Plain = { colour: Rgb; width: number; height: number; format: SentFormat };

/** A picture of one colour. */
export function paintPlain({ colour, width, height, format }: Plain): Promise<Buffer> {
  const [r, g, b] = colour;
  const picture = sharp({ create: { width, height, channels: 3, background: { r, g, b } } });
  // Full chroma: a JPEG's colour must survive to be found again.
  if (format === "jpeg")
    return picture.jpeg({ quality: 95, chromaSubsampling: "4:4:4" }).toBuffer();
  return picture.toFormat(format).toBuffer();
}

/** A PNG whose every pixel differs from its neighbours, so that a single changed one is seen. */
export function paintGrid(width: number, height: number): Promise<Buffer> {
  const pixels = Buffer.alloc(width * height * 3);
  for (let index = 0; index < pixels.length; index++) pixels[index] = (index * 7919) % 251;
  return sharp(pixels, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
}

export type Box = { left: number; top: number; width: number; height: number };

/** A mask as PNG: opaque, but for one transparent box. */
export function paintMask(width: number, height: number, hole: Box | null): Promise<Buffer> {
  const pixels = Buffer.alloc(width * height * 4, 255);
  if (hole !== null) {
    for (let y = hole.top; y < hole.top + hole.height; y++) {
      const start = (y * width + hole.left) * 4;
      pixels.fill(0, start, start + hole.width * 4);
    }
  }
  return sharp(pixels, { raw: { width, height, channels: 4 } })
    .png()
    .toBuffer();
}

export function dataUri(bytes: Buffer, subtype = "png"): string {
  return `data:image/${subtype};base64,${bytes.toString("base64")}`;
}

export type Seen = {
  format: string;
  width: number;
  height: number;
  channels: number;
  /** Row by row, `channels` bytes a pixel. */
  pixels: Buffer;
};

/** Decodes a picture by its bytes. */
export async function readPicture(bytes: Buffer): Promise<Seen> {
  const { format, width, height } = await sharp(bytes).metadata();
  const { data, info } = await sharp(bytes).raw().toBuffer({ resolveWithObject: true });
  return { format, width, height, channels: info.channels, pixels: data };
}

/** How many pixels are near a colour. */
export function countColour({ pixels, channels }: Seen, colour: Rgb, tolerance = 6): number {
  let count = 0;
  for (let offset = 0; offset < pixels.length; offset += channels) {
    const isNear = colour.every((value, band) => {
      return Math.abs(value - (pixels[offset + band] ?? 0)) <= tolerance;
    });
    if (isNear) count += 1;
  }
  return count;
}

/** The least alpha of a picture, 255 where it has no alpha channel. */
export function leastAlpha({ pixels, channels }: Seen): number {
  if (channels !== 4) return 255;
  let least = 255;
  for (let offset = 3; offset < pixels.length; offset += 4) {
    least = Math.min(least, pixels[offset] ?? 0);
  }
  return least;
}

/** Downloads and decodes the pictures of a completed task, and fails when one is not what the task says. */
export async function collectPictures({ status, result, error }: Task): Promise<Seen[]> {
  assert.equal(status, "completed", JSON.stringify(error));
  const images = result?.images ?? [];
  assert.ok(images.length > 0, "a completed task has pictures");
  return Promise.all(images.map(collectPicture));
}

async function collectPicture(image: TaskImage): Promise<Seen> {
  assert.equal(image.url.length, 1);
  const { status, headers, bytes } = await download(image.url[0] ?? "");
  assert.equal(status, 200);
  assert.equal(headers.get("content-type"), image.content_type);
  assert.equal(bytes.length, image.bytes);
  const seen = await readPicture(bytes);
  const { format, width, height } = seen;
  const told = { format: image.content_type.slice("image/".length), ...sizeOf(image) };
  assert.deepEqual({ format, width, height }, told);
  return seen;
}

function sizeOf({ width, height }: { width: number; height: number }) {
  return { width, height };
}

/** `1024x1536` */
export function pixelsOf({ width, height }: { width: number; height: number }): string {
  return `${width}x${height}`;
}
