/**
 * Files that an upload or a reference may turn out to be: those that must be refused, with the reason,
 * and odd ones that must be accepted, with what they are. Made here byte by byte, so that no fixture
 * hides what is wrong with it.
 */
import { crc32, deflateSync, gzipSync } from "node:zlib";
import sharp from "sharp";
import type { Sharp } from "sharp";
import type { PictureError, PictureInfo } from "../../src/images/picture.ts";

export type HostilePicture = { name: string; bytes: Buffer; problem: PictureError["problem"] };
export type OddPicture = {
  name: string;
  bytes: Buffer;
  info: Pick<PictureInfo, "format" | "width" | "height" | "hasAlpha">;
  /** True when cleaning has nothing to do. */
  isClean: boolean;
};

export const pngSignature = Buffer.from("89504e470d0a1a0a", "hex");
export const secretWords = "PK-secret-tail <script>alert(1)</script>";

const width = 48;
const height = 32;

/** A picture with detail, so that cutting it anywhere takes something away. */
export function createPicture(channels: 3 | 4 = 3): Sharp {
  const pixels = Buffer.alloc(width * height * channels);
  for (let index = 0; index < pixels.length; index++) pixels[index] = (index * 7919) % 251;
  return sharp(pixels, { raw: { width, height, channels } });
}

export function pngChunk(type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(12 + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, "latin1");
  data.copy(chunk, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}

type Header = { width: number; height: number; depth?: number; colour?: number };

export function pngHeader(header: Header): Buffer {
  const data = Buffer.alloc(13);
  data.writeUInt32BE(header.width, 0);
  data.writeUInt32BE(header.height, 4);
  data[8] = header.depth ?? 8;
  data[9] = header.colour ?? 2;
  return Buffer.concat([pngSignature, pngChunk("IHDR", data)]);
}

const pngEnd = pngChunk("IEND", Buffer.alloc(0));

function png(header: Header, ...chunks: Buffer[]): Buffer {
  return Buffer.concat([pngHeader(header), ...chunks, pngEnd]);
}

/** One bit a pixel, all black: a few kilobytes that would be a gigabyte as RGBA. */
export function pngBomb(side: number): Buffer {
  const rows = Buffer.alloc(side * (1 + Math.ceil(side / 8)));
  return png(
    { width: side, height: side, depth: 1, colour: 0 },
    pngChunk("IDAT", deflateSync(rows, { level: 9 })),
  );
}

/** Puts chunks behind the header of a PNG. */
function withChunks(bytes: Buffer, ...chunks: Buffer[]): Buffer {
  return Buffer.concat([bytes.subarray(0, 33), ...chunks, bytes.subarray(33)]);
}

/** A segment behind the start marker of a JPEG. */
function withSegment(bytes: Buffer, marker: number, data: Buffer): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(data.length + 2, 2);
  return Buffer.concat([bytes.subarray(0, 2), head, data, bytes.subarray(2)]);
}

function jpegFrame(frameWidth: number, frameHeight: number): Buffer {
  const frame = Buffer.from(
    "ffd8ffc0001108000000000301220002110103110 1".replaceAll(" ", ""),
    "hex",
  );
  frame.writeUInt16BE(frameHeight, 7);
  frame.writeUInt16BE(frameWidth, 9);
  return frame;
}

function webp(...chunks: [kind: string, data: Buffer][]): Buffer {
  const parts = chunks.map(([kind, data]) => {
    const head = Buffer.alloc(8);
    head.write(kind, 0, "latin1");
    head.writeUInt32LE(data.length, 4);
    return Buffer.concat([head, data, Buffer.alloc(data.length % 2)]);
  });
  const body = Buffer.concat([Buffer.from("WEBP"), ...parts]);
  const head = Buffer.from("RIFF\0\0\0\0", "latin1");
  head.writeUInt32LE(body.length, 4);
  return Buffer.concat([head, body]);
}

function webpExtended(canvasWidth: number, canvasHeight: number, flags: number): Buffer {
  const data = Buffer.alloc(10);
  data[0] = flags;
  data.writeUIntLE(canvasWidth - 1, 4, 3);
  data.writeUIntLE(canvasHeight - 1, 7, 3);
  return data;
}

/** A minimal TIFF block with the one tag that turns a picture. */
export function orientationExif(orientation: number): Buffer {
  const exif = Buffer.from(
    "49492a000800000001001201030001000000000000000000 0000".replaceAll(" ", ""),
    "hex",
  );
  exif.writeUInt16LE(orientation, 18);
  return exif;
}

function withOrientation(picture: Sharp, orientation: number): Sharp {
  const gps = { GPSLatitudeRef: "N", GPSLatitude: "52/1 31/1 0/1", GPSLongitudeRef: "E" };
  return picture
    .withExif({ IFD0: { Software: secretWords }, IFD3: gps })
    .withMetadata({ orientation });
}

function animation(): Sharp {
  const frames = Buffer.concat([200, 90, 10].map((grey) => Buffer.alloc(20 * 10 * 3, grey)));
  return sharp(frames, { raw: { width: 20, height: 30, channels: 3, pageHeight: 10 } });
}

function cutShort(name: string, bytes: Buffer): HostilePicture[] {
  const lengths = [0.2, 0.5, 0.9, 0.99].map((share) => Math.floor(bytes.length * share));
  return [...lengths, bytes.length - 1].map((length) => ({
    name: `${name} cut to ${length} of ${bytes.length} bytes`,
    bytes: bytes.subarray(0, length),
    problem: "broken",
  }));
}

async function createBasics() {
  return {
    jpeg: await createPicture().jpeg().toBuffer(),
    progressive: await createPicture().jpeg({ progressive: true }).toBuffer(),
    png: await createPicture().png().toBuffer(),
    interlaced: await createPicture().png({ progressive: true }).toBuffer(),
    webp: await createPicture().webp().toBuffer(),
    lossless: await createPicture(4).webp({ lossless: true }).toBuffer(),
    gif: await animation()
      .gif({ delay: [100, 100, 100] })
      .toBuffer(),
    animatedWebp: await animation()
      .webp({ delay: [100, 100, 100] })
      .toBuffer(),
  };
}

export async function createHostilePictures(): Promise<HostilePicture[]> {
  const basics = await createBasics();
  const refuse = (problem: PictureError["problem"], files: Record<string, Buffer>) =>
    Object.entries(files).map(([name, bytes]): HostilePicture => ({ name, bytes, problem }));
  return [
    ...refuse("unsupported", await createForeignFiles()),
    ...refuse("too_large", {
      "PNG of 16000x16000 pixels in a few kilobytes": pngBomb(16_000),
      "PNG header of 2147483647x2147483647 without data": png({
        width: 2 ** 31 - 1,
        height: 2 ** 31 - 1,
      }),
      "JPEG header of 65535x65535 without data": jpegFrame(65_535, 65_535),
      "WebP header of 16777216x16777216": webp(["VP8X", webpExtended(2 ** 24, 2 ** 24, 0)]),
      "GIF header of 65535x65535": Buffer.from("474946383961ffffffff000000003b000000", "hex"),
    }),
    ...Object.entries(basics).flatMap(([name, bytes]) => cutShort(name, bytes)),
    ...refuse("broken", createBrokenPngs(basics.png)),
    ...refuse("broken", createBrokenOthers(basics)),
  ];
}

async function createForeignFiles(): Promise<Record<string, Buffer>> {
  const svg =
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>';
  const entity = `<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>${svg}`;
  return {
    "no bytes at all": Buffer.alloc(0),
    "one byte": Buffer.from([0xff]),
    "fifteen bytes of a PNG": (await createPicture().png().toBuffer()).subarray(0, 15),
    SVG: Buffer.from(svg),
    "SVG with an external entity": Buffer.from(entity),
    "compressed SVG": gzipSync(svg),
    "little-endian TIFF": await createPicture().tiff().toBuffer(),
    "big-endian TIFF": Buffer.from("MM\0*\0\0\0\b\0\0\0\0\0\0\0\0\0\0\0\0", "latin1"),
    AVIF: await createPicture().avif({ effort: 0 }).toBuffer(),
    HEIC: Buffer.from("\0\0\0\x18ftypheic\0\0\0\0mif1heic", "latin1"),
    PDF: Buffer.from("%PDF-1.7\n1 0 obj <</Type/Catalog>> endobj trailer <</Root 1 0 R>>"),
    HTML: Buffer.from("<!doctype html><title>x</title><script>alert(1)</script>"),
    BMP: Buffer.from("BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0", "latin1"),
    ICO: Buffer.from("\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0", "latin1"),
    PSD: Buffer.from("8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x01\0\0\0\x01", "latin1"),
    "JPEG 2000": Buffer.from("\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ", "latin1"),
    "JPEG XL": Buffer.from("\xff\x0a\xfa\x7f\x01\x90\x08\x06\x01\0\0\0\0\0\0\0\0", "latin1"),
    ZIP: Buffer.from("PK\x03\x04\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "latin1"),
    WAVE: Buffer.from("RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0", "latin1"),
    "libvips's own format": Buffer.from(
      "\x08\xf2\xa6\xb6\0\0\0\x01\0\0\0\x01\0\0\0\x03\0\0\0\0",
      "latin1",
    ),
    "text of a data URI": Buffer.from("data:image/png;base64,iVBORw0KGgoAAAANSUhEUg"),
    program: Buffer.from("\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0", "latin1"),
  };
}

function createBrokenPngs(good: Buffer): Record<string, Buffer> {
  const one = { width: 1, height: 1 };
  const pixel = pngChunk("IDAT", deflateSync(Buffer.alloc(4)));
  const flipped = Buffer.from(good);
  flipped[good.length - 30] = (flipped[good.length - 30] ?? 0) ^ 0xff;
  const noise = Buffer.alloc(4_096, "noise that is no picture data \xff\x00\xd8");
  return {
    "SVG with the signature of a PNG": Buffer.concat([
      pngSignature,
      Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ]),
    "PNG signature and noise": Buffer.concat([pngSignature, noise]),
    "PNG with a flipped byte": flipped,
    "PNG whose transparency has a wrong checksum": spoilChecksum(createPalettePng(), "tRNS"),
    "PNG without data": png(one),
    "PNG whose data is not compressed": png(one, pngChunk("IDAT", Buffer.alloc(64, 7))),
    "PNG with too few rows": png({ width: 64, height: 64 }, pixel),
    "PNG with a palette and no palette": png({ ...one, colour: 3 }, pixel),
    "PNG of a colour type that does not exist": png({ ...one, colour: 5 }, pixel),
    "PNG of 3 bits": png({ ...one, depth: 3 }, pixel),
    "PNG of no width": png({ width: 0, height: 9 }, pixel),
    "PNG with a chunk longer than the file": Buffer.concat([
      pngHeader(one),
      Buffer.from("7fffffff49444154", "hex"),
    ]),
    "PNG of a hundred thousand empty chunks": png(
      one,
      pixel,
      ...Array.from({ length: 100_000 }, () => pngChunk("prIv", Buffer.alloc(0))),
    ),
  };
}

function createBrokenOthers(good: {
  jpeg: Buffer;
  webp: Buffer;
  gif: Buffer;
}): Record<string, Buffer> {
  const noise = Buffer.alloc(4_096, "noise that is no picture data \xff\x00\xd8");
  const scan = good.jpeg.indexOf(Buffer.from([0xff, 0xda]));
  const end = Buffer.from([0xff, 0xd9]);
  return {
    "JPEG marker and noise": Buffer.concat([Buffer.from("ffd8ffe0", "hex"), noise]),
    "SVG with the start of a JPEG": Buffer.concat([
      Buffer.from("ffd8ffe0", "hex"),
      Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ]),
    "JPEG without a scan": Buffer.concat([good.jpeg.subarray(0, scan), end]),
    "JPEG whose scan is empty": Buffer.concat([good.jpeg.subarray(0, scan + 14), end]),
    "JPEG header of 64x64 without data": Buffer.concat([jpegFrame(64, 64), end]),
    "JPEG whose scan holds zeros": Buffer.concat([
      good.jpeg.subarray(0, scan + 14),
      Buffer.alloc(4),
      end,
    ]),
    "JPEG with a segment longer than the file": Buffer.concat([
      jpegFrame(8, 8),
      Buffer.from("ffdbffff0000", "hex"),
    ]),
    "WebP header and noise": webp(["VP8 ", noise]),
    "WebP with a chunk longer than the file": Buffer.from(
      "524946461a000000574542505650384cffffff7f2f0700000000000000000000000000",
      "hex",
    ),
    "WebP without a picture": webp(["VP8X", webpExtended(8, 8, 0)]),
    "WebP whose frame is larger than its canvas": webp(
      ["VP8X", webpExtended(8, 8, 0)],
      ["VP8 ", good.webp.subarray(20)],
    ),
    "animated WebP without a frame": webp(
      ["VP8X", webpExtended(8, 8, 2)],
      ["ANIM", Buffer.alloc(6)],
    ),
    "GIF without a frame": Buffer.concat([
      Buffer.from("474946383961080008000000003b", "hex"),
      Buffer.alloc(4),
    ]),
    "GIF and noise": Buffer.concat([Buffer.from("GIF89a\x08\0\x08\0\0\0\0", "latin1"), noise]),
    "GIF of an impossible code size": Buffer.from(
      "4749463839610800080080000000000000ffffff2c0000000008000800000f028c2d003b",
      "hex",
    ),
  };
}

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

function spoilChecksum(bytes: Buffer, type: string): Buffer {
  const start = bytes.indexOf(type) - 4;
  const checksum = start + 8 + bytes.readUInt32BE(start);
  bytes.writeUInt32BE((bytes.readUInt32BE(checksum) ^ 1) >>> 0, checksum);
  return bytes;
}

export async function createDeepPng(): Promise<Buffer> {
  const pixels = Uint16Array.from({ length: width * height * 4 }, (_, index) =>
    index % 4 === 3 ? 65_535 : (index * 257) % 65_536,
  );
  return sharp(pixels, { raw: { width, height, channels: 4 } })
    .toColourspace("rgb16")
    .png()
    .toBuffer();
}

/** Four pixels of three colours; the first two are transparent, the third is half so. */
export function createPalettePng(): Buffer {
  return png(
    { width: 4, height: 1, colour: 3 },
    pngChunk("PLTE", Buffer.from("ff000000ff000000ff", "hex")),
    pngChunk("tRNS", Buffer.from("0080", "hex")),
    pngChunk("IDAT", deflateSync(Buffer.from([0, 0, 0, 1, 2]))),
  );
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
