/** How a refusal is named for a caller who repeats it with the same idempotency key. */
import { AppError } from "../lib/errors.ts";
import { StorageError } from "../storage/storage.ts";

/**
 * With a key, a 503 is told by the one word that clients trust to mean that nothing was run. For errors of which
 * that is certain; every other refusal, and one without a key, is given back as it is.
 */
export function nameForRetry(error: AppError, { isKeyed }: { isKeyed: boolean }): AppError {
  const isBusy = error.reason === "unavailable" || error.reason === "overloaded";
  if (!isKeyed || !isBusy) return error;
  const { message, retryAfterSeconds, detail, cause } = error;
  const wait = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return new AppError("idempotency_unavailable", message, { ...wait, detail, cause });
}

/** The same for whatever was thrown before anything was run. */
export function throwForRetry(error: unknown, use: { isKeyed: boolean }): never {
  if (error instanceof AppError) throw nameForRetry(error, use);
  if (error instanceof StorageError && use.isKeyed) throw nameForRetry(storageAway(error), use);
  throw error;
}

export function storageAway(cause: StorageError): AppError {
  return new AppError("unavailable", "the picture store does not work at the moment; try later", {
    cause,
  });
}
