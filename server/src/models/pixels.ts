import { must } from "../lib/errors.ts";
import type { ImageRequest } from "./model.ts";
import { parsePixels } from "./parameters.ts";
import { nearestRatio } from "./ratios.ts";
import { anyTier } from "./row.ts";
import type { Model, PictureFormat, PictureSize, PixelRule, RatioTable } from "./row.ts";

export type PromisedPicture = PictureSize & {
  format: PictureFormat;
  /** False where a live picture keeps the vendor's own pixels and only the ratio is promised. */
  isExactSize: boolean;
  /** False where a live picture keeps the vendor's own format. */
  isExactFormat: boolean;
};

/**
 * The pixels and format that the contract promises for a checked request. `firstReference` is null
 * when there is none, or while its size is not known: then 1:1 stands in for a ratio taken from it.
 */
export function promisedPicture(
  model: Model,
  request: ImageRequest,
  firstReference: PictureSize | null,
  isMasked: boolean,
): PromisedPicture {
  if (isMasked && firstReference !== null && model.mask?.result === "first_reference") {
    const { width, height } = firstReference;
    return { width, height, format: "png", isExactSize: true, isExactFormat: true };
  }
  return {
    ...promisedSize(model, request, firstReference),
    format: promisedFormat(model, request),
    isExactSize: model.pixels.isExact,
    isExactFormat: model.format.isExact,
  };
}

/** The most pixels the picture can have, also when they depend on a reference that is not here yet. */
export function pixelCountMax(model: Model, request: ImageRequest, references: number): number {
  const isOpen = references > 0 && !isDefinite(model.pixels, request);
  const sizes = isOpen
    ? Object.values(ratioTable(model.pixels, request))
    : [promisedSize(model, request, null)];
  return Math.max(...sizes.map(({ width, height }) => width * height));
}

function promisedSize(
  model: Model,
  request: ImageRequest,
  firstReference: PictureSize | null,
): PictureSize {
  const { size } = request.parameters;
  const word = typeof size === "string" ? size : "";
  const given = parsePixels(word);
  if (given !== null) return given;
  const { match } = model.pixels;
  if (match !== undefined && word === match.word && firstReference !== null) {
    return matchedSize(match, firstReference);
  }
  const table = ratioTable(model.pixels, request);
  const ratio = Object.hasOwn(table, word) ? word : ratioFor(table, firstReference);
  return must(table[ratio], `pixels of ${model.id} at ${ratio}`);
}

function ratioFor(table: RatioTable, firstReference: PictureSize | null): string {
  const square = "1:1";
  return firstReference === null ? square : (nearestRatio(table, firstReference) ?? square);
}

function isDefinite(rule: PixelRule, request: ImageRequest): boolean {
  const { size } = request.parameters;
  if (typeof size !== "string") return false;
  return parsePixels(size) !== null || Object.hasOwn(ratioTable(rule, request), size);
}

function ratioTable(rule: PixelRule, request: ImageRequest): RatioTable {
  const { resolution } = request.parameters;
  const tier = typeof resolution === "string" ? resolution : anyTier;
  // Without a tier in the request (pixels given) any table serves, for none is looked into.
  return must(rule.table[tier] ?? Object.values(rule.table)[0], "a table of pixels");
}

/**
 * The reference's ratio at about `pixels`, both sides rounded. The ratio is held within what the vendor
 * makes, so that a reference of one pixel by ten thousand does not ask for a strip of a hundred thousand.
 */
function matchedSize(match: NonNullable<PixelRule["match"]>, reference: PictureSize): PictureSize {
  const own = reference.width / reference.height;
  const ratio = Math.min(Math.max(own, 1 / match.ratioMax), match.ratioMax);
  const side = (pixels: number): number =>
    Math.round(Math.sqrt(pixels) / match.multipleOf) * match.multipleOf;
  return { width: side(match.pixels * ratio), height: side(match.pixels / ratio) };
}

function promisedFormat(model: Model, request: ImageRequest): PictureFormat {
  const rule = model.format;
  if (!("parameter" in rule)) return rule.fixed;
  const word = request.parameters[rule.parameter];
  const format = typeof word === "string" ? rule.words[word] : undefined;
  return must(format, `format of ${model.id}`);
}
