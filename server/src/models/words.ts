/**
 * The words of refusals. What the caller sent goes into a message only through `show`, which cuts it
 * and keeps picture bytes out.
 */
import { AppError } from "../lib/errors.ts";
import { isJsonObject } from "../lib/json.ts";
import type { JsonValue } from "../lib/json.ts";

const shownLengthMax = 80;

/** A value of the caller's for a message: quoted when it is text, at most about 80 characters. */
export function show(value: JsonValue): string {
  if (typeof value !== "string") {
    return typeof value === "object" ? nameType(value) : String(value);
  }
  // A control character or half a character is shown as its escape, so the message stays plain text.
  if (!isDataUri(value)) return JSON.stringify(cut(value));
  const comma = value.slice(0, shownLengthMax).indexOf(",");
  return JSON.stringify(`${value.slice(0, comma === -1 ? 40 : comma + 1)}…`);
}

/** True for any spelling of the scheme `data:`. */
export function isDataUri(text: string): boolean {
  return /^\s*data:/i.test(text.slice(0, shownLengthMax));
}

export function cut(text: string): string {
  return text.length <= shownLengthMax ? text : `${text.slice(0, shownLengthMax).toWellFormed()}…`;
}

export function nameType(value: JsonValue): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (isJsonObject(value)) return "an object";
  return `a ${typeof value}`;
}

export function formatCount(units: number): string {
  return units.toLocaleString("en-US");
}

/** 400 for a value that a model or the contract does not take; `message` starts with the field's name. */
export function invalid(param: string, message: string): AppError {
  return new AppError("invalid_parameter", message, { param });
}

/** 400 for a field whose effect a model cannot give, where ignoring it would give a wrong picture or bill. */
export function unsupported(param: string, message: string): AppError {
  return new AppError("unsupported_parameter", message, { param });
}

/** `null` and the empty text count as a field that is not there. */
export function isAbsent(value: JsonValue | undefined): value is null | "" | undefined {
  return value === undefined || value === null || value === "";
}
