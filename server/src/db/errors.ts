/**
 * What a database error means, for both databases. Nothing outside `db/` compares codes or texts of
 * SQLite or PostgreSQL.
 */
import { getSystemErrorMessage } from "node:util";

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

/** True when PostgreSQL takes no writes: a standby, or a database or user that was set to read only. */
export function isReadOnly(error: unknown): boolean {
  return postgresCode(error) === "25006";
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

/** All that a caller is told of a database that did not do what was asked. */
const busyText = "the database is busy or away; try again in a second";

export function createBusyError(cause?: unknown): AppError {
  return new AppError("unavailable", busyText, { retryAfterSeconds, cause });
}

/**
 * Why the database did not do what was asked, in words for the operator, who must know what to mend. Null for
 * an error that says so itself, or is our own mistake.
 */
export function findOperatorText(error: unknown): string | null {
  const isBusyError = error instanceof AppError && error.message === busyText;
  const cause = findRoot(error);
  if (cause === null || (isBusyError ? cause === error : !isForbidden(cause))) return null;
  // What a database says has a severity, or a code of SQLite; without either nothing was heard of it.
  const isHeard = "severity" in cause || "errcode" in cause;
  return `the database cannot be ${isHeard ? "used" : "reached"}: ${describeCause(cause)}`;
}

/** What was wrong first; null for what is no error. */
function findRoot(error: unknown): Error | null {
  if (!(error instanceof Error)) return null;
  // A host name with several addresses fails at each of them.
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : error.cause;
  return findRoot(inner) ?? error;
}

/** The tables are there, and the user of the database may not touch them. */
function isForbidden(error: Error): boolean {
  return postgresCode(error) === "42501";
}

/** `connection refused (connect ECONNREFUSED 127.0.0.1:5432)`; what the server says is in words already. */
function describeCause(cause: Error): string {
  if (!("syscall" in cause && "errno" in cause && typeof cause.errno === "number")) {
    return cause.message;
  }
  return `${getSystemErrorMessage(cause.errno)} (${cause.message})`;
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
