/**
 * Draws the pictures of the sandbox: a landscape from the seed, the references as prints, and a card
 * with the prompt and the word `sandbox`. A pure function of the drawing. Runs in a picture process
 * that was started with the variables of `drawingEnvironment()`.
 */
import sharp from "sharp";
import type { Sharp } from "sharp";

import { createCanvas, cutOut, mixColours, paintMask, paintPicture, paintShape } from "./canvas.ts";
import type { Box, Canvas, Colour, Mask } from "./canvas.ts";
import { arrangeTiles, layOut } from "./layout.ts";
import type { Layout } from "./layout.ts";
import { fitText, renderText, tidyText } from "./lettering.ts";
import type { Drawing } from "./picture.ts";
import { embedProfile } from "./profile.ts";
import { copyThrough, readBase, readHole } from "./repaint.ts";
import { composeScene, paintScene } from "./scene.ts";
import type { Palette } from "./scene.ts";

const qualityDefault = 90;
const white: Colour = [255, 255, 255];
const black: Colour = [0, 0, 0];

/** Draws and encodes. Rejects when a reference, base or mask cannot be decoded. */
export async function draw(drawing: Drawing): Promise<Uint8Array> {
  const { base } = drawing;
  if (base === null) return encode(await paint(drawing), drawing);
  const { canvas, profile } = await readBase(base.picture, drawing);
  const hole = await readHole(base.mask, drawing);
  // The hole gets a whole picture of its own, so that the words stand in it wherever it is.
  if (hole !== null) {
    const { width, height } = hole.box;
    copyThrough(canvas, await paint({ ...drawing, width, height }), hole);
  }
  const bytes = await encode(canvas, drawing);
  return profile === null ? bytes : embedProfile(bytes, profile);
}

async function paint(drawing: Drawing): Promise<Canvas> {
  const { width, height } = drawing;
  const transparent = drawing.transparent && drawing.format !== "jpeg";
  const canvas = createCanvas(width, height, transparent);
  const scene = composeScene(drawing.seed, width, height);
  paintScene(canvas, scene);
  const layout = layOut(width, height);
  if (transparent) cutOut(canvas, stickerBox(width, height), Math.min(width, height) * 0.46);
  const card = await paintCard(canvas, layout, scene.palette, drawing);
  const side = Math.min(width, height) * 0.3;
  const wall = {
    left: layout.margin,
    top: layout.margin,
    width: width - 2 * layout.margin,
    height: card.top - 2 * layout.margin,
  };
  const tiles = arrangeTiles(wall, drawing.insets.length, side);
  for (const [index, tile] of tiles.entries()) {
    const inset = drawing.insets[index];
    if (inset !== undefined) await paintPrint(canvas, tile, inset);
  }
  return canvas;
}

/** The part of a transparent picture that the scene keeps. */
function stickerBox(width: number, height: number): Box {
  const edge = Math.min(width, height) * 0.04;
  return { left: edge, top: edge, width: width - 2 * edge, height: height - 2 * edge };
}

/** Paints the card and returns where it stands: at the bottom, or in the middle of a hole. */
async function paintCard(
  canvas: Canvas,
  layout: Layout,
  palette: Palette,
  words: Pick<Drawing, "title" | "caption" | "base">,
): Promise<Box> {
  const { padding, gap, labelSize, captionSize } = layout;
  const width = layout.cardWidthMax - 2 * padding;
  const spacing = labelSize * 0.08;
  const label = await renderText({ text: "sandbox", size: labelSize, width, bold: true, spacing });
  const caption = await renderText({ text: tidyText(words.caption), size: captionSize, width });
  const heightMax = layout.cardHeightMax - label.height - caption.height - 2 * gap - 2 * padding;
  const title = await fitText(tidyText(words.title), {
    width,
    heightMax,
    sizes: layout.titleSizes,
  });
  const lines = [
    { mask: label, colour: mixColours(palette.sun, palette.sky[2], 0.4), after: gap },
    { mask: title, colour: white, after: gap },
    { mask: caption, colour: mixColours(palette.near, white, 0.68), after: 0 },
  ].filter((line) => line.mask.height > 0);
  const box = cardBox(canvas, layout, lines);
  // A hole is often round, and its middle is the widest place.
  if (words.base !== null) box.top = Math.max(0, Math.round((canvas.height - box.height) / 2));
  paintBackdrop(canvas, layout, box, palette);
  let top = box.top + padding;
  for (const { mask, colour, after } of lines) {
    paintMask(canvas, mask, { left: box.left + padding, top }, colour);
    top += mask.height + after;
  }
  return box;
}

function cardBox(
  canvas: Canvas,
  layout: Layout,
  lines: readonly { mask: Mask; after: number }[],
): Box {
  const last = lines.at(-1);
  const text = lines.reduce((sum, line) => sum + line.mask.height + line.after, 0);
  const height = text - (last?.after ?? 0) + 2 * layout.padding;
  const top = Math.max(0, canvas.height - layout.margin - height);
  return { left: layout.margin, top, width: layout.cardWidthMax, height };
}

function paintBackdrop(canvas: Canvas, layout: Layout, box: Box, palette: Palette): void {
  const { cornerRadius: radius } = layout;
  const shadow = { ...box, top: box.top + radius * 0.3 };
  paintShape(canvas, { box: shadow, radius, colour: black, opacity: 0.28, feather: radius * 1.6 });
  const colour = mixColours(palette.near, black, 0.35);
  paintShape(canvas, { box, radius, colour, opacity: 0.82, feather: 1 });
}

/** A reference as a photo print: white border, soft shadow, the picture cut to a square. */
async function paintPrint(canvas: Canvas, tile: Box, inset: Uint8Array): Promise<void> {
  const border = Math.max(1, Math.round(tile.width * 0.045));
  const radius = tile.width * 0.03;
  const shadow = { ...tile, top: tile.top + border * 0.6 };
  paintShape(canvas, { box: shadow, radius, colour: black, opacity: 0.4, feather: border * 2.5 });
  paintShape(canvas, { box: tile, radius, colour: white, opacity: 1, feather: 1 });
  const side = tile.width - 2 * border;
  if (side < 1) return;
  const rgb = await sharp(inset)
    .resize(side, side, { fit: "cover" })
    .flatten({ background: "#ffffff" })
    .toColourspace("srgb")
    .removeAlpha()
    .raw()
    .toBuffer();
  const box = { left: tile.left + border, top: tile.top + border, width: side, height: side };
  paintPicture(canvas, rgb, box, radius * 0.5);
}

function encode(canvas: Canvas, drawing: Drawing): Promise<Uint8Array> {
  const { width, height, channels, pixels } = canvas;
  const picture = sharp(pixels, { raw: { width, height, channels } });
  const quality = Math.min(100, Math.max(1, drawing.compression ?? qualityDefault));
  const encoders: Record<Drawing["format"], () => Sharp> = {
    png: () => picture.png({ compressionLevel: 4 }),
    jpeg: () =>
      picture.flatten({ background: "#ffffff" }).jpeg({ quality, chromaSubsampling: "4:4:4" }),
    webp: () => picture.webp({ quality, effort: 1 }),
  };
  return encoders[drawing.format]().toBuffer();
}
