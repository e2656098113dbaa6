import { DatabaseSync } from "node:sqlite";

import { AppError } from "../lib/errors.ts";

/** Proof that this process alone serves a data folder; the operating system takes it back when the process dies. */
export type FolderLock = { release(): void };

/**
 * Locks a data folder for one server. Operator commands do not take this lock: they work beside it.
 * Throws `unavailable` when another server has it. Node has no `flock`, and SQLite has a sound one.
 */
export function lockFolder(path: string): FolderLock {
  const lock = new DatabaseSync(path);
  try {
    lock.exec("begin exclusive");
  } catch (error) {
    lock.close();
    throw new AppError(
      "unavailable",
      "another server is running on this data folder; stop it, or set DARKROOM_DATA to another folder",
      { cause: error },
    );
  }
  return { release: () => lock.close() };
}
