/**
 * The forms that values of environment variables may have. Each is a schema from the text to the value,
 * whose one message completes the sentence "give …".
 */
import { isIP } from "node:net";

import * as z from "zod";

import { parseCidrs } from "./address.ts";
import { describeBaseUrl, findBaseUrl } from "./base-url.ts";
import type { BaseUrlForm } from "./base-url.ts";
import { logLevels } from "./log.ts";
import { hide } from "./secrets.ts";
import { dayMs, secondMs } from "./time.ts";

export type ResultTtl = {
  ttlMs: number;
  /** For models that differ. */
  ttlMsByModel: ReadonlyMap<string, number>;
};

const secondsMax = 3_650 * (dayMs / secondMs);
const cidrsMax = 256;

/** A text that `find` understands; `allowed` completes the sentence "give …". */
export function acceptText<Value>(allowed: string, find: (text: string) => Value | null) {
  return z.string().transform((text, context) => {
    const value = find(text);
    if (value !== null) return value;
    context.addIssue({ code: "custom", message: allowed });
    return z.NEVER;
  });
}

export function acceptWhole(min: number, max: number) {
  return acceptText(`a whole number from ${min} to ${max}`, (text) => findWhole(text, min, max));
}

export function acceptSeconds() {
  return acceptText(`whole seconds from 1 to ${secondsMax}`, findSecondsAsMs);
}

export function acceptHost() {
  const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
  const hostname = new RegExp(`^${label}(?:\\.${label})*$`, "i");
  return acceptText("an IP address or a host name, without port or brackets", (text) =>
    isIP(text) !== 0 || hostname.test(text) ? text : null,
  );
}

export function acceptPath() {
  return acceptText("a path", (text) => (text.includes("\0") ? null : text));
}

export function acceptPublicUrl() {
  return acceptText(
    "an http:// or https:// address with an optional path: no slash at its end, no user, query or fragment",
    (text) => {
      const url = /^https?:\/\/(?!\/)[^\s\\?#@]*[^\s\\?#@/]$/i.test(text) ? URL.parse(text) : null;
      return url === null ? null : `${url.origin}${url.pathname.replace(/\/$/, "")}`;
    },
  );
}

export function acceptDatabaseUrl() {
  return acceptText("a postgres:// URL, or leave it unset for SQLite", (text) =>
    /^postgres(?:ql)?:\/\//.test(text) && URL.canParse(text) ? hide(text) : null,
  );
}

export function acceptKey() {
  return acceptText("a key of visible ASCII characters, without spaces", (text) =>
    /^[\x21-\x7e]{1,4096}$/.test(text.trim()) ? hide(text.trim()) : null,
  );
}

export function acceptBaseUrl(form: BaseUrlForm) {
  return acceptText(describeBaseUrl(form), (text) => findBaseUrl(text, form));
}

export function acceptLogLevel() {
  return acceptText(
    `one of ${logLevels.join(", ")}`,
    (text) => logLevels.find((level) => level === text) ?? null,
  );
}

export function acceptResultTtl() {
  return acceptText(
    `seconds from 1 to ${secondsMax}, then model=seconds for models that differ, ` +
      "each once, separated by commas: 86400,flux-2-pro=3600",
    findResultTtl,
  );
}

function findResultTtl(text: string): ResultTtl | null {
  const [general = "", ...others] = text.split(",").map((entry) => entry.trim());
  const ttlMs = findSecondsAsMs(general);
  const ttlMsByModel = new Map<string, number>();
  for (const entry of others) {
    const [, model, seconds] = /^([a-z0-9][a-z0-9.-]*)=(\d+)$/.exec(entry) ?? [];
    if (model === undefined || seconds === undefined || ttlMsByModel.has(model)) return null;
    const ms = findSecondsAsMs(seconds);
    if (ms === null) return null;
    ttlMsByModel.set(model, ms);
  }
  return ttlMs === null ? null : { ttlMs, ttlMsByModel };
}

export function acceptCidrList() {
  return acceptText(
    `networks as address/bits, separated by commas, at most ${cidrsMax}: 10.1.0.0/16,fd00::/8`,
    (text) => {
      const entries = findCidrs(text);
      return entries !== null && entries.length <= cidrsMax ? entries : null;
    },
  );
}

function findCidrs(text: string): string[] | null {
  // A stray comma is a slip that is worth a word.
  if (text !== "" && text.split(",").some((entry) => entry.trim() === "")) return null;
  try {
    return parseCidrs(text);
  } catch {
    return null;
  }
}

function findWhole(text: string, min: number, max: number): number | null {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : null;
}

function findSecondsAsMs(text: string): number | null {
  const seconds = findWhole(text, 1, secondsMax);
  return seconds === null ? null : seconds * secondMs;
}
