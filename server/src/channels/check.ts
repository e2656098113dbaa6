/** Checks what somebody wants of a channel and fills in what its provider starts from. */
import { parseCidrs } from "../lib/address.ts";
import { describeBaseUrl, findBaseUrl } from "../lib/base-url.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { dayMs, secondMs } from "../lib/time.ts";
import type { Tier } from "../models/model.ts";
import { loadProvider, modelsOf } from "../providers/registry.ts";
import type { CatalogueRow, Provider } from "../providers/registry.ts";
import { findRetirement } from "../providers/retired.ts";
import { anyModel } from "./channel.ts";
import type { UnknownOutcome } from "./channel.ts";
import type { ChannelSettings, ServedModel } from "./settings.ts";

/** What is left out gets the provider's default. */
export type ChannelWish = {
  provider: string;
  baseUrl?: string | undefined;
  /** Public ids; without an upstream name, the catalogue's. */
  models?: readonly { model: string; upstreamModel?: string | undefined }[] | undefined;
  tiers?: readonly Tier[] | undefined;
  priority?: number | undefined;
  weight?: number | undefined;
  costRatioPpm?: number | undefined;
  caps?: Readonly<Record<string, number>> | undefined;
  timeoutMs?: number | undefined;
  unknownOutcome?: UnknownOutcome | undefined;
  allow?: readonly string[] | undefined;
  settings?: JsonObject | undefined;
};

const priorityMax = 1_000;
const weightMax = 10_000;
const costRatioPpmMax = 1_000_000_000;
const capMax = 100_000;
const cidrsMax = 64;
const settingsLengthMax = 4 * 1_048_576;
const secretLengthMax = 4_096;

/** Throws `AppError` (`invalid_parameter`) that names the field, what was wrong and what is allowed. */
export function checkChannel(
  wish: ChannelWish,
  catalogue: readonly CatalogueRow[],
): ChannelSettings {
  const provider = loadProvider(wish.provider);
  const models = checkModels(provider, wish, catalogue);
  return {
    provider: wish.provider,
    baseUrl: checkBaseUrl(provider, wish),
    models,
    tiers: checkTiers(wish.tiers ?? ["standard", "official"]),
    priority: checkWhole("priority", wish.priority ?? 0, { min: -priorityMax, max: priorityMax }),
    weight: checkWhole("weight", wish.weight ?? 1, { min: 0, max: weightMax }),
    costRatioPpm: checkWhole("cost ratio", wish.costRatioPpm ?? 1_000_000, {
      min: 0,
      max: costRatioPpmMax,
    }),
    caps: checkCaps(wish.caps ?? defaultCaps(provider, models), models),
    timeoutMs: checkTimeout(wish.timeoutMs ?? provider.timeoutMs),
    unknownOutcome: wish.unknownOutcome ?? "fail",
    allow: checkAllow(wish.allow ?? []),
    settings: checkSettings(provider, wish.settings ?? {}),
  };
}

/** `sandbox` is the name of the built-in channel. */
export function checkName(name: string): string {
  if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) {
    throw invalid(
      "name",
      `name "${name.slice(0, 80)}" cannot be used; use 1 to 63 of a-z, 0-9, dot, dash and underscore, a letter or digit first`,
    );
  }
  if (name === "sandbox") throw invalid("name", 'name "sandbox" is taken by the built-in channel');
  return name;
}

/** The key without what an editor or a shell leaves behind it. The message never repeats it. */
export function checkSecret(text: string): string {
  const secret = text.trim();
  if (/^[\x21-\x7e]+$/.test(secret) && secret.length <= secretLengthMax) return secret;
  throw invalid(
    "key",
    `the key cannot be used: it is empty, has spaces or other than ASCII characters, or is longer than ${secretLengthMax}`,
  );
}

/** Sentences about names that the vendor has ended, or will. `now`: unix milliseconds. */
export function findRetired(
  { provider, models }: Pick<ChannelSettings, "provider" | "models">,
  now: number,
): string[] {
  return models.flatMap(({ model, upstreamModel }) => {
    const retirement = findRetirement(provider, upstreamModel, now);
    return retirement === null ? [] : [`${model}: ${retirement}`];
  });
}

function checkBaseUrl(provider: Provider, { provider: name, baseUrl }: ChannelWish): string {
  const form = provider.baseUrlForm;
  const text = baseUrl ?? provider.baseUrl;
  if (text === null) {
    throw invalid("base_url", `base URL is missing; ${name} needs ${describeBaseUrl(form)}`);
  }
  const found = findBaseUrl(text, form);
  if (found !== null) return found;
  throw invalid("base_url", `base URL cannot be used for ${name}; give ${describeBaseUrl(form)}`);
}

function checkModels(
  provider: Provider,
  { provider: name, models }: ChannelWish,
  catalogue: readonly CatalogueRow[],
): ServedModel[] {
  const known = modelsOf(provider, catalogue);
  const usual = provider.families === null ? [] : known.map(({ id }) => ({ model: id }));
  const wanted: NonNullable<ChannelWish["models"]> = models ?? usual;
  const ids = known.map(({ id }) => id).join(", ");
  if (wanted.length === 0) {
    throw invalid("models", `models are missing; name at least one that ${name} serves: ${ids}`);
  }
  const served = new Map<string, ServedModel>();
  for (const { model, upstreamModel } of wanted) {
    const row = known.find(({ id }) => id === model);
    if (row === undefined) {
      throw invalid("models", `models: "${model}" cannot be served by ${name}; use ${ids}`);
    }
    if (served.has(model)) throw invalid("models", `models: "${model}" stands there twice`);
    const usualName = provider.families === null ? model : row.upstreamModel;
    served.set(model, { model, upstreamModel: checkUpstream(upstreamModel ?? usualName) });
  }
  return [...served.values()];
}

function checkUpstream(name: string): string {
  if (/^[\x21-\x7e]{1,200}$/.test(name)) return name;
  throw invalid("models", "models: an upstream name has 1 to 200 visible ASCII characters");
}

function checkTiers(tiers: readonly Tier[]): Tier[] {
  const unique = [...new Set(tiers)];
  if (unique.length > 0) return unique;
  throw invalid("tiers", "tiers are missing; use standard, official or both");
}

/** The provider's own, as far as the channel serves what they bound. */
function defaultCaps(provider: Provider, models: readonly ServedModel[]): Record<string, number> {
  const entries = Object.entries(provider.caps);
  return Object.fromEntries(entries.filter(([name]) => isCapName(name, models)));
}

function checkCaps(
  caps: Readonly<Record<string, number>>,
  models: readonly ServedModel[],
): Record<string, number> {
  for (const [name, places] of Object.entries(caps)) {
    if (!isCapName(name, models)) {
      const names = [...new Set(models.map(({ upstreamModel }) => upstreamModel))].join(", ");
      throw invalid("caps", `caps: "${name}" is not served; use ${anyModel} or ${names}`);
    }
    checkWhole(`cap of ${name}`, places, { min: 1, max: capMax });
  }
  return { ...caps };
}

function isCapName(name: string, models: readonly ServedModel[]): boolean {
  return name === anyModel || models.some(({ upstreamModel }) => upstreamModel === name);
}

function checkAllow(entries: readonly string[]): string[] {
  const text = entries.join(",");
  try {
    const cidrs = parseCidrs(text);
    if (cidrs.length <= cidrsMax) return cidrs;
  } catch (error) {
    throw invalid("allow", `allow: ${error instanceof Error ? error.message : String(error)}`);
  }
  throw invalid("allow", `allow: at most ${cidrsMax} networks`);
}

/** Operators write it in seconds. */
function checkTimeout(timeoutMs: number): number {
  if (Number.isSafeInteger(timeoutMs) && timeoutMs >= secondMs && timeoutMs <= dayMs) {
    return timeoutMs;
  }
  throw invalid(
    "timeout",
    `timeout of ${timeoutMs / secondMs} seconds cannot be used; give 1 to ${dayMs / secondMs} seconds`,
  );
}

function checkSettings(provider: Provider, settings: JsonObject): JsonObject {
  if (JSON.stringify(settings).length > settingsLengthMax) {
    throw invalid("settings", `settings are longer than ${settingsLengthMax} characters`);
  }
  provider.checkSettings(settings);
  return settings;
}

function checkWhole(
  name: string,
  value: number,
  { min, max }: { min: number; max: number },
): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw invalid(name, `${name} ${value} cannot be used; give a whole number from ${min} to ${max}`);
}

function invalid(param: string, message: string): AppError {
  return new AppError("invalid_parameter", message, { param });
}
