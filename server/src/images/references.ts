import type { Random } from "../lib/random.ts";
import { objectName } from "../storage/names.ts";
import type { Storage } from "../storage/storage.ts";
import type { PictureInfo, PictureLimits, PictureProcesses } from "./picture.ts";

/** A reference whose cleaned bytes are in storage; its row is still to be written. */
export type KeptReference = {
  position: number;
  object: string;
  contentType: PictureInfo["contentType"];
  width: number;
  height: number;
  bytes: number;
};

/** Most pixels of a stranger's picture: a larger one is refused before it is decoded. */
export const referencePixelsMax = 50_000_000;

const referenceFormats = ["jpeg", "png", "webp"] as const;

export function referenceLimits(bytesMax: number): PictureLimits {
  return { formats: referenceFormats, pixelsMax: referencePixelsMax, bytesMax };
}

/** Proves and cleans a reference or a mask and puts it into storage. Throws `PictureError` or `StorageError`. */
export async function keepReference(
  deps: { pictures: PictureProcesses; storage: Storage; random: Random },
  input: { bytes: Uint8Array; position: number; bytesMax: number; isMask: boolean },
): Promise<KeptReference> {
  const { pictures } = deps;
  const limits = referenceLimits(input.bytesMax);
  const { bytes, info } = input.isMask
    ? await pictures.cleanMask(input.bytes, limits)
    : await pictures.clean(input.bytes, limits);
  const object = objectName(deps.random);
  await deps.storage.put(object, bytes);
  return {
    position: input.position,
    object,
    contentType: info.contentType,
    width: info.width,
    height: info.height,
    bytes: bytes.byteLength,
  };
}

/** What is wrong with a mask for this first reference, in words for people that begin with its field; null when it can be used. */
export async function checkMask(
  pictures: PictureProcesses,
  mask: Uint8Array,
  first: { width: number; height: number } | null,
): Promise<string | null> {
  const { info, transparentPixels } = await pictures.inspectMask(
    mask,
    referenceLimits(mask.byteLength),
  );
  if (!info.hasAlpha) return "mask_url has no alpha channel; save it as a PNG with transparency";
  if (transparentPixels === 0) {
    return "mask_url has no transparent pixel; make the area to repaint fully transparent";
  }
  if (first !== null && (first.width !== info.width || first.height !== info.height)) {
    return `mask_url is ${info.width}x${info.height} but the first reference is ${first.width}x${first.height}; they must have the same size`;
  }
  return null;
}
