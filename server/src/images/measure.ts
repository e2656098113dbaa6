import { parseContainer } from "./container.ts";
import { isTransposed, readOrientation } from "./orientation.ts";
import { PictureError } from "./picture.ts";
import type { PictureInfo, PictureLimits } from "./picture.ts";
import { checkHeader, contentTypes, findSize } from "./sniff.ts";

export type Measured = Pick<PictureInfo, "format" | "contentType" | "width" | "height">;

/**
 * What a picture is, from a walk over its container: about a millisecond for megabytes, so the main
 * process may do it. A file that is cut short or is no picture is refused, damage inside the coded
 * pixels is not seen. Throws `PictureError`.
 */
export function measurePicture(bytes: Uint8Array, limits: PictureLimits): Measured {
  const format = checkHeader(bytes, limits);
  const { exif } = parseContainer(bytes, format);
  const size = findSize(bytes, format);
  if (size === null) throw new PictureError("broken", `is a broken ${format} picture`);
  const isTurned = exif !== null && isTransposed(readOrientation(exif));
  const { width, height } = isTurned ? { width: size.height, height: size.width } : size;
  return { format, contentType: contentTypes[format], width, height };
}
