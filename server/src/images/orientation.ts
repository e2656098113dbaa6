/** The tag of EXIF data that says how a picture is to be turned for showing. */
const orientationTag = 0x0112;
const shortType = 3;
const longType = 4;
const tiffMagic = 42;
/** JPEG puts these words before the TIFF data, PNG does not, and WebP files are found with and without. */
const exifWords = Buffer.from("Exif\0\0", "latin1");

/** The orientation that EXIF data states, 1 to 8; 1, upright, where it states none that makes sense. */
export function readOrientation(exif: Uint8Array): number {
  const isPrefixed = exifWords.every((byte, index) => exif[index] === byte);
  const tiff = isPrefixed ? exif.subarray(exifWords.length) : exif;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  try {
    const value = findTag(view) ?? 1;
    return value >= 1 && value <= 8 ? value : 1;
  } catch (error) {
    // A view refuses reads beyond its end: the data stop early, and decoders then take them for none.
    if (error instanceof RangeError) return 1;
    throw error;
  }
}

/** Whether an orientation exchanges width and height. */
export function isTransposed(orientation: number): boolean {
  return orientation >= 5;
}

function findTag(view: DataView): number | null {
  const order = view.getUint16(0);
  if (order !== 0x4949 && order !== 0x4d4d) return null;
  const isLittle = order === 0x4949;
  if (view.getUint16(2, isLittle) !== tiffMagic) return null;
  const directory = view.getUint32(4, isLittle);
  const count = view.getUint16(directory, isLittle);
  for (let index = 0; index < count; index++) {
    const entry = directory + 2 + index * 12;
    if (view.getUint16(entry, isLittle) !== orientationTag) continue;
    const type = view.getUint16(entry + 2, isLittle);
    if (type === shortType) return view.getUint16(entry + 8, isLittle);
    return type === longType ? view.getUint32(entry + 8, isLittle) : null;
  }
  return null;
}
