import type { Mode } from "../db/schema.ts";
import type { Micros } from "../lib/money.ts";
import type { IpList } from "./ip-list.ts";
import { isOnIpList } from "./ip-list.ts";

/** What all keys of an account's mode may do together. Null sets no limit. */
export type AccountLimits = {
  requestsPerMinute: number | null;
  tasksInFlight: number | null;
  /** Micro-USD with tasks of one UTC day. */
  spendPerDay: Micros | null;
};

/** Who makes a request: a valid key, its account and its limits. At most a second old. */
export type Caller = {
  accountId: string;
  accountName: string;
  keyId: string;
  keyName: string;
  mode: Mode;
  /** For display. Prices take the ratio of the moment from `loadRatios`. */
  ratioPpm: number;
  /** Most that the key may hold and capture together, ever; null without a cap. */
  cap: Micros | null;
  /** Public model ids; null allows every model. */
  models: readonly string[] | null;
  /** Null allows every address. */
  ips: IpList | null;
  requestsPerMinute: number | null;
  tasksInFlight: number | null;
  /** Micro-USD with tasks of one UTC day. */
  spendPerDay: Micros | null;
  /** Null when the account has no limit at all. */
  accountLimits: AccountLimits | null;
  /** Unix milliseconds. */
  expiresAt: number | null;
};

export function isAllowedModel(caller: Pick<Caller, "models">, model: string): boolean {
  return caller.models === null || caller.models.includes(model);
}

/** Whether the key may be used from this peer address; an address nobody can read is not allowed. */
export function isAllowedIp(caller: Pick<Caller, "ips">, ip: string): boolean {
  return caller.ips === null || isOnIpList(caller.ips, ip);
}
