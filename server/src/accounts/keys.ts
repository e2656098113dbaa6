import { LRUCache } from "lru-cache";

import type { Database } from "../db/database.ts";
import type { ApiKeyRow, Mode } from "../db/schema.ts";
import { assert, must } from "../lib/errors.ts";
import type { Ids } from "../lib/ids.ts";
import type { Micros } from "../lib/money.ts";
import { whenThere } from "../lib/promised.ts";
import type { Promised } from "../lib/promised.ts";
import type { Random } from "../lib/random.ts";
import type { Clock } from "../lib/time.ts";
import type { AccountLimits, Caller } from "./caller.ts";
import { parseIpList } from "./ip-list.ts";
import type { KeySettings } from "./key-settings.ts";
import { checkKeySettings } from "./key-settings.ts";
import type { KeyAndAccountRow, KeyAndUsageRow, KeyRef } from "./store.ts";
import {
  findKeyByDigest,
  findKeyById,
  insertKey,
  revokeKeyRow,
  selectKeys,
  selectRatios,
} from "./store.ts";
import { createToken, digestToken, hintOf, isToken } from "./token.ts";
import type { VerifiedKeys } from "./verified-keys.ts";
import { createVerifiedKeys } from "./verified-keys.ts";

/** A key as its owner may see it: everything but the key itself. Times are unix milliseconds. */
export type Key = {
  accountId: string;
  id: string;
  mode: Mode;
  name: string;
  /** Last four characters of the key. */
  hint: string;
  cap: Micros | null;
  models: readonly string[] | null;
  ips: readonly string[] | null;
  requestsPerMinute: number | null;
  tasksInFlight: number | null;
  spendPerDay: Micros | null;
  expiresAt: number | null;
  revokedAt: number | null;
  createdAt: number;
  /** Micro-USD of tasks under way and of delivered pictures, and the number of tasks under way. */
  usage: { held: Micros; captured: Micros; inFlight: number };
};

export type NewKey = { key: Key; token: string };

export type KeysDeps = {
  db: Database;
  clock: Clock;
  random: Random;
  ids: Ids;
  /** Secret of the keyed digest, the same on all nodes; with another one every key is unknown. */
  pepper: Uint8Array;
};

export type Keys = {
  /**
   * Who holds this key; null when it is unknown, revoked or expired. Neither IPs nor limits are checked.
   * At once when the key was seen a moment ago.
   */
  verify(token: string): Promised<Caller | null>;
  /**
   * Makes a key for an account that exists. The token is in this reply and nowhere else; it works at once,
   * on every node. Throws `AppError` when a setting is out of range.
   */
  createKey(settings: KeySettings): Promise<NewKey>;
  /** Revoked keys too, in the order they were made; at most `limit`, which is at most 1,000. */
  listKeys(accountId: string, page?: { after?: string; limit?: number }): Promise<Key[]>;
  findKey(keyId: string): Promise<Key | null>;
  /**
   * The key stops working at once on this node and within a second on the others. False when it does not
   * exist or was revoked before.
   */
  revokeKey(key: KeyRef): Promise<boolean>;
};

const pageSizeMax = 1_000;
const digestsMax = 10_000;

export function createKeys(deps: KeysDeps): Keys {
  const verified = createVerifiedKeys(deps.clock);
  // A digest costs more than all the rest of a verification, and callers use one key for every poll.
  const digests = new LRUCache<string, string>({ max: digestsMax });
  return {
    verify: (token) => verify(deps, { verified, digests }, token),
    createKey: (settings) => createKey(deps, settings),
    listKeys: async (accountId, { after = "", limit = pageSizeMax } = {}) => {
      assert(limit >= 1 && limit <= pageSizeMax, "a page of keys has 1 to 1,000 rows");
      return (await selectKeys(deps.db.read, accountId, { after, limit })).map(toKey);
    },
    findKey: async (keyId) => {
      const row = await findKeyById(deps.db.read, keyId);
      return row === null ? null : toKey(row);
    },
    revokeKey: (key) => revokeKey(deps, verified, key),
  };
}

function verify(
  deps: KeysDeps,
  { verified, digests }: { verified: VerifiedKeys; digests: LRUCache<string, string> },
  token: string,
): Promised<Caller | null> {
  const known = digests.get(token);
  if (known === undefined && !isToken(token)) return null;
  const digest = known ?? digestToken(deps.pepper, token);
  if (known === undefined) digests.set(token, digest);
  const caller = verified.load(digest, async () => {
    const row = await findKeyByDigest(deps.db.read, digest);
    return row === null ? null : toCaller(row);
  });
  return whenThere(caller, (found) => (isExpired(deps.clock, found) ? null : found));
}

function isExpired(clock: Clock, caller: Caller | null): boolean {
  return caller !== null && caller.expiresAt !== null && caller.expiresAt <= clock.now();
}

async function createKey(deps: KeysDeps, settings: KeySettings): Promise<NewKey> {
  const now = deps.clock.now();
  checkKeySettings(settings, now);
  const token = createToken(deps.random, settings.mode);
  const row: ApiKeyRow = {
    account_id: settings.accountId,
    id: deps.ids("key"),
    mode: settings.mode,
    name: settings.name,
    digest: digestToken(deps.pepper, token),
    hint: hintOf(token),
    cap: settings.cap ?? null,
    models_json: toJsonOrNull(settings.models),
    ips_json: toJsonOrNull(settings.ips),
    requests_per_minute: settings.requestsPerMinute ?? null,
    tasks_in_flight: settings.tasksInFlight ?? null,
    expires_at: settings.expiresAt ?? null,
    revoked_at: null,
    created_at: now,
    spend_per_day: settings.spendPerDay ?? null,
  };
  await deps.db.transaction(async (tx) => {
    const [account] = await selectRatios(tx, [row.account_id]);
    assert(account !== undefined, "a key belongs to an account");
    await insertKey(tx, row);
  });
  await deps.db.durable();
  return { key: toKey({ ...row, held: 0, captured: 0, in_flight: 0 }), token };
}

async function revokeKey(deps: KeysDeps, verified: VerifiedKeys, key: KeyRef): Promise<boolean> {
  const now = deps.clock.now();
  const digest = await deps.db.transaction((tx) => revokeKeyRow(tx, key, now));
  if (digest === null) return false;
  verified.forget(digest);
  await deps.db.durable();
  return true;
}

function toCaller(row: KeyAndAccountRow): Caller {
  const ips = parseTexts(row.ips_json);
  return {
    accountId: row.account_id,
    accountName: row.account_name,
    keyId: row.id,
    keyName: row.name,
    mode: row.mode,
    ratioPpm: row.ratio_ppm,
    cap: row.cap,
    models: parseTexts(row.models_json),
    ips: ips === null ? null : parseIpList(ips),
    requestsPerMinute: row.requests_per_minute,
    tasksInFlight: row.tasks_in_flight,
    spendPerDay: row.spend_per_day,
    accountLimits: toAccountLimits(row),
    expiresAt: row.expires_at,
  };
}

function toAccountLimits(row: KeyAndAccountRow): AccountLimits | null {
  const limits = {
    requestsPerMinute: row.account_requests_per_minute,
    tasksInFlight: row.account_tasks_in_flight,
    spendPerDay: row.account_spend_per_day,
  };
  return Object.values(limits).every((limit) => limit === null) ? null : limits;
}

function toKey(row: KeyAndUsageRow): Key {
  return {
    accountId: row.account_id,
    id: row.id,
    mode: row.mode,
    name: row.name,
    hint: row.hint,
    cap: row.cap,
    models: parseTexts(row.models_json),
    ips: parseTexts(row.ips_json),
    requestsPerMinute: row.requests_per_minute,
    tasksInFlight: row.tasks_in_flight,
    spendPerDay: row.spend_per_day,
    expiresAt: row.expires_at,
    revokedAt: row.revoked_at,
    createdAt: row.created_at,
    usage: { held: row.held, captured: row.captured, inFlight: row.in_flight },
  };
}

function toJsonOrNull(texts: readonly string[] | null | undefined): string | null {
  return texts === null || texts === undefined ? null : JSON.stringify(texts);
}

function parseTexts(json: string | null): string[] | null {
  if (json === null) return null;
  const value: unknown = JSON.parse(json);
  const texts = must(Array.isArray(value) ? value : null, "the list of a key");
  return texts.map((text: unknown) => {
    assert(typeof text === "string", "a list of a key holds only text");
    return text;
  });
}
