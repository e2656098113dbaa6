/** Unix milliseconds in the year 9999. */
const timeMax = 253_402_300_799_000;

const rfc3339 = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?)([Zz]|[+-]\d{2}:\d{2})$/;

/** Reads unix seconds, or RFC 3339 with its offset, as unix milliseconds; null for anything else. */
export function findTime(value: unknown): number | null {
  if (typeof value !== "string") return null;
  const ms = /^\d{1,12}$/.test(value) ? Number(value) * 1_000 : findDate(value);
  return ms !== null && ms >= 0 && ms <= timeMax ? ms : null;
}

function findDate(text: string): number | null {
  // In a query that was not encoded the plus of an offset arrives as a space.
  const [, date = "", time, offset] = rfc3339.exec(text.replace(/ (\d{2}:\d{2})$/, "+$1")) ?? [];
  const day = Date.parse(`${date}T00:00:00Z`);
  // 31 February is a day of March to the parser.
  if (Number.isNaN(day) || !new Date(day).toISOString().startsWith(date)) return null;
  const ms = Date.parse(`${date}T${time}${offset}`.toUpperCase());
  return Number.isNaN(ms) ? null : ms;
}
