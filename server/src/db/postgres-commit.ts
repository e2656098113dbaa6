/**
 * What became of a COMMIT whose reply was lost. PostgreSQL remembers the fate of every transaction by its
 * id, so whoever knows the id can ask for it on another connection.
 */
import type { Pool } from "pg";

import { assert } from "../lib/errors.ts";
import { jitter } from "../lib/random.ts";
import type { Random } from "../lib/random.ts";
import { minuteMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import { isConnectionLost } from "./errors.ts";
import type { Statement } from "./postgres-exchange.ts";

/** A transaction as its first statement saw it. */
export type TransactionMark = {
  xid: string;
  /** Of the server process that runs it. */
  pid: number;
  /** Unix milliseconds of the server's clock, of a moment after the session began. */
  begunAt: number;
};

/** Asked in the round trip that begins a transaction. */
export const markStatement: Statement = {
  text: `select pg_current_xact_id()::text as xid, pg_backend_pid() as pid,
    ceil(extract(epoch from clock_timestamp()) * 1000)::bigint as begun_at`,
  values: [],
  name: "mark",
};

export function toMark(row: Record<string, unknown> | undefined): TransactionMark {
  const { xid, pid, begun_at: begunAt } = row ?? {};
  assert(
    typeof xid === "string" && typeof pid === "number" && typeof begunAt === "number",
    "a transaction has its mark",
  );
  return { xid, pid, begunAt };
}

/** The connection broke between COMMIT and its reply. */
export class CommitLost extends Error {
  readonly mark: TransactionMark;

  constructor(mark: TransactionMark, cause: unknown) {
    super("the connection was lost while a transaction was committed", { cause });
    this.name = "CommitLost";
    this.mark = mark;
  }
}

/** Nobody can say whether a transaction was committed. Never an `AppError`, which promises that it was not. */
export class CommitUnknown extends Error {
  constructor(cause: unknown) {
    super("it is not known whether a transaction was committed", { cause });
    this.name = "CommitUnknown";
  }
}

export type CommitDeps = { clock: Clock; random: Random };

/** As long as the database may be away before a caller is told that nobody knows. */
const patienceMs = minuteMs;
const firstPauseMs = 20;
const pauseMsMax = 1_000;

/** True when the transaction was committed. Throws `CommitUnknown` when the database does not come back. */
export async function findCommit(
  deps: CommitDeps,
  pool: Pool,
  { mark }: CommitLost,
): Promise<boolean> {
  const deadlineMs = deps.clock.monotonic() + patienceMs;
  let pauseMs = firstPauseMs;
  for (;;) {
    try {
      const fate = await askFate(pool, mark);
      if (fate !== null) return fate;
    } catch (error) {
      if (error instanceof CommitUnknown) throw error;
      if (isFutureId(error)) return false;
      if (!isConnectionLost(error) && !isPoolTimeout(error)) throw new CommitUnknown(error);
      if (deps.clock.monotonic() >= deadlineMs) throw new CommitUnknown(error);
    }
    if (deps.clock.monotonic() >= deadlineMs) throw new CommitUnknown(undefined);
    await deps.clock.sleep(jitter(deps.random, pauseMs, 0.5));
    pauseMs = Math.min(pauseMs * 2, pauseMsMax);
  }
}

type Fate = { status: string | null; crashed: number };

/** Null while the transaction is still under way. */
async function askFate(pool: Pool, mark: TransactionMark): Promise<boolean | null> {
  // A crash of the server resets its statistics, and may give the id of a lost transaction to another one.
  const { rows } = await pool.query<Fate>(
    `select pg_xact_status($1::text::xid8) as status,
      (select count(*) from pg_stat_bgwriter
        where stats_reset > to_timestamp($2::double precision / 1000)) as crashed`,
    [mark.xid, mark.begunAt],
  );
  const [fate] = rows;
  if (fate?.status === "aborted") return false;
  if (fate?.status === "committed") {
    if (fate.crashed > 0) throw new CommitUnknown("the database has crashed meanwhile");
    return true;
  }
  // The server has not noticed that its client is gone: COMMIT never reached it, or is being done now.
  await endBackend(pool, mark);
  return null;
}

/** After a restart of the server another session may have the number: it has begun later, or is somebody else's. */
async function endBackend(pool: Pool, { pid, begunAt }: TransactionMark): Promise<void> {
  await pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
      where pid = $1 and backend_start <= to_timestamp($2::double precision / 1000)
        and datname = current_database() and usename = current_user`,
    [pid, begunAt],
  );
}

/** An id that the server has not given out: it crashed before anything of the transaction was written. */
function isFutureId(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "22023";
}

function isPoolTimeout(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("timeout exceeded when trying");
}
