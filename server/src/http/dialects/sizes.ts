/** Pixels, as clients of other APIs ask for them, in the words of a model's contract. */
import { parsePixels } from "../../models/parameters.ts";
import { nearestRatio } from "../../models/ratios.ts";
import { anyTier } from "../../models/row.ts";
import type {
  ChoiceParameter,
  Model,
  PictureSize,
  PixelBounds,
  RatioTable,
} from "../../models/row.ts";

export type SizeWords = { size?: string; resolution?: string };

/**
 * `size` as the model takes it. `WIDTHxHEIGHT` that the model does not make becomes the nearest ratio and
 * tier; `auto`, where the model does not know the word, is left to its default. Every other word stays as
 * it is, for the model's contract to judge.
 */
export function mapSize(model: Model, size: string): SizeWords {
  const parameter = findChoice(model, "size");
  if (size === "auto") return parameter?.values.includes(size) === true ? { size } : {};
  const pixels = parsePixels(size);
  if (pixels === null || pixels.width === 0 || pixels.height === 0) return { size };
  const bounds = parameter?.pixels;
  if (bounds !== undefined && isWithin(bounds, pixels)) return { size };
  return nearestWords(model, pixels);
}

/** The model's parameter of this name, where it has one that chooses among words. */
export function findChoice(model: Model, name: string): ChoiceParameter | null {
  const parameter = model.parameters.find((one) => one.name === name);
  return parameter?.type === "choice" ? parameter : null;
}

function isWithin(bounds: PixelBounds, { width, height }: PictureSize): boolean {
  const pixels = width * height;
  return (
    width % bounds.multipleOf === 0 &&
    height % bounds.multipleOf === 0 &&
    Math.max(width, height) <= bounds.sideMax &&
    Math.max(width, height) <= bounds.ratioMax * Math.min(width, height) &&
    pixels >= bounds.pixelsMin &&
    pixels <= bounds.pixelsMax
  );
}

function nearestWords(model: Model, wanted: PictureSize): SizeWords {
  let nearest: SizeWords = {};
  let least = Infinity;
  for (const [tier, table] of Object.entries(model.pixels.table)) {
    const ratio = nearestRatio(offered(model, table), wanted);
    const made = ratio === null ? undefined : table[ratio];
    if (ratio === null || made === undefined) continue;
    const distance = Math.abs(
      Math.log((made.width * made.height) / (wanted.width * wanted.height)),
    );
    if (distance >= least) continue;
    least = distance;
    nearest = tier === anyTier ? { size: ratio } : { size: ratio, resolution: tier };
  }
  return nearest;
}

function offered(model: Model, table: RatioTable): RatioTable {
  const values = findChoice(model, "size")?.values ?? [];
  return Object.fromEntries(Object.entries(table).filter(([ratio]) => values.includes(ratio)));
}
