import { dayMs, secondMs } from "../lib/time.ts";
import { formatTime, UsageError } from "./command.ts";

/** Ten years: a larger number is a time and no span, which would end decades from now. */
const secondsMax = (10 * 365 * dayMs) / secondMs;

const allowed =
  `use a number of seconds from now (1 to ${secondsMax}), a date such as 2027-01-31 (00:00 UTC), ` +
  "or a time with its zone such as 2027-01-31T09:00:00Z";

const datePattern = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)(.*))?$/i;
const zonePattern = /^(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)$/i;
/** Thirteen digits are a unix time in milliseconds, ten digits one in seconds. */
const unixDigits = { seconds: 12, milliseconds: 14 };

/**
 * The end of something, as an operator types it, in unix milliseconds: seconds from `now`, or a date of
 * the calendar. Strict, because a key that lives longer than was meant is noticed by nobody. Throws `UsageError`.
 */
export function parseExpiry(text: string, now: number): number {
  const refuse = (problem: string): UsageError =>
    new UsageError(`--expires ${JSON.stringify(text.slice(0, 80))} ${problem}; ${allowed}`);
  if (/^\d+$/.test(text)) return now + parseSeconds(text, refuse) * secondMs;
  const at = parseDate(text, refuse);
  if (at <= now) throw refuse("is in the past");
  return at;
}

type Refuse = (problem: string) => UsageError;

function parseSeconds(text: string, refuse: Refuse): number {
  const seconds = Number(text);
  const date = findCompactDate(text);
  if (date !== null) throw refuse(`could be seconds or a date; write ${date} for the date`);
  if (seconds >= 1 && seconds <= secondsMax) return seconds;
  if (seconds < 1) throw refuse("is in the past");
  const unixMs = findUnixTime(text);
  const hint = unixMs === null ? "" : `; for that unix time write ${formatTime(unixMs)}`;
  throw refuse(`is more than ten years in seconds${hint}`);
}

/** `20270131` as the date that whoever wrote it meant, and null for a number that is none. */
function findCompactDate(text: string): string | null {
  const [, year, month, day] = /^(20\d{2})(\d{2})(\d{2})$/.exec(text) ?? [];
  const date = `${year}-${month}-${day}`;
  return year !== undefined && isCalendarDay(date) ? date : null;
}

function findUnixTime(text: string): number | null {
  if (text.length <= unixDigits.seconds) return Number(text) * secondMs;
  return text.length <= unixDigits.milliseconds ? Number(text) : null;
}

function parseDate(text: string, refuse: Refuse): number {
  const [, day, time = "00:00", zone = "Z"] = datePattern.exec(text) ?? [];
  if (day === undefined) throw refuse("is neither a date nor a number of seconds");
  if (!isCalendarDay(day)) throw refuse("is not a day of the calendar");
  if (!zonePattern.test(zone))
    throw refuse("does not say its zone as Z or as an offset like +02:00");
  const ms = Date.parse(`${day}T${time}${zone}`.toUpperCase());
  if (Number.isNaN(ms)) throw refuse("is not a time of the day");
  return ms;
}

/** 31 February is a day of March to the parser. */
function isCalendarDay(day: string): boolean {
  const ms = Date.parse(`${day}T00:00:00Z`);
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(day);
}
