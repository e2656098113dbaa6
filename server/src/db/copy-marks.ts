/**
 * How a copy of an installation into another database is marked, so that neither half of it is ever served: a
 * copy that is not finished, and a folder whose tasks now live elsewhere. Serving both would pay vendors twice.
 */
import { AppError } from "../lib/errors.ts";
import type { Handle } from "./database.ts";
import { findSetting } from "./settings.ts";

/** Setting with the fingerprint of the secret; while a copy is under way, with what `markUnfinished` makes of it. */
export const secretFingerprint = "secret_fingerprint";
/** Setting of a database that has been copied: the address of the new one, without a password. */
export const movedTo = "moved_to";

const unfinished = "unfinished copy of ";

export function markUnfinished(fingerprint: string): string {
  return `${unfinished}${fingerprint}`;
}

/** Throws `AppError` for a value of `secretFingerprint` that says that a copy is not finished. */
export function assertFinished(value: string): void {
  if (!value.startsWith(unfinished)) return;
  throw new AppError(
    "unavailable",
    'the database holds a copy that was not finished; run "migrate-to" again from the installation it comes from',
  );
}

/** Throws `AppError` when the installation has been copied to another database, which is to be served instead. */
export async function assertNotMoved(handle: Handle): Promise<void> {
  const address = await findSetting(handle, movedTo);
  if (address === null) return;
  throw new AppError(
    "unavailable",
    `this installation has moved to ${address}; set DARKROOM_DATABASE_URL to it, or restore the backup ` +
      "from before the move",
  );
}
