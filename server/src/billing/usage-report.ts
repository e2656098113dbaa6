/**
 * What an account's tasks delivered and cost over a time, from the ledger, which is kept for ever. A task
 * counts at its end; what was refunded or never charged has no entry, and so does not count.
 */
import type { Handle } from "../db/database.ts";
import { AppError } from "../lib/errors.ts";
import type { Micros } from "../lib/money.ts";
import { createSemaphore } from "../lib/semaphore.ts";
import type { Clock } from "../lib/time.ts";
import { minuteMs, secondMs } from "../lib/time.ts";
import { nextTurn } from "../lib/turn.ts";
import type { BookRef } from "./entries.ts";
import { loadCaptures } from "./usage-store.ts";
import type { CaptureRow } from "./usage-store.ts";

export type UsageRequest = BookRef & {
  /** One key alone, or null for all keys of the book. */
  keyId: string | null;
  /** Unix milliseconds: `start ≤ t < end`. */
  start: number;
  end: number;
  /** Public model ids in lower case; null for all. */
  models: ReadonlySet<string> | null;
  groupBy: { model: boolean; date: boolean };
  /** IANA name of the zone in which a date begins and ends. */
  timeZone: string;
};

export type UsageFigures = {
  amount: Micros;
  /** Tasks that delivered at least one picture. */
  requests: number;
  inputTokens: number;
  outputTokens: number;
};

export type UsageGroup = UsageFigures & { model?: string; date?: string };

/** Groups in order of date, then model; none when nothing was to be grouped. */
export type UsageReport = { total: UsageFigures; groups: readonly UsageGroup[] };

export type UsageReportsDeps = {
  read: Handle;
  clock: Clock;
  /** Entries read with one statement. */
  pageRows?: number;
};

/** Throws `usage_unavailable` when there is too much to add up, or too many ask at once. */
export type ReportUsage = (request: UsageRequest) => Promise<UsageReport>;

/** Some milliseconds' work, after which others have their turn. */
const pageRowsDefault = 1_000;
const reportMsMax = 20 * secondMs;
const reportsAtOnce = 2;
const waitingMax = 32;
/** Of entries that were made before captures said what they are for. */
const unknownModel = "unknown";

export function createUsageReports(deps: UsageReportsDeps): ReportUsage {
  const places = createSemaphore({
    limit: reportsAtOnce,
    waitingMax,
    full: () => unavailable("too many reports are asked for at once"),
  });
  return (request) => places.run(() => report(deps, request));
}

async function report(
  { read, clock, pageRows = pageRowsDefault }: UsageReportsDeps,
  request: UsageRequest,
): Promise<UsageReport> {
  const sums = createSums(request);
  const patientUntil = clock.monotonic() + reportMsMax;
  let range = { createdAt: request.start, id: "", end: request.end, limit: pageRows };
  for (;;) {
    const page = await loadCaptures(read, request, range);
    for (const row of page) sums.add(row);
    const last = page.at(-1);
    if (last === undefined || page.length < pageRows) return sums.report();
    if (clock.monotonic() > patientUntil) {
      throw unavailable("there is too much to add up; ask for a shorter time");
    }
    range = { ...range, createdAt: last.created_at, id: last.id };
    // SQLite answers without a pause of its own.
    await nextTurn();
  }
}

type Sums = { add(row: CaptureRow): void; report(): UsageReport };

function createSums(request: UsageRequest): Sums {
  const { keyId, models, groupBy } = request;
  const dateOf = createDates(request.timeZone);
  const total = { amount: 0, requests: 0, inputTokens: 0, outputTokens: 0 };
  const groups = new Map<string, UsageGroup>();
  let lastTask: string | null = null;
  function findGroup(row: CaptureRow, model: string): UsageGroup | null {
    if (!groupBy.model && !groupBy.date) return null;
    const names = {
      ...(groupBy.date ? { date: dateOf(row.created_at) } : {}),
      ...(groupBy.model ? { model } : {}),
    };
    const place = Object.values(names).join(" ");
    const group = groups.get(place) ?? {
      ...names,
      amount: 0,
      requests: 0,
      inputTokens: 0,
      outputTokens: 0,
    };
    groups.set(place, group);
    return group;
  }
  return {
    add: (row) => {
      const model = row.model ?? unknownModel;
      if (keyId !== null && row.key_id !== keyId) return;
      if (models !== null && !models.has(model.toLowerCase())) return;
      const isNewTask = row.task_id !== lastTask;
      lastTask = row.task_id;
      const group = findGroup(row, model);
      for (const figures of group === null ? [total] : [total, group]) {
        figures.amount -= row.held;
        figures.requests += isNewTask ? 1 : 0;
        figures.inputTokens += row.input_tokens ?? 0;
        figures.outputTokens += row.output_tokens ?? 0;
      }
    },
    report: () => ({
      total,
      groups: [...groups].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group),
    }),
  };
}

/** Every zone is a whole number of these away from UTC. */
const quarterMs = 15 * minuteMs;

function createDates(timeZone: string): (ms: number) => string {
  const format = new Intl.DateTimeFormat("en-CA", {
    timeZone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
  });
  const dates = new Map<number, string>();
  return (ms) => {
    const quarter = Math.floor(ms / quarterMs);
    const known = dates.get(quarter) ?? format.format(quarter * quarterMs);
    dates.set(quarter, known);
    return known;
  };
}

function unavailable(why: string): AppError {
  return new AppError("usage_unavailable", `${why}; this is not a report of nothing`, {
    retryAfterSeconds: 5,
  });
}
