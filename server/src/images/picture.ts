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
  /** With a base, only the transparent area of `mask` is painted; the rest keeps the base's pixels. */
  base: { picture: Uint8Array; mask: Uint8Array } | null;
};

/**
 * Picture work in child processes: libvips is C code fed by strangers, and decoding would starve the
 * event loop's thread pool. Processes start on demand and stop when idle.
 */
export type PictureProcesses = {
  /** Decodes the whole picture to prove that it is one. Throws `PictureError`. */
  inspect(bytes: Uint8Array, limits: PictureLimits): Promise<PictureInfo>;
  /**
   * A stranger's picture made safe to keep and pass on: decoded whole, orientation baked in, EXIF, GPS
   * and XMP removed, colour profile kept, an animated GIF reduced to its first frame as PNG.
   * Bytes that need none of it come back unchanged. Throws `PictureError`.
   */
  clean(
    bytes: Uint8Array,
    limits: PictureLimits,
  ): Promise<{ bytes: Uint8Array; info: PictureInfo }>;
  /** Facts for mask rules; a mask without an alpha channel has no transparent pixel. Throws `PictureError`. */
  inspectMask(
    bytes: Uint8Array,
    limits: PictureLimits,
  ): Promise<{ info: PictureInfo; transparentPixels: number }>;
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
