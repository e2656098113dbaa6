/**
 * Lists of values as PostgreSQL takes them in binary: one parameter for a column of many rows, which neither
 * side has to write out and parse as text. A list of rows is inserted by one text, whatever its length.
 */
import { assert } from "../lib/errors.ts";

/** The types that columns have here (`migrations/table.ts`). */
export type ArrayType = "text" | "bigint" | "double precision";

export type ArrayValue = string | number | null;

/** Numbers of the types in the server's catalogue, the same in all versions. */
const typeIds: Readonly<Record<ArrayType, number>> = {
  text: 25,
  bigint: 20,
  "double precision": 701,
};

const headerBytes = 20;
/** An element is its length and its bytes. */
const lengthBytes = 4;
const numberBytes = 8;
const nullLength = -1;
const twoTo32 = 0x1_0000_0000;

export function isArrayType(type: string): type is ArrayType {
  return Object.hasOwn(typeIds, type);
}

/** Throws an assertion for a value that is not of the type. */
export function encodeArray(type: ArrayType, values: readonly ArrayValue[]): Buffer {
  const buffer = Buffer.allocUnsafe(headerBytes + bytesOf(type, values));
  // One dimension, with nulls; the type, the length, and the index of the first element.
  let at = 0;
  for (const word of [1, 1, typeIds[type], values.length, 1]) at = buffer.writeInt32BE(word, at);
  for (const value of values) at = writeElement(buffer, at, type, value);
  return buffer;
}

function bytesOf(type: ArrayType, values: readonly ArrayValue[]): number {
  let bytes = values.length * lengthBytes;
  for (const value of values) {
    if (value === null) continue;
    assert((typeof value === "string") === (type === "text"), `a ${typeof value} is no ${type}`);
    bytes += typeof value === "string" ? Buffer.byteLength(value) : numberBytes;
  }
  return bytes;
}

/** Where the next element begins. */
function writeElement(buffer: Buffer, at: number, type: ArrayType, value: ArrayValue): number {
  if (value === null) return buffer.writeInt32BE(nullLength, at);
  if (typeof value === "string") {
    const bytes = buffer.write(value, at + lengthBytes);
    buffer.writeInt32BE(bytes, at);
    return at + lengthBytes + bytes;
  }
  buffer.writeInt32BE(numberBytes, at);
  if (type === "double precision") return buffer.writeDoubleBE(value, at + lengthBytes);
  assert(Number.isSafeInteger(value), "a bigint is a whole number that is exact");
  // Two halves: a BigInt for each number would be garbage.
  const high = Math.floor(value / twoTo32);
  buffer.writeInt32BE(high, at + lengthBytes);
  return buffer.writeUInt32BE(value - high * twoTo32, at + lengthBytes + 4);
}
