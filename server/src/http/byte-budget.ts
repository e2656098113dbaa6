import { AppError } from "../lib/errors.ts";

/**
 * Bounds the bytes of all bodies in memory at once. A body that does not fit is refused before it is
 * read, because one that waited would hold its connection and, at the end, arrive all the same.
 */
export type ByteBudget = {
  /** Takes a share and returns the function that gives it back; null for next to nothing. Throws `overloaded`. */
  take(bytes: number): (() => void) | null;
};

/** Smaller bodies are bounded well enough by the number of connections. */
const smallBytes = 65_536;

/** A body larger than the whole budget passes when it is alone. */
export function createByteBudget(bytesMax: number): ByteBudget {
  let used = 0;
  return {
    take: (bytes) => {
      if (bytes <= smallBytes) return null;
      if (used > 0 && used + bytes > bytesMax) {
        throw new AppError(
          "overloaded",
          "the server is reading too many large requests at the moment; nothing was run, try again",
        );
      }
      used += bytes;
      let held = true;
      return () => {
        if (held) used -= bytes;
        held = false;
      };
    },
  };
}
