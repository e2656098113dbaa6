import { sql } from "kysely";

import type { Clock } from "../lib/time.ts";
import type { Database } from "./database.ts";

export type ClockOffset = {
  /** What `now()` is behind the database, in milliseconds; negative when it is ahead. */
  offsetMs: number;
  /** The truth lies within this of `offsetMs`, either way. */
  uncertaintyMs: number;
};

/**
 * How far this machine's clock is from the database's, which all nodes go by. On SQLite there is one
 * machine, and nothing to measure.
 */
export async function measureClockOffset(
  db: Pick<Database, "dialect" | "read">,
  clock: Pick<Clock, "now" | "monotonic">,
): Promise<ClockOffset> {
  if (db.dialect === "sqlite") return { offsetMs: 0, uncertaintyMs: 0 };
  const sentAt = clock.monotonic();
  const { rows } = await sql<{ now: number }>`
    select (extract(epoch from clock_timestamp()) * 1000)::bigint as now`.execute(db.read);
  const tripMs = clock.monotonic() - sentAt;
  const now = rows[0]?.now ?? clock.now();
  return { offsetMs: Math.round(now + tripMs / 2 - clock.now()), uncertaintyMs: tripMs / 2 + 1 };
}
