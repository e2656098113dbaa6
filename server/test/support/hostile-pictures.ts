/** Files that an upload or a reference may turn out to be and that must be refused, with the reason. */
import { deflateSync, gzipSync } from "node:zlib";

import type { PictureError } from "../../src/images/picture.ts";
import {
  createBasics,
  createPalettePng,
  createPicture,
  jpegFrame,
  png,
  pngBomb,
  pngChunk,
  pngHeader,
  pngSignature,
  webp,
  webpExtended,
} from "./picture-bytes.ts";

export type HostilePicture = { name: string; bytes: Buffer; problem: PictureError["problem"] };

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

function cutShort(name: string, bytes: Buffer): HostilePicture[] {
  const lengths = [0.2, 0.5, 0.9, 0.99].map((share) => Math.floor(bytes.length * share));
  return [...lengths, bytes.length - 1].map((length) => ({
    name: `${name} cut to ${length} of ${bytes.length} bytes`,
    bytes: bytes.subarray(0, length),
    problem: "broken",
  }));
}

function spoilChecksum(bytes: Buffer, type: string): Buffer {
  const start = bytes.indexOf(type) - 4;
  const checksum = start + 8 + bytes.readUInt32BE(start);
  bytes.writeUInt32BE((bytes.readUInt32BE(checksum) ^ 1) >>> 0, checksum);
  return bytes;
}
