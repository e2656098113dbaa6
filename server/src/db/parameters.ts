import { assert } from "../lib/errors.ts";

/**
 * Refuses what the two databases would store differently or lose: `undefined`, booleans, dates, bigints,
 * numbers that are not finite and integers a JavaScript number cannot hold.
 */
export function assertParameters(sql: string, parameters: readonly unknown[]): void {
  for (let i = 0; i < parameters.length; i++) {
    const value = parameters[i];
    if (typeof value === "string" || value === null) continue;
    if (typeof value === "number" && isStorable(value)) continue;
    assert(
      value instanceof Uint8Array,
      `parameter ${i + 1} is ${describe(value)}; SQL takes strings, finite numbers, null and bytes: ${sql}`,
    );
  }
}

function isStorable(value: number): boolean {
  return Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
}

/** The kind of a value, never the value itself, which may be a secret. */
function describe(value: unknown): string {
  if (typeof value === "number") return "a number out of range";
  if (value instanceof Date) return "a Date";
  if (value === undefined) return "undefined";
  return `a ${typeof value}`;
}
