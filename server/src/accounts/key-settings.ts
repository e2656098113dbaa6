import type { Mode } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import type { Micros } from "../lib/money.ts";
import type { AccountLimits } from "./caller.ts";
import { parseIpList } from "./ip-list.ts";

/** What a key may do. Null or absent sets no limit. */
export type KeySettings = {
  accountId: string;
  mode: Mode;
  name: string;
  /** Most that the key may hold and capture together, ever. */
  cap?: Micros | null;
  /** Public model ids; the caller checks that they exist. */
  models?: readonly string[] | null;
  /** Addresses and CIDR ranges. */
  ips?: readonly string[] | null;
  requestsPerMinute?: number | null;
  tasksInFlight?: number | null;
  /** Micro-USD that tasks submitted on one UTC day may cost. */
  spendPerDay?: Micros | null;
  /** Unix milliseconds, in the future. */
  expiresAt?: number | null;
};

const nameLengthMax = 100;
const modelsMax = 100;
const modelLengthMax = 200;
const countMax = 1_000_000;

/** Throws `AppError` with the name of the first setting that is out of range. */
export function checkKeySettings(settings: KeySettings, now: number): void {
  checkName(settings.name);
  checkCount("cap", settings.cap, 0, Number.MAX_SAFE_INTEGER);
  checkModels(settings.models);
  if (settings.ips !== null && settings.ips !== undefined) parseIpList(settings.ips);
  checkLimits(settings);
  checkCount("expires_at", settings.expiresAt, now + 1, Number.MAX_SAFE_INTEGER);
}

/** Throws `AppError` with the name of the first limit that is out of range. */
export function checkLimits(limits: Partial<AccountLimits>): void {
  checkCount("requests_per_minute", limits.requestsPerMinute, 1, countMax);
  checkCount("tasks_in_flight", limits.tasksInFlight, 1, countMax);
  checkCount("spend_per_day", limits.spendPerDay, 0, Number.MAX_SAFE_INTEGER);
}

function checkName(name: string): void {
  if (name.trim() === "" || name.length > nameLengthMax || /\p{Cc}|\p{Cs}/u.test(name)) {
    throw refuse(
      "name",
      `name is blank, too long or has control characters; use 1 to ${nameLengthMax} printable characters`,
    );
  }
}

function checkModels(models: readonly string[] | null | undefined): void {
  if (models === null || models === undefined) return;
  const isSound = models.every((model) => model !== "" && model.length <= modelLengthMax);
  if (models.length === 0 || models.length > modelsMax || !isSound) {
    throw refuse("models", `models must be 1 to ${modelsMax} model ids, or no list at all`);
  }
}

function checkCount(
  param: string,
  value: number | null | undefined,
  min: number,
  max: number,
): void {
  if (value === null || value === undefined) return;
  if (!Number.isSafeInteger(value) || value < min || value > max) {
    throw refuse(param, `${param} ${value} is not a whole number from ${min} to ${max}`);
  }
}

function refuse(param: string, message: string): AppError {
  return new AppError("invalid_parameter", message, { param });
}
