import { fdatasync, statSync } from "node:fs";
import { open } from "node:fs/promises";

/** Flushes a file's data to the disk; rejects when the disk reports a failure. */
export type SyncDescriptor = (descriptor: number) => Promise<void>;

/** SQLite's write-ahead log, opened a second time so that it can be synced off the event loop. */
export type WalFile = {
  /** Resolves when everything written to the log before the call is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
};

/**
 * Opens the write-ahead log of the open database at `path`. SQLite keeps one log file for as long as a
 * connection is open: a checkpoint starts it over or cuts it, and deletes it only with the last close.
 * What a checkpoint moves out of the log it has synced first, under `synchronous = normal` too, so a sync
 * of the log always covers what the database file does not. A log that was replaced under us is written
 * by SQLite where nobody will find it, so that `sync` fails.
 *
 * Closing this descriptor is safe: SQLite's POSIX locks are on the database and the `-shm` file.
 */
export async function openWalFile(
  path: string,
  syncDescriptor: SyncDescriptor = syncData,
): Promise<WalFile> {
  const walPath = `${path}-wal`;
  // Windows flushes only through a handle that may write.
  const file = await open(walPath, "r+");
  const { ino } = await file.stat();
  return {
    sync: async () => {
      if (statSync(walPath).ino !== ino) {
        throw new Error("the write-ahead log of the database was replaced by another file");
      }
      await syncDescriptor(file.fd);
    },
    close: () => file.close(),
  };
}

function syncData(descriptor: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(descriptor, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}
