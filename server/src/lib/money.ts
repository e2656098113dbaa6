/**
 * Money is an integer number of micro-USD (1 USD = 1,000,000), in a JavaScript safe integer:
 * up to nine thousand million USD. No float ever holds an amount inside the house; the API's
 * decimal numbers are made here, at the edge.
 */
import { assert } from "./errors.ts";

/** Micro-USD. */
export type Micros = number;

export const microsPerUsd = 1_000_000;
/** 1 USD = 10 credits, the unit of the fields named `…_credits` and `credits_cost`. */
const creditsPerUsd = 10;

/** The largest amount that `parseUsd` reads. */
export const parsedUsdMax: Micros = 999_999_999_999_999;

/** Parses an operator's decimal USD amount (`12.5`, at most six decimals) without passing through a float. */
export function parseUsd(text: string): Micros | null {
  const match = /^(-?)(\d{1,9})(?:\.(\d{1,6}))?$/.exec(text.trim());
  if (match === null) return null;
  const [, sign, whole = "0", fraction = ""] = match;
  const micros = Number(whole) * microsPerUsd + Number(fraction.padEnd(6, "0"));
  return sign === "-" ? -micros : micros;
}

/** Decimal text with up to six decimals and at least two: `0.0387`, `12.50`. For people and messages. */
export function formatUsd(micros: Micros): string {
  const sign = micros < 0 ? "-" : "";
  const whole = Math.trunc(Math.abs(micros) / microsPerUsd);
  const fraction = String(Math.abs(micros) % microsPerUsd).padStart(6, "0");
  return `${sign}${whole}.${fraction.replace(/0{1,4}$/, "")}`;
}

/** The JSON number of an amount in USD: exact to six decimals. */
export function toUsd(micros: Micros): number {
  return Number(formatUsd(micros));
}

/** The JSON number of an amount in credits (ten to the USD). */
export function toCredits(micros: Micros): number {
  return Number(formatUsd(micros * creditsPerUsd));
}

/** `units` × `numerator` ÷ `denominator`, half up, for non-negative integers of any size. */
export function scale(units: number, numerator: number, denominator: number): Micros {
  assertMicros(units);
  const product = BigInt(units) * BigInt(numerator);
  const rounded = (product * 2n + BigInt(denominator)) / (BigInt(denominator) * 2n);
  const result = Number(rounded);
  assertMicros(result);
  return result;
}

/** Guards the edge between code and ledger: a whole, non-negative, safe amount. */
export function assertMicros(micros: number): void {
  assert(Number.isSafeInteger(micros) && micros >= 0, "an amount is a whole number of micro-USD");
}
