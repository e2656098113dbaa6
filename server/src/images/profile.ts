import { crc32, deflateSync } from "node:zlib";

/** Signature and IHDR chunk, which every PNG starts with; iCCP comes next (PNG 5.6). */
const headLength = 33;

/**
 * The same PNG with a colour profile in it. sharp embeds a profile only together with a conversion,
 * and a conversion would change pixels that must stay as they are.
 */
export function embedProfile(png: Uint8Array, profile: Uint8Array): Uint8Array {
  // Name, its terminator, and compression method 0.
  const data = Buffer.concat([Buffer.from("iCCP"), Buffer.from("icc\0\0"), deflateSync(profile)]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length - 4);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(data));
  return Buffer.concat([
    png.subarray(0, headLength),
    length,
    data,
    checksum,
    png.subarray(headLength),
  ]);
}
