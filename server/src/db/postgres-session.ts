/**
 * A connection to PostgreSQL as Kysely uses it. What has no reader (`hints.ts`) goes together with the next
 * statement that has one, BEGIN with the first and the last ones with COMMIT: a transaction takes a round
 * trip for each result that its work looks at, and one more.
 */
import { AbortedTransactionError } from "kysely";
import type { CompiledQuery, DatabaseConnection, QueryResult } from "kysely";
import type { PoolClient } from "pg";

import { assert, AssertionError, must } from "../lib/errors.ts";
import {
  createBusyError,
  isConnectionLost,
  isDivisionByZero,
  isOverloaded,
  isReadOnly,
} from "./errors.ts";
import type { HintedQuery, Hints } from "./hints.ts";
import { CommitLost, markStatement, toMark } from "./postgres-commit.ts";
import type { TransactionMark } from "./postgres-commit.ts";
import { exchange } from "./postgres-exchange.ts";
import type { ExchangeOptions, KeptStatements, Reply, Statement } from "./postgres-exchange.ts";

export type SessionParts = Pick<ExchangeOptions, "parserOf"> & {
  /** Runs before a query is sent; left out for migrations, where Kysely's own queries hold booleans. */
  checkQuery?: (text: string, parameters: readonly unknown[]) => void;
  /** Learns the id of every transaction, to ask for it when the reply to its COMMIT is lost. */
  marksCommits?: boolean;
  /** Takes for granted what is as good as certain; a transaction that fails with `WrongGuess` must not. */
  guesses?: boolean;
};

/** What a text is kept prepared under; null for one that is not kept. */
export type NameStatement = (text: string, hints: Hints) => string | null;

export type Session = DatabaseConnection & {
  begin(): Promise<void>;
  commit(): Promise<void>;
  /** Rejects with `WrongGuess` alone; a session that could not do it is not used again. */
  rollback(): Promise<void>;
  release(): Promise<void>;
};

/** The connection of a transaction had died in the pool: another one may do. */
export class NotBegun extends Error {
  constructor(cause: unknown) {
    super("a transaction could not be begun", { cause });
    this.name = "NotBegun";
  }
}

/** What a transaction took for granted was not so: it must be run again without guesses. */
export class WrongGuess extends Error {
  constructor(cause: unknown) {
    super("a transaction took a change for granted that was not made", { cause });
    this.name = "WrongGuess";
  }
}

type SentStatement = Statement & Pick<Hints, "isGuess" | "isContended">;

type State = {
  readonly client: PoolClient;
  readonly parts: SessionParts;
  readonly nameOf: NameStatement;
  readonly kept: KeptStatements;
  unsent: SentStatement[];
  transaction: "none" | "unsent" | "open";
  mark: TransactionMark | null;
  isLost: boolean;
  /** It was to write and may not; one that is made later may be another server's, or be allowed to. */
  isDemoted: boolean;
};

const beginStatement: Statement = { text: "begin", values: [], name: "begin" };
// By its text in every exchange, so that whoever looks at the network sees where a transaction ends.
const commitStatement: Statement = { text: "commit", values: [], name: null };
const rollbackStatement: Statement = { text: "rollback", values: [], name: null };

/** `kept` is what the connection has prepared so far. */
export function createSession(
  client: PoolClient,
  parts: SessionParts,
  { nameOf, kept }: { nameOf: NameStatement; kept: KeptStatements },
): Session {
  const state: State = {
    client,
    parts,
    nameOf,
    kept,
    unsent: [],
    transaction: "none",
    mark: null,
    isLost: false,
    isDemoted: false,
  };
  return {
    executeQuery: async <Row>(query: CompiledQuery) =>
      // The row type is Kysely's claim about its own query; nothing can check it here.
      (await execute(state, query)) as QueryResult<Row>,
    streamQuery: () => {
      throw new AssertionError("queries are not streamed; ask for pages");
    },
    begin: () => {
      Object.assign(state, { transaction: "unsent", mark: null, unsent: [] });
      return Promise.resolve();
    },
    commit: () => commit(state),
    rollback: () => rollback(state),
    release: () => {
      client.release(state.isLost || state.isDemoted);
      return Promise.resolve();
    },
  };
}

async function execute(state: State, query: HintedQuery): Promise<QueryResult<unknown>> {
  const { parts, transaction } = state;
  parts.checkQuery?.(query.sql, query.parameters);
  const isGuess = query.isGuess === true && parts.guesses === true && transaction !== "none";
  const text = isGuess ? asGuess(query.sql) : query.sql;
  const values = query.parameters.map(toWire);
  const isContended = isGuess && query.isContended === true;
  const statement = { text, values, name: state.nameOf(text, query), isGuess, isContended };
  const isUnread = query.isUnread === true && transaction !== "none";
  if (isGuess || isUnread) {
    state.unsent.push(statement);
    return isGuess ? { numAffectedRows: 1n, rows: [] } : { rows: [] };
  }
  try {
    return toResult(await flush(state, statement));
  } catch (error) {
    throw toBusy(state, error);
  }
}

/** Fails when it changes nothing: then the server runs nothing that was sent after it. */
function asGuess(text: string): string {
  return `with changed as (${text} returning 1) select 1 / count(*) from changed`;
}

/** Sends what has gathered and `last`, after BEGIN when that has not been sent; the last reply. */
async function flush(state: State, last?: SentStatement): Promise<Reply> {
  const begins = state.transaction === "unsent";
  const marks = begins && state.parts.marksCommits === true;
  const beginning: SentStatement[] = [
    ...(begins ? [beginStatement] : []),
    ...(marks ? [markStatement] : []),
  ];
  const gathered = state.unsent.toSorted(byContention);
  const statements = [...beginning, ...gathered, ...(last === undefined ? [] : [last])];
  state.unsent = [];
  if (begins) state.transaction = "open";
  const { kept, parts } = state;
  const { replies, error } = await exchange(state.client, statements, {
    kept,
    parserOf: parts.parserOf,
  });
  if (error === null) {
    if (marks) state.mark = toMark(replies[1]?.rows[0]);
    return must(replies.at(-1), "a reply");
  }
  noteFailure(state, error);
  if (state.isLost && begins) throw new NotBegun(error);
  const isGuess = statements[replies.length]?.isGuess === true;
  throw isGuess && isDivisionByZero(error) ? new WrongGuess(error) : error;
}

/** What the session is worth after it. */
function noteFailure(state: State, error: unknown): void {
  state.isLost ||= isConnectionLost(error);
  // Only sessions that write mark their commits; for the others a write is our own mistake.
  state.isDemoted ||= state.parts.marksCommits === true && isReadOnly(error);
}

/** What others wait for goes behind the rest, which stays in order. */
function byContention(one: SentStatement, other: SentStatement): number {
  return Number(one.isContended ?? false) - Number(other.isContended ?? false);
}

async function commit(state: State): Promise<void> {
  if (state.transaction === "unsent" && state.unsent.length === 0) {
    state.transaction = "none";
    return;
  }
  try {
    // Without its mark nobody could ask what has become of a COMMIT.
    if (state.transaction === "unsent") await flush(state);
    const { command } = await flush(state, commitStatement);
    state.transaction = "none";
    if (command === "ROLLBACK") throw new AbortedTransactionError();
  } catch (error) {
    if (state.isLost && state.mark !== null) throw new CommitLost(state.mark, error);
    throw toBusy(state, error);
  }
}

async function rollback(state: State): Promise<void> {
  try {
    // What the work has thrown may come of a guess that nobody has looked at yet.
    if (!state.isLost && state.unsent.some(({ isGuess }) => isGuess)) await flush(state);
  } catch (error) {
    if (error instanceof WrongGuess) throw error;
  } finally {
    await endTransaction(state);
  }
}

async function endTransaction(state: State): Promise<void> {
  const isOpen = state.transaction === "open";
  Object.assign(state, { transaction: "none", unsent: [] });
  // The server rolls back what its session is lost with.
  if (!isOpen || state.isLost) return;
  await flush(state, rollbackStatement).catch(() => {
    state.isLost = true;
  });
}

function toBusy(state: State, error: unknown): unknown {
  if (error instanceof NotBegun || error instanceof WrongGuess) return error;
  const isAway = state.isLost || state.isDemoted || isOverloaded(error);
  return isAway ? createBusyError(error) : error;
}

function toWire(value: unknown): string | Buffer | null {
  if (typeof value === "string" || value === null || Buffer.isBuffer(value)) return value;
  if (value instanceof Uint8Array) return Buffer.from(value);
  // Numbers; Kysely's own queries have booleans too, which are written in the same way.
  assert(
    typeof value === "number" || typeof value === "boolean",
    "a value is of a kind that SQL has",
  );
  return String(value);
}

const countedCommands: readonly string[] = ["INSERT", "UPDATE", "DELETE", "MERGE"];

function toResult({ command, count, rows }: Reply): QueryResult<unknown> {
  if (count === null || !countedCommands.includes(command)) return { rows };
  return { numAffectedRows: BigInt(count), rows };
}
