/**
 * Moves the write-ahead log into the database file on a thread of its own: a checkpoint syncs two files, and
 * on the main thread that would stop every request for as long as the disk takes. `checkpoints.ts` is the
 * other half.
 */
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";

import { isStorageFailure } from "./errors.ts";

export type CheckpointRequest = "checkpoint" | "close";

/** `error` is the text of what went wrong, or null. */
export type CheckpointReply = { error: string | null; isStorageFailure: boolean };

function runWorker(path: string, port: NonNullable<typeof parentPort>): void {
  const database = new DatabaseSync(path, { timeout: 0 });
  // A passive checkpoint waits for nobody: what a reader or writer still needs stays in the log.
  const checkpoint = database.prepare("pragma wal_checkpoint(passive)");
  port.on("message", (request: CheckpointRequest) => {
    if (request === "close") {
      database.close();
      port.close();
      return;
    }
    const reply: CheckpointReply = { error: null, isStorageFailure: false };
    try {
      checkpoint.all();
    } catch (error) {
      reply.error = error instanceof Error ? error.message : String(error);
      reply.isStorageFailure = isStorageFailure(error);
    }
    port.postMessage(reply);
  });
}

// Only the thread that `checkpoints.ts` starts has a parent and the path of a database.
if (parentPort !== null) runWorker(String(workerData), parentPort);
