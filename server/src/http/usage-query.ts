import { AppError } from "../lib/errors.ts";
import type { Reason } from "../lib/errors.ts";
import { dayMs, isTimeZone } from "../lib/time.ts";
import { findTime } from "./times.ts";

const groupings = ["none", "model", "date", "model,date"] as const;
const scopes = ["key", "account"] as const;

/** A usage report as it was asked for, with what was left out filled in. */
export type UsageQuestion = {
  /** Unix milliseconds: `start ≤ t < end`. */
  start: number;
  end: number;
  /** The two as they were given; null where they were not. */
  asked: { start: number | null; end: number | null };
  /** In lower case, sorted; null for all. */
  models: readonly string[] | null;
  groupBy: (typeof groupings)[number];
  timeZone: string;
  scope: (typeof scopes)[number];
};

const rangeMax = 31 * dayMs;
const modelsMax = 50;
const zoneLengthMax = 64;
const shownMax = 80;

/** Throws `AppError` with a reason of its own for each parameter, by which callers tell them apart. */
export function parseUsageQuery(
  query: unknown,
  { now, timeZone }: { now: number; timeZone: string },
): UsageQuestion {
  // Fastify's query is an object of texts, and of lists of texts where a name is given twice.
  const given = query as Readonly<Record<string, unknown>>;
  const asked = {
    start: parseTime("invalid_start", "start", given["start"]),
    end: parseTime("invalid_end", "end", given["end"]),
  };
  const end = asked.end ?? now;
  const start = asked.start ?? end - dayMs;
  checkRange(start, end);
  return {
    start,
    end,
    asked,
    models: parseModels(given["model"]),
    groupBy: parseWord("invalid_group_by", "group_by", given["group_by"] ?? "none", groupings),
    timeZone: parseZone(given["tz"] ?? timeZone),
    scope: parseWord("invalid_scope", "scope", given["scope"] ?? "key", scopes),
  };
}

function parseTime(reason: Reason, param: string, value: unknown): number | null {
  if (value === undefined || value === "") return null;
  const ms = findTime(value);
  if (ms !== null) return ms;
  const allowed = "use unix seconds, or RFC 3339 such as 2026-09-01T00:00:00Z";
  throw new AppError(reason, `${param} ${show(value)} is not a time; ${allowed}`, { param });
}

function checkRange(start: number, end: number): void {
  if (start >= end) {
    throw new AppError("invalid_range", "start is not before end; swap them, or leave one out", {
      param: "start",
    });
  }
  if (end - start > rangeMax) {
    throw new AppError("range_too_large", "start and end are more than 31 days apart", {
      param: "start",
    });
  }
}

function parseModels(value: unknown): string[] | null {
  if (value === undefined || value === "") return null;
  if (typeof value !== "string") {
    throw new AppError("invalid_parameter", "model is given twice; send one comma list", {
      param: "model",
    });
  }
  const models = value
    .split(",")
    .map((id) => id.trim().toLowerCase())
    .filter((id) => id !== "");
  if (models.length > modelsMax) {
    throw new AppError(
      "too_many_models",
      `model names ${models.length} models; name at most ${modelsMax}`,
      { param: "model" },
    );
  }
  return models.toSorted();
}

function parseZone(value: unknown): string {
  if (typeof value === "string" && value.length <= zoneLengthMax && isTimeZone(value)) return value;
  throw new AppError(
    "invalid_tz",
    `tz ${show(value)} is not a time zone; use a name such as UTC or Europe/Berlin`,
    { param: "tz" },
  );
}

function parseWord<Word extends string>(
  reason: Reason,
  param: string,
  value: unknown,
  words: readonly Word[],
): Word {
  const word = words.find((one) => one === value);
  if (word !== undefined) return word;
  throw new AppError(
    reason,
    `${param} ${show(value)} is not known; use one of ${words.join(", ")}`,
    { param },
  );
}

function show(value: unknown): string {
  return JSON.stringify(value).slice(0, shownMax);
}
