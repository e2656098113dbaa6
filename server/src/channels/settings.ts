/** A channel as it is configured: the row of the database in the terms of the house, without its secret. */
import type { ChannelRow } from "../db/schema.ts";
import type { JsonObject } from "../lib/json.ts";
import type { Tier } from "../models/model.ts";
import type { FaultKind, UnknownOutcome } from "./channel.ts";

export type ServedModel = {
  /** Public id. */
  model: string;
  upstreamModel: string;
};

/** What an operator decides about a channel, its key apart. */
export type ChannelSettings = {
  provider: string;
  /** Without a slash at its end. */
  baseUrl: string;
  models: readonly ServedModel[];
  tiers: readonly Tier[];
  priority: number;
  weight: number;
  costRatioPpm: number;
  /** Places by upstream model, or `*` for the whole channel. */
  caps: Readonly<Record<string, number>>;
  timeoutMs: number;
  unknownOutcome: UnknownOutcome;
  /** CIDRs that this channel may reach although they are not public. */
  allow: readonly string[];
  /** What only the provider understands. */
  settings: JsonObject;
};

export type StoredChannel = ChannelSettings & {
  name: string;
  source: ChannelRow["source"];
  /** The sealed key, and the last four characters of it. */
  secret: string | null;
  secretHint: string | null;
  /** Times are unix milliseconds. */
  disabled: { at: number; reason: string } | null;
  fault: { kind: FaultKind; reason: string; at: number; until: number } | null;
  revision: number;
  createdAt: number;
  updatedAt: number;
};

export function toStoredChannel(row: ChannelRow): StoredChannel {
  return {
    name: row.name,
    source: row.source,
    provider: row.provider,
    baseUrl: row.base_url,
    secret: row.secret,
    secretHint: row.secret_hint,
    models: parseOwn(row.models_json),
    tiers: parseOwn(row.tiers_json),
    priority: row.priority,
    weight: row.weight,
    costRatioPpm: row.cost_ratio_ppm,
    caps: parseOwn(row.caps_json),
    timeoutMs: row.timeout_ms,
    unknownOutcome: row.unknown_outcome,
    allow: parseOwn(row.allow_json),
    settings: parseOwn(row.settings_json),
    disabled: disabledOf(row),
    fault: faultOf(row),
    revision: row.revision,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

export type SettingColumns = Pick<
  ChannelRow,
  | "provider"
  | "base_url"
  | "models_json"
  | "tiers_json"
  | "priority"
  | "weight"
  | "cost_ratio_ppm"
  | "caps_json"
  | "timeout_ms"
  | "unknown_outcome"
  | "allow_json"
  | "settings_json"
>;

export function toColumns(settings: ChannelSettings): SettingColumns {
  return {
    provider: settings.provider,
    base_url: settings.baseUrl,
    models_json: JSON.stringify(settings.models),
    tiers_json: JSON.stringify(settings.tiers),
    priority: settings.priority,
    weight: settings.weight,
    cost_ratio_ppm: settings.costRatioPpm,
    caps_json: JSON.stringify(settings.caps),
    timeout_ms: settings.timeoutMs,
    unknown_outcome: settings.unknownOutcome,
    allow_json: JSON.stringify(settings.allow),
    settings_json: JSON.stringify(settings.settings),
  };
}

/** JSON that `toColumns` wrote, checked before it was. */
function parseOwn<T>(text: string): T {
  return JSON.parse(text) as T;
}

function disabledOf(row: ChannelRow): StoredChannel["disabled"] {
  if (row.disabled_at === null) return null;
  return { at: row.disabled_at, reason: row.disabled_reason ?? "" };
}

function faultOf({ fault, ...row }: ChannelRow): StoredChannel["fault"] {
  if (fault === null) return null;
  return {
    kind: fault,
    reason: row.fault_reason ?? "",
    at: row.fault_at ?? 0,
    until: row.fault_until ?? 0,
  };
}
