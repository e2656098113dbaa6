/**
 * What inspecting a picture's bytes tells; the declared type and the file name are never believed.
 * Width and height are those of the picture as it is shown, with its orientation applied.
 */
export type PictureInfo = {
  format: "jpeg" | "png" | "webp" | "gif";
  contentType: "image/jpeg" | "image/png" | "image/webp" | "image/gif";
  width: number;
  height: number;
  hasAlpha: boolean;
};

/**
 * Bytes that are not a picture we accept. The message is fit for the caller and continues a sentence
 * that begins with the field: `image_urls[2] ` + "is not a jpeg, png or webp picture".
 */
export class PictureError extends Error {
  readonly problem: "unsupported" | "broken" | "too_large";

  constructor(
    problem: "unsupported" | "broken" | "too_large",
    message: string,
    options: { cause?: unknown } = {},
  ) {
    super(message, options);
    this.name = "PictureError";
    this.problem = problem;
  }
}

/** A picture for the sandbox to draw: plain data, sent to a picture process. */
export type Drawing = {
  width: number;
  height: number;
  format: "png" | "jpeg" | "webp";
  /** 0–100 for jpeg and webp. */
  compression: number | null;
  transparent: boolean;
  /** Decides colours and shapes; equal seeds draw equal pictures. */
  seed: string;
  /** Words to write: the prompt, and the small line under it. */
  title: string;
  caption: string;
  /** References, drawn as insets in their order. */
  insets: readonly Uint8Array[];
  /** With a base, only where `mask` is transparent is painted; where it is opaque the base's pixels stay. */
  base: { picture: Uint8Array; mask: Uint8Array } | null;
};

/** What a finished picture is to become: exactly these pixels, as it is shown, in this format. */
export type Conversion = {
  width: number;
  height: number;
  format: "png" | "jpeg" | "webp";
  /** Quality of jpeg and webp, 0–100; null for the best that is still reasonable. */
  compression: number | null;
};

/** A picture over another one: `reference` and `mask` are ours, of one size, and known to be pictures. */
export type Composition = { reference: Uint8Array; mask: Uint8Array };

/**
 * Picture work in child processes: libvips is C code fed by strangers, and decoding would starve the
 * event loop's thread pool. Processes start on demand and stop when idle.
 */
export type PictureProcesses = {
  /**
   * A stranger's picture made safe to keep and pass on: decoded whole, orientation baked in, EXIF, GPS
   * and XMP removed, colour profile kept, an animated GIF reduced to its first frame as PNG.
   * Bytes that need none of it come back unchanged. Throws `PictureError`.
   */
  clean(
    bytes: Uint8Array,
    limits: PictureLimits,
  ): Promise<{ bytes: Uint8Array; info: PictureInfo }>;
  /**
   * A stranger's mask made safe like any picture, and into what every vendor takes: a PNG with an alpha
   * channel and nothing else, below 4 MB wherever the alpha channel allows it. One without an alpha
   * channel is cleaned as a picture, for the mask rules to refuse. Throws `PictureError`.
   */
  cleanMask(
    bytes: Uint8Array,
    limits: PictureLimits,
  ): Promise<{ bytes: Uint8Array; info: PictureInfo }>;
  /** Facts for mask rules; a mask without an alpha channel has no transparent pixel. Throws `PictureError`. */
  inspectMask(
    bytes: Uint8Array,
    limits: PictureLimits,
  ): Promise<{ info: PictureInfo; transparentPixels: number }>;
  /**
   * A finished picture in other pixels or another format, its colour profile kept, its metadata lost.
   * What overhangs by little is cropped evenly; everything else is scaled to cover, then cropped.
   * Throws `PictureError`.
   */
  convert(bytes: Uint8Array, limits: PictureLimits, conversion: Conversion): Promise<Uint8Array>;
  /**
   * A finished picture, brought to the reference's pixels and laid over it through the mask: alpha 0
   * shows the picture, anything else keeps the reference's own pixels. A PNG.
   * Throws `PictureError` when the finished picture is at fault.
   */
  composite(
    bytes: Uint8Array,
    limits: PictureLimits,
    composition: Composition,
  ): Promise<Uint8Array>;
  /** Draws a sandbox picture at exactly the asked pixels and format. */
  draw(drawing: Drawing): Promise<Uint8Array>;
  close(): Promise<void>;
};

export type PictureLimits = {
  /** Formats accepted, by the bytes. */
  formats: readonly PictureInfo["format"][];
  pixelsMax: number;
  bytesMax: number;
};
