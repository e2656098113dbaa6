/** Pictures from one store into another, a few at a time, each streamed. */
import { AppError } from "../lib/errors.ts";
import type { Storage } from "../storage/storage.ts";

export type CopiedObjects = {
  /** Objects that were copied now, their bytes, and those that were there already. */
  copied: number;
  bytes: number;
  present: number;
  /** Named by a row and not stored any more: results and references that have expired. */
  absent: number;
};

export type CopyObjects = {
  names: AsyncGenerator<string, undefined>;
  from: Pick<Storage, "open">;
  to: Pick<Storage, "put" | "stat">;
  /** Called after each object with how many have been looked at. */
  onProgress(done: number): void;
};

const concurrencyMax = 8;

/** Throws `StorageError` when a store fails; may simply be run again. */
export async function copyObjects(copy: CopyObjects): Promise<CopiedObjects> {
  const result: CopiedObjects = { copied: 0, bytes: 0, present: 0, absent: 0 };
  let done = 0;
  async function work(): Promise<void> {
    for (;;) {
      const next = await copy.names.next();
      if (next.value === undefined) return;
      await copyOne(copy, next.value, result);
      done += 1;
      copy.onProgress(done);
    }
  }
  await Promise.all(Array.from({ length: concurrencyMax }, work));
  return result;
}

async function copyOne(
  { from, to }: CopyObjects,
  name: string,
  result: CopiedObjects,
): Promise<void> {
  const opened = await from.open(name);
  if (opened === null) {
    result.absent += 1;
    return;
  }
  try {
    const there = await to.stat(name);
    if (there?.bytes === opened.bytes) {
      result.present += 1;
      return;
    }
    const { bytes } = await to.put(name, opened.stream);
    if (bytes !== opened.bytes) {
      throw new AppError(
        "unavailable",
        `object ${name} ended after ${bytes} of ${opened.bytes} bytes`,
      );
    }
    result.copied += 1;
    result.bytes += bytes;
  } finally {
    opened.stream.destroy();
  }
}
