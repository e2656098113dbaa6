import type { Box } from "./canvas.ts";

/** Where the words and the references stand, and how large; in pixels. */
export type Layout = {
  margin: number;
  padding: number;
  /** Between two of the card's texts. */
  gap: number;
  /** Widest and highest the card with the words may be. */
  cardWidthMax: number;
  cardHeightMax: number;
  cornerRadius: number;
  /** Font sizes: the title's from large to small. */
  titleSizes: readonly number[];
  labelSize: number;
  captionSize: number;
};

export function layOut(width: number, height: number): Layout {
  const short = Math.min(width, height);
  // Long pictures get letters larger than their short side alone would allow.
  const unit = Math.min(Math.sqrt(width * height), 1.3 * short);
  const margin = Math.round(short * 0.055);
  const padding = Math.round(unit * 0.038);
  return {
    margin,
    padding,
    gap: Math.round(unit * 0.024),
    cardWidthMax: Math.min(width - 2 * margin, Math.round(unit * 1.15)),
    cardHeightMax: Math.min(height - 2 * margin, Math.round(Math.max(height * 0.46, unit * 0.4))),
    cornerRadius: Math.round(unit * 0.026),
    titleSizes: [0.054, 0.047, 0.041, 0.036, 0.032, 0.028].map((share) =>
      letterSize(short, unit * share, 12),
    ),
    labelSize: letterSize(short, unit * 0.025, 11),
    captionSize: letterSize(short, unit * 0.0205, 10),
  };
}

/** Readable on a picture of any size but the smallest, where letters shrink with the picture. */
function letterSize(short: number, pixels: number, least: number): number {
  return Math.max(1, Math.round(Math.max(pixels, Math.min(least, short * 0.1))));
}

/** Squares for `count` tiles inside a box, as large as fits, in rows from the top left. */
export function arrangeTiles(box: Box, count: number, sideMax: number): Box[] {
  let best = { side: 0, columns: 1 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const side = Math.min(sideMax, tileSide(box.width, columns), tileSide(box.height, rows));
    if (side > best.side) best = { side, columns };
  }
  const { columns } = best;
  const side = Math.floor(best.side);
  if (side < 1) return [];
  const step = side * (1 + gapShare);
  return Array.from({ length: count }, (_, index) => ({
    left: Math.round(box.left + (index % columns) * step),
    top: Math.round(box.top + Math.floor(index / columns) * step),
    width: side,
    height: side,
  }));
}

/** Gap between two tiles relative to their side. */
const gapShare = 0.14;

function tileSide(length: number, tiles: number): number {
  return length / (tiles + (tiles - 1) * gapShare);
}
