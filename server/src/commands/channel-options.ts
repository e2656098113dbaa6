/** The options of `channels add`, read into what is wanted of the channel. */
import { open } from "node:fs/promises";

import { parseRatio } from "../accounts/accounts.ts";
import type { NewChannel } from "../channels/add.ts";
import type { ChannelWish } from "../channels/check.ts";
import { isJsonObject } from "../lib/json.ts";
import type { JsonObject } from "../lib/json.ts";
import { secondMs } from "../lib/time.ts";
import { parseWhole, UsageError } from "./command.ts";
import type { CommandInput } from "./command.ts";

const keyBytesMax = 16_384;
const settingsBytesMax = 4 * 1_048_576;

/** Throws `UsageError` for what is not of its form. */
export async function readWish(input: CommandInput): Promise<NewChannel> {
  const map = <T>(name: string, parse: (text: string) => T): T | undefined => {
    const text = input.option(name);
    return text === null ? undefined : parse(text);
  };
  const settings = input.option("settings");
  return {
    name: input.word(0) ?? "",
    provider: input.required("provider"),
    secret: await readKey(input),
    isReplacing: input.flag("replace"),
    baseUrl: input.option("base-url") ?? undefined,
    models: map("models", parseModels),
    tiers: map("tiers", parseTiers),
    priority: map("priority", parsePriority),
    weight: map("weight", (text) => parseWhole("weight", text)),
    costRatioPpm: map("cost-ratio", (text) => parseRatio(text, "cost-ratio")),
    caps: map("caps", parseCaps),
    timeoutMs: map("timeout", (text) => parseWhole("timeout", text) * secondMs),
    unknownOutcome: map("unknown-outcome", parseUnknownOutcome),
    allow: map("allow", splitList),
    settings: settings === null ? undefined : await readSettings(settings),
  };
}

/** From the one place that is named; null when none is. A key on the command line would be in the shell's history. */
async function readKey(input: CommandInput): Promise<string | null> {
  const [variable, file] = [input.option("key-env"), input.option("key-file")];
  const isPiped = input.flag("key-stdin");
  const named = [variable !== null, file !== null, isPiped].filter(Boolean).length;
  if (named > 1) throw new UsageError("give only one of --key-env, --key-file and --key-stdin");
  if (isPiped) return input.readStandardInput(keyBytesMax);
  if (file !== null) return readText("key-file", file, keyBytesMax);
  if (variable === null) return null;
  const value = input.variable(variable);
  if (value !== null) return value;
  // Not repeated: somebody may have given the key itself.
  throw new UsageError("--key-env takes the name of an environment variable that is set");
}

async function readSettings(text: string): Promise<JsonObject> {
  const json = text.startsWith("@")
    ? await readText("settings", text.slice(1), settingsBytesMax)
    : text;
  const settings = parseJson(json);
  if (isJsonObject(settings)) return settings;
  throw new UsageError("--settings is not a JSON object; give one, or @FILE that holds one");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

async function readText(option: string, path: string, bytesMax: number): Promise<string> {
  try {
    const file = await open(path);
    try {
      // One byte more than is taken tells a long file without reading all of it.
      const buffer = Buffer.alloc(bytesMax + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(buffer, length, buffer.length - length);
        length += bytesRead;
        if (bytesRead === 0 || length === buffer.length) break;
      }
      if (length <= bytesMax) return buffer.toString("utf8", 0, length);
    } finally {
      await file.close();
    }
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new UsageError(`--${option} "${path}" cannot be read: ${reason}`);
  }
  throw new UsageError(`--${option} "${path}" is longer than ${bytesMax} bytes`);
}

function parseModels(text: string): NonNullable<ChannelWish["models"]> {
  return splitList(text).map((entry) => {
    const [model = "", upstreamModel, ...rest] = entry.split("=");
    if (model !== "" && upstreamModel !== "" && rest.length === 0) return { model, upstreamModel };
    throw new UsageError(`--models "${entry}" is neither MODEL nor MODEL=UPSTREAM`);
  });
}

function parseTiers(text: string): NonNullable<ChannelWish["tiers"]> {
  return splitList(text).map((tier) => {
    if (tier === "standard" || tier === "official") return tier;
    throw new UsageError(`--tiers "${tier}" is not a tier; use standard, official or both`);
  });
}

function parsePriority(text: string): number {
  if (/^-?\d{1,6}$/.test(text)) return Number(text);
  throw new UsageError(`--priority "${text}" is not a whole number`);
}

function parseCaps(text: string): Record<string, number> {
  const entries = splitList(text).map((entry): [string, number] => {
    const [, name, places] = /^([^=]+)=(\d{1,9})$/.exec(entry) ?? [];
    if (name !== undefined) return [name, Number(places)];
    throw new UsageError(`--caps "${entry}" is not *=PLACES or UPSTREAM=PLACES`);
  });
  const twice = entries.find(([name], index) => entries.findIndex(([one]) => one === name) < index);
  if (twice !== undefined) throw new UsageError(`--caps "${twice[0]}" stands there twice`);
  return Object.fromEntries(entries);
}

function parseUnknownOutcome(text: string): "fail" | "retry_once" {
  if (text === "fail" || text === "retry_once") return text;
  throw new UsageError(`--unknown-outcome "${text}" is not known; use fail or retry_once`);
}

function splitList(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}
