import type { Readable } from "node:stream";

/** Where picture bytes live: a folder on disk, or an S3 bucket. Names come from `objectName`. */
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
  /**
   * Removes many objects with few requests. Resolves with the names that are still there and may be
   * tried again; throws `StorageError` when the store cannot be reached at all.
   */
  removeMany(names: readonly string[]): Promise<string[]>;
  /**
   * A page of the objects that are kept, each of them on one page: `after` is the `next` of the page before, and
   * null for the first. What else lies beside the objects is left out.
   */
  list(after: string | null): Promise<ObjectPage>;
  /**
   * Writes down that an installation keeps its objects here (`owner`: letters and digits), and gives all that do:
   * nobody may remove what it does not know of from a store that others use too.
   */
  claim(owner: string): Promise<string[]>;
  /**
   * A URL of the store itself from which anybody may GET the object for a short time. Left out by
   * stores, and for settings, that callers cannot reach: bytes then go through us.
   */
  presign?(name: string, options: PresignOptions): Promise<string>;
  /** Throws `StorageError` when the store cannot be written to; for readiness and `doctor`. */
  check(): Promise<void>;
  /**
   * Removes what writes cut short by a crash have left behind, and gives the number of files. For
   * the start of the process that owns the store: a write under way would lose its file.
   */
  sweepTemporaryFiles(): Promise<number>;
  /** Lets go of connections. Streams that are still open end with an error. */
  close(): Promise<void>;
};

export type PresignOptions = {
  expiresInSeconds: number;
  /** Headers that the reply to the GET carries. */
  contentType: string;
  contentDisposition: string;
  cacheControl: string;
};

export type ObjectPage = {
  /** `modifiedAt` in unix milliseconds, by the store's clock. */
  objects: readonly { name: string; modifiedAt: number }[];
  /** Null at the end. */
  next: string | null;
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
