import type { Readable } from "node:stream";

/** Where picture bytes live: a folder on disk, later an S3 bucket. Names come from `objectName`. */
export type Storage = {
  /**
   * Writes a whole object and resolves when it survives a power loss. Writing a name again replaces
   * the object atomically; a reader sees the old bytes or the new ones. Rejects with
   * `StorageError` when the write fails, and then nothing is left under the name.
   */
  put(name: string, bytes: Uint8Array | AsyncIterable<Uint8Array>): Promise<{ bytes: number }>;
  /**
   * Opens an object, or the bytes from `start` to `end` (both inclusive) of it; null when absent.
   * A range that does not lie inside the object is an assertion.
   */
  open(name: string, range?: ByteRange): Promise<OpenObject | null>;
  /** The whole object; null when absent. For pictures of bounded size only. */
  read(name: string): Promise<Buffer | null>;
  /** Size in bytes, or null when absent. */
  stat(name: string): Promise<{ bytes: number } | null>;
  /** Removes an object; removing one that is absent is not an error. */
  remove(name: string): Promise<void>;
  /** Throws `StorageError` when the store cannot be written to; for readiness and `doctor`. */
  check(): Promise<void>;
};

export type ByteRange = { start: number; end: number };

/**
 * `bytes` is what the stream will give: the size of the range, not of the object, when one was asked
 * for. The stream holds a file or a connection until it is read to its end or destroyed.
 */
export type OpenObject = { bytes: number; stream: Readable };

/** The store failed: disk full, I/O error, bucket unreachable. What it was doing has not happened. */
export class StorageError extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "StorageError";
  }
}
