/**
 * Several statements in one exchange with PostgreSQL: they are sent together and end with one Sync, so that
 * they take one round trip, and the server runs none that follows one that has failed. This speaks the
 * extended protocol through the library's seam for queries of other kinds (`Submittable`), which its cursors
 * are made with: it calls the `handle…` functions with the messages of the server.
 */
import type { ClientBase, Connection, Submittable } from "pg";

import { must } from "../lib/errors.ts";

export type Statement = {
  text: string;
  /** Text, or bytes in the type's binary form. */
  values: (string | Buffer | null)[];
  /** What the session keeps the prepared statement under; null when it is used once. */
  name: string | null;
};

export type Reply = {
  /** The first word of the statement, or what became of it: a COMMIT may be answered with ROLLBACK. */
  command: string;
  /** Rows that were returned or changed; null when the statement is not of that kind. */
  count: number | null;
  rows: Record<string, unknown>[];
};

type Parse = (text: string) => unknown;

type Column = { name: string; parse: Parse };

/**
 * The statements that a session keeps prepared, with the columns they return; null for one of which it is not
 * known whether the server has it.
 */
export type KeptStatements = Map<string, readonly Column[] | null>;

export type ExchangeOptions = {
  kept: KeptStatements;
  /** How the values of a type are read from their text. */
  parserOf(typeId: number): Parse;
};

/** The replies up to the first statement that failed, and its error; null when none has. */
export type Outcome = { replies: readonly Reply[]; error: Error | null };

/** Runs the statements in order, up to the first that fails. Never rejects. */
export function exchange(
  client: ClientBase,
  statements: readonly Statement[],
  options: ExchangeOptions,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const replies: Reply[] = [];
    const handlers = createHandlers(statements, replies, options);
    const callback = (error: Error | null): void => resolve({ replies, error });
    client.query({ ...handlers, callback } satisfies WithCallback);
  });
}

type Message = { fields: readonly { name: string; dataTypeID: number }[] };
type DataRow = { fields: readonly (string | null)[] };

/** The part of the library's own queries that its client uses. */
type Handlers = Submittable & {
  handleRowDescription(message: Message): void;
  handleDataRow(message: DataRow): void;
  handleCommandComplete(message: { text: string }): void;
  handleEmptyQuery(): void;
  handlePortalSuspended(): void;
  handleError(this: WithCallback, error: Error): void;
  handleReadyForQuery(this: WithCallback): void;
};

/** The client puts a callback of its own in place of this one, which ends its timer. */
type WithCallback = Handlers & { callback(error: Error | null): void };

function createHandlers(
  statements: readonly Statement[],
  replies: Reply[],
  { kept, parserOf }: ExchangeOptions,
): Handlers {
  let columns: readonly Column[] | null = null;
  let rows: Record<string, unknown>[] = [];
  let unreadable: Error | null = null;

  function current(): Statement {
    return must(statements[replies.length], "the statement that a reply is for");
  }

  function complete(command: string, count: number | null): void {
    const { name } = current();
    if (name !== null) kept.set(name, columns ?? kept.get(name) ?? []);
    replies.push({ command, count, rows });
    columns = null;
    rows = [];
  }

  return {
    submit: (connection) => {
      // One write to the socket for all of them.
      connection.stream.cork();
      try {
        for (const statement of statements) send(connection, statement, kept);
        connection.sync();
      } finally {
        connection.stream.uncork();
      }
    },
    handleRowDescription: ({ fields }) => {
      columns = fields.map(({ name, dataTypeID }) => ({ name, parse: parserOf(dataTypeID) }));
    },
    handleDataRow: ({ fields }) => {
      const { name } = current();
      columns ??= (name === null ? null : kept.get(name)) ?? [];
      try {
        rows.push(toRow(columns, fields));
      } catch (error) {
        // Thrown here, it would end the process.
        unreadable ??= error instanceof Error ? error : new Error("unreadable", { cause: error });
      }
    },
    handleCommandComplete: ({ text }) => {
      const words = text.split(" ");
      const count = words.length > 1 ? Number(words.at(-1)) : null;
      complete(words[0] ?? "", count);
    },
    handleEmptyQuery: () => complete("", null),
    handlePortalSuspended: () => undefined,
    handleError(error) {
      const failed = statements[replies.length]?.name ?? null;
      if (failed !== null) kept.set(failed, null);
      this.callback(error);
    },
    handleReadyForQuery() {
      this.callback(unreadable);
    },
  };
}

function send(
  connection: Connection,
  { text, values, name }: Statement,
  kept: KeptStatements,
): void {
  const known = name === null ? undefined : kept.get(name);
  const statement = name ?? "";
  if (known === undefined || known === null) {
    // Closing a statement that is not there is no error.
    if (known === null) connection.close({ type: "S", name: statement }, true);
    connection.parse({ name: statement, text, types: [] }, true);
    if (name !== null) kept.set(name, null);
  }
  connection.bind({ statement, values }, true);
  if (known === undefined || known === null) connection.describe({ type: "P" }, true);
  connection.execute(null, true);
}

function toRow(
  columns: readonly Column[],
  fields: readonly (string | null)[],
): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i];
    const text = fields[i] ?? null;
    if (column !== undefined) row[column.name] = text === null ? null : column.parse(text);
  }
  return row;
}
