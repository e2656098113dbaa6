/**
 * Pictures and parts of pictures, made byte by byte, so that no fixture hides what is wrong with one.
 */
import { crc32, deflateSync } from "node:zlib";

import sharp from "sharp";
import type { Sharp } from "sharp";

export const pngSignature = Buffer.from("89504e470d0a1a0a", "hex");

export const pictureSize = { width: 48, height: 32 };
const { width, height } = pictureSize;

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

export const pngEnd = pngChunk("IEND", Buffer.alloc(0));

export function png(header: Header, ...chunks: Buffer[]): Buffer {
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
export function withChunks(bytes: Buffer, ...chunks: Buffer[]): Buffer {
  return Buffer.concat([bytes.subarray(0, 33), ...chunks, bytes.subarray(33)]);
}

/** A segment behind the start marker of a JPEG. */
export function withSegment(bytes: Buffer, marker: number, data: Buffer): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(data.length + 2, 2);
  return Buffer.concat([bytes.subarray(0, 2), head, data, bytes.subarray(2)]);
}

export function jpegFrame(frameWidth: number, frameHeight: number): Buffer {
  const frame = Buffer.from(
    "ffd8ffc0001108000000000301220002110103110 1".replaceAll(" ", ""),
    "hex",
  );
  frame.writeUInt16BE(frameHeight, 7);
  frame.writeUInt16BE(frameWidth, 9);
  return frame;
}

export function webp(...chunks: [kind: string, data: Buffer][]): Buffer {
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

export function webpExtended(canvasWidth: number, canvasHeight: number, flags: number): Buffer {
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

function animation(): Sharp {
  const frames = Buffer.concat([200, 90, 10].map((grey) => Buffer.alloc(20 * 10 * 3, grey)));
  return sharp(frames, { raw: { width: 20, height: 30, channels: 3, pageHeight: 10 } });
}

export async function createBasics() {
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
