import { createHash } from "node:crypto";

import sharp from "sharp";

export type EmulatedPicture = {
  width: number;
  height: number;
  format: "png" | "jpeg" | "webp";
  /** Decides the colour; equal seeds give equal bytes. */
  seed: string;
};

const painted = new Map<string, Promise<Buffer>>();

/** A real picture of one colour, small in bytes whatever its pixels; kept, because tests ask for the same ones. */
export function paintEmulated(picture: EmulatedPicture): Promise<Buffer> {
  const { width, height, format, seed } = picture;
  const [r = 0, g = 0, b = 0] = createHash("sha256").update(seed).digest();
  const key = [width, height, format, r, g, b].join(" ");
  const known = painted.get(key);
  if (known !== undefined) return known;
  const made = sharp({ create: { width, height, channels: 3, background: { r, g, b } } })
    .toFormat(format)
    .toBuffer();
  if (painted.size > 200) painted.clear();
  painted.set(key, made);
  return made;
}
