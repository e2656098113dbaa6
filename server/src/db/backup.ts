import { backup, DatabaseSync } from "node:sqlite";

import { AppError } from "../lib/errors.ts";

/** Copied in one step: between steps a busy server would make SQLite begin anew, and never let it end. */
const pagesAtOnce = 2_147_483_647;

/**
 * Copies the SQLite file at `path`, as it is at one moment, into a new file at `copyPath`; the server that
 * writes to it goes on. Throws `AppError` when the copy does not read back as a sound database.
 */
export async function backUpSqlite(path: string, copyPath: string): Promise<void> {
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5_000 });
  try {
    await backup(database, copyPath, { rate: pagesAtOnce });
  } finally {
    database.close();
  }
  const verdict = checkIntegrity(copyPath);
  if (verdict !== "ok") throw new AppError("unavailable", `the copy is damaged: ${verdict}`);
}

function checkIntegrity(path: string): string {
  const copy = new DatabaseSync(path);
  try {
    // The log that comes with the mode is no part of the backup; a server sets the mode again.
    copy.exec("pragma journal_mode = delete");
    return String(copy.prepare("pragma integrity_check(1)").get()?.["integrity_check"]);
  } finally {
    copy.close();
  }
}
