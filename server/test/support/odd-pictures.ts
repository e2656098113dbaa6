/** Odd files that an upload or a reference may turn out to be and that must be accepted, with what they are. */
import { deflateSync } from "node:zlib";

import type { Sharp } from "sharp";

import type { PictureInfo } from "../../src/images/picture.ts";
import {
  createBasics,
  createDeepPng,
  createPalettePng,
  createPicture,
  orientationExif,
  pictureSize,
  png,
  pngBomb,
  pngChunk,
  pngEnd,
  withChunks,
  withSegment,
} from "./picture-bytes.ts";

export type OddPicture = {
  name: string;
  bytes: Buffer;
  info: Pick<PictureInfo, "format" | "width" | "height" | "hasAlpha">;
  /** True when cleaning has nothing to do. */
  isClean: boolean;
};

export const secretWords = "PK-secret-tail <script>alert(1)</script>";

const { width, height } = pictureSize;

export async function createOddPictures(): Promise<OddPicture[]> {
  const basics = await createBasics();
  const tail = Buffer.from(`PK\x03\x04${secretWords}`, "latin1");
  const odd = (
    name: string,
    bytes: Buffer,
    info: Partial<OddPicture["info"]> & Pick<OddPicture["info"], "format">,
    isClean = false,
  ): OddPicture => ({ name, bytes, isClean, info: { width, height, hasAlpha: false, ...info } });
  const turned = { width: height, height: width };
  const frame = { width: 20, height: 10 };
  const text = pngChunk("tEXt", Buffer.from(`Comment\0${secretWords}`));
  const deep = await createDeepPng();
  return [
    odd("plain JPEG", basics.jpeg, { format: "jpeg" }, true),
    odd("progressive JPEG", basics.progressive, { format: "jpeg" }, true),
    odd("plain PNG", basics.png, { format: "png" }, true),
    odd("interlaced PNG", basics.interlaced, { format: "png" }, true),
    odd("plain WebP", basics.webp, { format: "webp" }, true),
    odd("lossless WebP with alpha", basics.lossless, { format: "webp", hasAlpha: true }, true),
    odd("PNG with a ZIP behind it", Buffer.concat([basics.png, tail]), { format: "png" }),
    odd("JPEG with HTML behind it", Buffer.concat([basics.jpeg, tail]), { format: "jpeg" }),
    odd("WebP with a ZIP behind it", Buffer.concat([basics.webp, tail]), { format: "webp" }),
    odd("GIF with a script behind it", Buffer.concat([basics.gif, tail]), {
      format: "png",
      ...frame,
      hasAlpha: true,
    }),
    odd("JPEG with HTML in a comment", withSegment(basics.jpeg, 0xfe, tail), { format: "jpeg" }),
    odd("JPEG with an unknown segment", withSegment(basics.jpeg, 0xeb, tail), { format: "jpeg" }),
    odd("PNG with text", withChunks(basics.png, text), { format: "png" }),
    odd("PNG with a private chunk", withChunks(basics.png, pngChunk("prVt", tail)), {
      format: "png",
    }),
    odd("JPEG upright with GPS", await withOrientation(createPicture(), 1).jpeg().toBuffer(), {
      format: "jpeg",
    }),
    odd("JPEG turned with GPS", await withOrientation(createPicture(), 6).jpeg().toBuffer(), {
      format: "jpeg",
      ...turned,
    }),
    odd("JPEG mirrored with GPS", await withOrientation(createPicture(), 2).jpeg().toBuffer(), {
      format: "jpeg",
    }),
    odd("WebP turned with GPS", await withOrientation(createPicture(), 8).webp().toBuffer(), {
      format: "webp",
      ...turned,
    }),
    odd("WebP upright with GPS", await withOrientation(createPicture(), 1).webp().toBuffer(), {
      format: "webp",
    }),
    odd("PNG turned", withChunks(basics.png, pngChunk("eXIf", orientationExif(6))), {
      format: "png",
      ...turned,
    }),
    odd(
      "JPEG of four inks",
      await createPicture().toColourspace("cmyk").jpeg().toBuffer(),
      { format: "jpeg" },
      true,
    ),
    odd(
      "JPEG of four inks, turned",
      await withOrientation(createPicture().toColourspace("cmyk"), 6).jpeg().toBuffer(),
      { format: "jpeg", ...turned },
    ),
    odd(
      "JPEG in wide colours",
      await createPicture().withIccProfile("p3").jpeg().toBuffer(),
      { format: "jpeg" },
      true,
    ),
    odd("grey JPEG", await createPicture().greyscale().jpeg().toBuffer(), { format: "jpeg" }, true),
    odd("PNG of 16 bits", deep, { format: "png", hasAlpha: true }, true),
    odd("PNG of 16 bits, turned", withChunks(deep, pngChunk("eXIf", orientationExif(8))), {
      format: "png",
      ...turned,
      hasAlpha: true,
    }),
    odd(
      "PNG with a palette and transparency",
      createPalettePng(),
      { format: "png", width: 4, height: 1, hasAlpha: true },
      true,
    ),
    odd(
      "PNG of one bit and one pixel",
      png(
        { width: 1, height: 1, depth: 1, colour: 0 },
        pngChunk("IDAT", deflateSync(Buffer.alloc(2))),
      ),
      { format: "png", width: 1, height: 1 },
      true,
    ),
    odd(
      "grey PNG with alpha",
      png({ width: 1, height: 1, colour: 4 }, pngChunk("IDAT", deflateSync(Buffer.alloc(3)))),
      { format: "png", width: 1, height: 1, hasAlpha: true },
      true,
    ),
    odd("animated PNG", createAnimatedPng(basics.png), { format: "png" }),
    odd("animated GIF", basics.gif, { format: "png", ...frame, hasAlpha: true }),
    odd("animated WebP", basics.animatedWebp, { format: "webp", ...frame }),
    odd(
      "PNG of 7000x7000 black pixels",
      pngBomb(7_000),
      { format: "png", width: 7_000, height: 7_000 },
      true,
    ),
    odd(
      "PNG whose data inflates far beyond its rows",
      png({ width: 1, height: 1 }, pngChunk("IDAT", deflateSync(Buffer.alloc(64 * 2 ** 20)))),
      { format: "png", width: 1, height: 1 },
      true,
    ),
    odd(
      "PNG with a text that inflates to 64 MB",
      withChunks(
        basics.png,
        pngChunk(
          "zTXt",
          Buffer.concat([Buffer.from("bomb\0\0"), deflateSync(Buffer.alloc(64 * 2 ** 20))]),
        ),
      ),
      { format: "png" },
    ),
  ];
}

function withOrientation(picture: Sharp, orientation: number): Sharp {
  const gps = { GPSLatitudeRef: "N", GPSLatitude: "52/1 31/1 0/1", GPSLongitudeRef: "E" };
  return picture
    .withExif({ IFD0: { Software: secretWords }, IFD3: gps })
    .withMetadata({ orientation });
}

function createAnimatedPng(still: Buffer): Buffer {
  const control = Buffer.alloc(26);
  control.writeUInt32BE(width, 4);
  control.writeUInt32BE(height, 8);
  const data = Buffer.concat([Buffer.from([0, 0, 0, 1]), deflateSync(Buffer.from(secretWords))]);
  return Buffer.concat([
    withChunks(
      still.subarray(0, -12),
      pngChunk("acTL", Buffer.from("0000000200000000", "hex")),
      pngChunk("fcTL", control),
    ),
    pngChunk("fdAT", data),
    pngEnd,
  ]);
}
