/**
 * What a database error means, for both databases. Nothing outside `db/` compares codes or texts of
 * SQLite or PostgreSQL.
 */
import { AppError } from "../lib/errors.ts";

/** How long a caller waits for a busy database, and when it may ask again. */
export const busyMsMax = 5_000;
const retryAfterSeconds = 1;

const sqlite = {
  busy: 5,
  ioError: 10,
  corrupt: 11,
  full: 13,
  constraint: 19,
  notADatabase: 26,
  constraintCheck: 275,
  constraintPrimaryKey: 1555,
  constraintUnique: 2067,
} as const;

const storageFailures: readonly number[] = [
  sqlite.ioError,
  sqlite.corrupt,
  sqlite.full,
  sqlite.notADatabase,
];

/** The server ends a session (shutdown, idle too long in a transaction), or the network does. */
const lostCodes: ReadonlySet<string> = new Set([
  "57P01",
  "57P02",
  "57P03",
  "25P03",
  "25P04",
  "57P05",
  "ECONNRESET",
  "ECONNREFUSED",
  "ECONNABORTED",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOENT",
]);

/** A node that is frozen holds its locks until the server ends its session. */
const lockTimeout = "55P03";

/** What the client library says without a code. */
const lostTexts: readonly string[] = [
  "Connection terminated",
  "Query read timeout",
  "timeout expired",
  "Client has encountered a connection error",
  "Client was closed",
];

/** True when a row with the same primary key or unique column exists already. */
export function isUniqueViolation(error: unknown): boolean {
  const code = sqliteCode(error);
  return (
    code === sqlite.constraintUnique ||
    code === sqlite.constraintPrimaryKey ||
    postgresCode(error) === "23505"
  );
}

/** True when a CHECK constraint refused the row: the statement would have broken an invariant. */
export function isCheckViolation(error: unknown): boolean {
  return sqliteCode(error) === sqlite.constraintCheck || postgresCode(error) === "23514";
}

/** True when a statement waited longer than the lock timeout for a row, or a busy error says so; never on SQLite. */
export function isLockTimeout(error: unknown): boolean {
  const told = error instanceof AppError ? error.cause : error;
  return postgresCode(told) === lockTimeout;
}

/** True when the transaction lost a race (serialisation failure, deadlock) and may simply run again. */
export function isSerializationFailure(error: unknown): boolean {
  const code = postgresCode(error);
  return code === "40001" || code === "40P01";
}

/**
 * True when the connection to PostgreSQL broke, could not be made, or gave no answer in time: what was asked
 * last may or may not have been done. Never on SQLite.
 */
export function isConnectionLost(error: unknown): boolean {
  const code = postgresCode(error);
  if (code !== null) return lostCodes.has(code) || code.startsWith("08");
  return error instanceof Error && lostTexts.some((text) => error.message.startsWith(text));
}

/** True when PostgreSQL gave a statement up because of time, locks, memory, disk or connections: nothing was done. */
export function isOverloaded(error: unknown): boolean {
  const code = postgresCode(error);
  return code === "57014" || code === lockTimeout || code?.startsWith("53") === true;
}

/** True when a statement divided by zero, which only one does that was guessed at (`postgres-session.ts`). */
export function isDivisionByZero(error: unknown): boolean {
  return postgresCode(error) === "22012";
}

/** True when another process holds SQLite's lock. */
export function isBusy(error: unknown): boolean {
  return primaryCode(error) === sqlite.busy;
}

/** True for a constraint of SQLite that refused a statement. */
export function isConstraintViolation(error: unknown): boolean {
  return primaryCode(error) === sqlite.constraint;
}

/**
 * True when SQLite could not read or write its file. What the statement did is then unknown: a COMMIT
 * that reports an I/O error may still be found committed after the file is opened again.
 */
export function isStorageFailure(error: unknown): boolean {
  const code = primaryCode(error);
  return code !== null && storageFailures.includes(code);
}

export function createBusyError(cause?: unknown): AppError {
  return new AppError("unavailable", "the database is busy or away; try again in a second", {
    retryAfterSeconds,
    cause,
  });
}

/** The extended result code of an error of `node:sqlite`. */
function sqliteCode(error: unknown): number | null {
  if (!(error instanceof Error) || !("errcode" in error)) return null;
  return typeof error.errcode === "number" ? error.errcode : null;
}

function primaryCode(error: unknown): number | null {
  const code = sqliteCode(error);
  return code === null ? null : code & 0xff;
}

/** The SQLSTATE of an error of PostgreSQL. */
function postgresCode(error: unknown): string | null {
  if (!(error instanceof Error) || !("code" in error)) return null;
  return typeof error.code === "string" ? error.code : null;
}
