import type { PictureSize, RatioTable } from "./row.ts";

/** The table with the portrait of every landscape picture after it: `4:3` gives `3:4`. */
export function withPortraits(
  landscapes: Readonly<Record<string, readonly [number, number]>>,
): RatioTable {
  const table: Record<string, PictureSize> = {};
  for (const [ratio, [width, height]] of Object.entries(landscapes)) {
    table[ratio] = { width, height };
    const [across = "", down = ""] = ratio.split(":");
    table[`${down}:${across}`] = { width: height, height: width };
  }
  return table;
}

/** The ratio of `table` nearest to a picture's own, compared on a logarithmic scale; null for an empty table. */
export function nearestRatio(table: RatioTable, picture: PictureSize): string | null {
  let nearest: string | null = null;
  let least = Infinity;
  for (const ratio of Object.keys(table)) {
    const distance = Math.abs(Math.log(ratioOf(ratio) / (picture.width / picture.height)));
    // The margin keeps the first of two ratios that differ only in the last bit of a logarithm.
    if (distance < least - 1e-9) {
      nearest = ratio;
      least = distance;
    }
  }
  return nearest;
}

/** Width by height of `16:9`. */
export function ratioOf(ratio: string): number {
  const [across = "1", down = "1"] = ratio.split(":");
  return Number(across) / Number(down);
}
