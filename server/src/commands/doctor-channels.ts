/** What `doctor` looks at around the channels: their health, the places they count, and what was paid for nothing. */
import { sumWaste } from "../billing/costs.ts";
import { repairLoad } from "../channels/load.ts";
import { selectChannels } from "../channels/store.ts";
import type { Database } from "../db/database.ts";
import type { ChannelRow } from "../db/schema.ts";
import { formatUsd } from "../lib/money.ts";
import { dayMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import { listPlaces, listUnknownAttempts } from "../tasks/place-store.ts";
import { formatTime } from "./command.ts";

type Deps = { db: Database; clock: Clock };
type Outcome = readonly ["ok" | "warning", string];

const lookBackMs = 7 * dayMs;
const unknownMax = 1_000;
const listedMax = 5;

/** Faults that keep live work away, and channels that somebody has disabled. */
export async function checkChannels({ db, clock }: Deps): Promise<Outcome> {
  const rows = await selectChannels(db.read);
  if (rows.length === 0) return ["ok", "none: live keys have nobody to make pictures yet"];
  const enabled = rows.filter((row) => row.disabled_at === null);
  const faulty = enabled.filter((row) => row.fault !== null);
  const disabled = rows.length - enabled.length;
  const counts = `${enabled.length} enabled, ${disabled} disabled`;
  if (faulty.length === 0) return ["ok", `${counts}, none with a fault`];
  const told = faulty.slice(0, listedMax).map((row) => describeFault(row, clock.now()));
  return ["warning", `${counts}; ${told.join("; ")}`];
}

function describeFault(row: ChannelRow, now: number): string {
  const isOver = row.fault_until !== null && row.fault_until <= now;
  const next = isOver ? "the next task tries it" : `tried again at ${formatTime(row.fault_until)}`;
  return `${row.name} is ${row.fault} since ${formatTime(row.fault_at)} (${row.fault_reason}; ${next})`;
}

/** Recounts the places that attempts hold, and sets right what was wrong. */
export async function checkPlaces({ db }: Pick<Deps, "db">): Promise<Outcome> {
  const repairs = await db.transaction((tx) => repairLoad(tx, listPlaces));
  if (repairs.length === 0) return ["ok", "every place of a capped channel is held by an attempt"];
  const told = repairs
    .slice(0, listedMax)
    .map(({ channel, upstreamModel, was, is }) => `${channel}/${upstreamModel} ${was} -> ${is}`);
  return [
    "warning",
    `${repairs.length} counts were wrong and have been set right: ${told.join(", ")}`,
  ];
}

/** Attempts of the last days of which nobody knows how they ended, and what was paid for nothing. */
export async function checkWaste({ db, clock }: Deps): Promise<Outcome> {
  const since = clock.now() - lookBackMs;
  const unknown = await listUnknownAttempts(db.read, since, unknownMax);
  const waste = await sumWaste(db.read, since);
  const paid = `${formatUsd(waste.amount)} USD wasted on ${waste.attempts} attempts in 7 days`;
  if (unknown.length === 0) return ["ok", `${paid}; no attempt ended unknown`];
  const count = unknown.length < unknownMax ? `${unknown.length}` : `at least ${unknownMax}`;
  const told = unknown
    .slice(0, listedMax)
    .map(({ taskId, channel, endedAt }) => `${taskId} on ${channel} at ${formatTime(endedAt)}`);
  return ["warning", `${paid}; ${count} ended unknown, the latest: ${told.join(", ")}`];
}
