/**
 * The landscape behind the words: a sky, a sun or moon, and ridges that fade into haze. Everything in
 * it comes from the seed; equal seeds paint equal pixels on every machine.
 */
import { createHash } from "node:crypto";

import { must } from "../lib/errors.ts";
import { mixColours, paintShape, parseColour } from "./canvas.ts";
import type { Canvas, Colour } from "./canvas.ts";

export type Palette = {
  /** Sky from top to horizon. */
  sky: readonly [Colour, Colour, Colour];
  sun: Colour;
  /** Light around the sun: between its colour and the horizon's, so that it never looks grey. */
  glow: Colour;
  far: Colour;
  near: Colour;
  stars: boolean;
};

/** What a seed chose. */
export type Scene = {
  palette: Palette;
  sun: { x: number; y: number; radius: number };
  /** Height of the edge in every column, from the farthest ridge to the nearest. */
  ridges: readonly Float32Array[];
  stars: readonly { x: number; y: number; radius: number; brightness: number }[];
};

const palettes: readonly Palette[] = [
  palette("#2b3a67 #c06c84 #ffd3b0 #fff1d6 #a5738f #1f1d3a"),
  palette("#2f7fb8 #93cae4 #f6efdc #fffbe8 #8fb3b5 #17424a"),
  palette("#1b1f4b #6a3d7c #f08a5d #ffe0a3 #7d5083 #150f2b"),
  palette("#0a0f26 #1d2b53 #557799 #f4f1de #3f5a7a #060a16", true),
  palette("#4f8585 #b3d1b2 #f2e9c9 #fff6d0 #86a894 #12302b"),
  palette("#4d93a3 #f0d9b5 #f9c08f #fffaf0 #d98f5c #552a22"),
  palette("#4c4586 #c06c84 #f8b195 #ffeadb #9a5f86 #2a1b3d"),
  palette("#5f8fc0 #c0daec #f7f6f2 #ffffff #a5bfd6 #26425f"),
  palette("#041c32 #0f4c5c #58b99f #e9f5db #2a7f78 #03121a", true),
  palette("#2d142c #8c1d40 #f2a65a #ffe3b8 #8a3244 #1a0a14"),
];

/** Composes a scene for a picture of this size. */
export function composeScene(seed: string, width: number, height: number): Scene {
  const next = createFractions(seed);
  const chosen = must(palettes[Math.floor(next() * palettes.length)], "a palette");
  // The geometric mean keeps hills and sun in proportion on very long pictures.
  const unit = Math.min(Math.sqrt(width * height), 1.6 * Math.min(width, height));
  const horizon = height * (0.4 + next() * 0.14);
  const sun = {
    x: width * (0.2 + next() * 0.6),
    y: horizon - unit * (0.02 + next() * 0.2),
    radius: unit * (0.06 + next() * 0.06),
  };
  const count = 4 + Math.floor(next() * 3);
  const roughness = 0.38 + next() * 0.2;
  const ridges = Array.from({ length: count }, (_, index) => {
    const depth = index / (count - 1);
    const middle = horizon + (height - horizon) * depth * 0.72;
    return ridge(next, width, {
      middle,
      swing: unit * (0.1 + 0.05 * depth) * (0.7 + next() * 0.6),
      wave: unit * (0.45 + 0.35 * depth),
      roughness,
    });
  });
  return { palette: chosen, sun, ridges, stars: chosen.stars ? stars(next, width, horizon) : [] };
}

/** Fills the whole canvas with a scene of its size. */
export function paintScene(canvas: Canvas, scene: Scene): void {
  const rows = createRows(scene, canvas.height);
  for (let y = 0; y < canvas.height; y++) paintRow(canvas, scene, rows, y);
  for (const star of scene.stars) paintStar(canvas, scene, star);
}

/** Colours of the sky from top to horizon, of the sun, and of the farthest and the nearest ridge. */
function palette(hexes: string, hasStars = false): Palette {
  const [top, middle, low, sun, far, near] = hexes.split(" ");
  return {
    sky: [parseColour(top), parseColour(middle), parseColour(low)],
    sun: parseColour(sun),
    glow: mixColours(parseColour(low), parseColour(sun), 0.35),
    far: parseColour(far),
    near: parseColour(near),
    stars: hasStars,
  };
}

/** An endless row of numbers in [0, 1) that a text decides: the digest of it, counted up. */
function createFractions(seed: string): () => number {
  let block = 0;
  let bytes = Buffer.alloc(0);
  return () => {
    if (bytes.length < 4) {
      bytes = createHash("sha256").update(`${block}:${seed}`).digest();
      block += 1;
    }
    const value = bytes.readUInt32BE(0);
    bytes = bytes.subarray(4);
    return value / 2 ** 32;
  };
}

type Outline = { middle: number; swing: number; wave: number; roughness: number };

/** A mountain outline: smooth noise in octaves, each finer and lower than the one before. */
function ridge(next: () => number, width: number, outline: Outline): Float32Array {
  const heights = new Float32Array(width).fill(outline.middle);
  let swing = outline.swing;
  let wave = outline.wave;
  for (let octave = 0; octave < 6 && wave > 3; octave++) {
    const start = next();
    const knots = Array.from({ length: Math.ceil(width / wave) + 3 }, () => next() * 2 - 1);
    for (let x = 0; x < width; x++) {
      const position = x / wave + start;
      const knot = Math.floor(position);
      const part = position - knot;
      const smooth = part * part * (3 - 2 * part);
      const from = knots[knot] ?? 0;
      heights[x] = (heights[x] ?? 0) + swing * (from + ((knots[knot + 1] ?? 0) - from) * smooth);
    }
    swing *= outline.roughness;
    wave /= 2;
  }
  return heights;
}

function stars(next: () => number, width: number, horizon: number): Scene["stars"] {
  const unit = Math.min(width, horizon * 2);
  const count = Math.min(400, Math.round((70 * width) / unit));
  return Array.from({ length: count }, () => ({
    x: next() * width,
    y: next() ** 1.4 * horizon * 0.85,
    radius: Math.max(0.6, unit * (0.0006 + next() ** 3 * 0.0016)),
    brightness: 0.25 + next() * 0.65,
  }));
}

/** Colours that depend on the row only, three bytes a row: the sky, then each ridge. */
type Rows = { sky: Uint8Array; ridges: readonly Uint8Array[] };

function createRows(scene: Scene, height: number): Rows {
  const { sky, far, near } = scene.palette;
  const horizon = height * 0.56;
  const count = scene.ridges.length;
  return {
    sky: colourRows(height, (y) => {
      const part = y / horizon;
      return part < 0.55
        ? mixColours(sky[0], sky[1], part / 0.55)
        : mixColours(sky[1], sky[2], (part - 0.55) / 0.45);
    }),
    ridges: scene.ridges.map((outline, index) => {
      const depth = index / (count - 1);
      const colour = mixColours(far, near, depth ** 0.85);
      const haze = mixColours(colour, sky[2], 0.42 * (1 - depth));
      const top = outline.reduce((least, value) => Math.min(least, value), height);
      return colourRows(height, (y) => mixColours(colour, haze, (y - top) / (height * 0.3)));
    }),
  };
}

function colourRows(height: number, colourAt: (y: number) => Colour): Uint8Array {
  const rows = new Uint8Array(height * 3);
  for (let y = 0; y < height; y++) rows.set(colourAt(y).map(Math.round), y * 3);
  return rows;
}

/** The hot loop: every pixel once, from the nearest ridge back to the sky, without allocations. */
function paintRow(canvas: Canvas, scene: Scene, rows: Rows, y: number): void {
  const { pixels, width, channels } = canvas;
  const { ridges } = scene;
  let offset = y * width * channels;
  for (let x = 0; x < width; x++, offset += channels) {
    let layer = ridges.length - 1;
    let cover = 0;
    while (layer >= 0) {
      cover = y + 1 - (ridges[layer]?.[x] ?? 0);
      if (cover > 0) break;
      layer -= 1;
    }
    if (channels === 4) pixels[offset + 3] = 255;
    if (cover >= 1) {
      paintFlat(pixels, offset, rows.ridges[layer], y);
      continue;
    }
    // An edge runs through this pixel (or it is sky): first what lies behind, then the share in front.
    const behind = layerBehind(ridges, layer - 1, x, y);
    if (behind < 0) paintSky(pixels, offset, { scene, sky: rows.sky }, { x, y });
    else paintFlat(pixels, offset, rows.ridges[behind], y);
    if (layer >= 0) mixFlat(pixels, offset, { row: rows.ridges[layer], y }, cover);
  }
}

function layerBehind(ridges: Scene["ridges"], from: number, x: number, y: number): number {
  let layer = from;
  while (layer >= 0 && y + 0.5 <= (ridges[layer]?.[x] ?? 0)) layer -= 1;
  return layer;
}

function paintFlat(
  pixels: Uint8Array,
  offset: number,
  rows: Uint8Array | undefined,
  y: number,
): void {
  if (rows === undefined) return;
  pixels[offset] = rows[y * 3] ?? 0;
  pixels[offset + 1] = rows[y * 3 + 1] ?? 0;
  pixels[offset + 2] = rows[y * 3 + 2] ?? 0;
}

function mixFlat(
  pixels: Uint8Array,
  offset: number,
  front: { row: Uint8Array | undefined; y: number },
  share: number,
): void {
  for (let band = 0; band < 3; band++) {
    const old = pixels[offset + band] ?? 0;
    const colour = front.row?.[front.y * 3 + band] ?? old;
    pixels[offset + band] = Math.round(old + (colour - old) * share);
  }
}

function paintSky(
  pixels: Uint8Array,
  offset: number,
  from: { scene: Scene; sky: Uint8Array },
  at: { x: number; y: number },
): void {
  paintFlat(pixels, offset, from.sky, at.y);
  const { sun, palette: colours } = from.scene;
  const dx = at.x + 0.5 - sun.x;
  const dy = at.y + 0.5 - sun.y;
  const reach = sun.radius * glowRadii;
  const squared = dx * dx + dy * dy;
  if (squared >= reach * reach) return;
  const distance = Math.sqrt(squared);
  const fade = 1 - distance / reach;
  const disc = Math.min(1, Math.max(0, sun.radius - distance + 0.5));
  const glow = glowStrength * fade * fade * fade;
  for (let band = 0; band < 3; band++) {
    const sky = pixels[offset + band] ?? 0;
    const lit = sky + ((colours.glow[band] ?? 0) - sky) * glow;
    pixels[offset + band] = Math.round(lit + ((colours.sun[band] ?? 0) - lit) * disc);
  }
}

const glowRadii = 7;
const glowStrength = 0.75;

function paintStar(canvas: Canvas, scene: Scene, star: Scene["stars"][number]): void {
  const { x, y, radius } = star;
  if (isHidden(scene, x, y + radius)) return;
  paintShape(canvas, {
    box: { left: x - radius, top: y - radius, width: radius * 2, height: radius * 2 },
    radius,
    colour: scene.palette.sun,
    opacity: star.brightness,
    feather: 1,
  });
}

/** A star shows neither through a ridge nor through the moon. */
function isHidden(scene: Scene, x: number, y: number): boolean {
  const dx = x - scene.sun.x;
  const dy = y - scene.sun.y;
  const column = Math.floor(x);
  if (Math.sqrt(dx * dx + dy * dy) < scene.sun.radius * 1.2) return true;
  return scene.ridges.some((outline) => y >= (outline[column] ?? 0));
}
