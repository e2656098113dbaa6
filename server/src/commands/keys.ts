import type { Key } from "../accounts/keys.ts";
import type { Installation } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { formatUsd, toUsd } from "../lib/money.ts";
import { toUnixSeconds } from "../lib/time.ts";
import {
  formatTable,
  formatTime,
  loadAccount,
  parseAmount,
  parseWhole,
  UsageError,
} from "./command.ts";
import type { Command, CommandInput } from "./command.ts";
import { parseExpiry } from "./expiry.ts";

const string = { type: "string" } as const;

export const keyCommands: readonly Command[] = [
  {
    name: "keys create",
    usage:
      "[--account NAME] --mode live|test --name N [--cap USD] [--models a,b] [--ips CIDR,…] [--rpm N] [--tasks-in-flight N] [--spend-per-day USD] [--expires DATE|TIME|SECONDS]",
    summary:
      "Makes an API key and shows it, this once. It may expire at 2027-01-31 (00:00 UTC), at 2027-01-31T09:00:00Z, or seconds from now.",
    options: {
      account: string,
      mode: string,
      name: string,
      cap: string,
      models: string,
      ips: string,
      rpm: string,
      "tasks-in-flight": string,
      "spend-per-day": string,
      expires: string,
    },
    positionals: [],
    run: createKey,
  },
  {
    name: "keys list",
    usage: "[--account NAME]",
    summary: "Lists an account's keys, with what each has spent.",
    options: { account: string },
    positionals: [],
    run: listKeys,
  },
  {
    name: "keys revoke",
    usage: "KEY_ID",
    summary: "Ends a key; running servers refuse it within a second.",
    options: {},
    positionals: ["KEY_ID"],
    run: revokeKey,
  },
];

async function createKey(installation: Installation, input: CommandInput) {
  const account = await loadAccount(installation, input.option("account") ?? "default");
  const { key, token } = await installation.keys.createKey({
    accountId: account.id,
    mode: parseMode(input.required("mode")),
    name: input.required("name"),
    cap: mapOption(input, "cap", (text) => parseAmount("cap", text)),
    models: mapOption(input, "models", (text) => parseModels(installation, text)),
    ips: mapOption(input, "ips", splitList),
    requestsPerMinute: mapOption(input, "rpm", (text) => parseWhole("rpm", text)),
    tasksInFlight: mapOption(input, "tasks-in-flight", (text) =>
      parseWhole("tasks-in-flight", text),
    ),
    spendPerDay: mapOption(input, "spend-per-day", (text) => parseAmount("spend-per-day", text)),
    expiresAt: mapOption(input, "expires", (text) => parseExpiry(text, installation.clock.now())),
  });
  const text = [
    `${key.mode} key "${key.name}" of account ${account.name} (${key.id}); it is shown only now:`,
    "",
    `  ${token}`,
  ].join("\n");
  return { text, json: { ...presentKey(key), account: account.name, key: token } };
}

async function listKeys(installation: Installation, input: CommandInput) {
  const account = await loadAccount(installation, input.option("account") ?? "default");
  const keys: Key[] = [];
  for (let after = ""; ;) {
    const page = await installation.keys.listKeys(account.id, { after });
    keys.push(...page);
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.id;
  }
  const rows = keys.map((key) => [
    key.id,
    key.mode,
    key.name,
    `…${key.hint}`,
    formatUsd(key.usage.captured),
    key.cap === null ? "-" : formatUsd(key.cap),
    stateOf(key, installation.clock.now()),
  ]);
  return {
    text: formatTable(["ID", "MODE", "NAME", "KEY", "SPENT USD", "CAP USD", "STATE"], rows),
    json: { account: account.name, keys: keys.map(presentKey) },
  };
}

async function revokeKey({ keys }: Installation, input: CommandInput) {
  const id = input.word(0) ?? "";
  const key = await keys.findKey(id);
  if (key === null) {
    throw new AppError("invalid_parameter", `key "${id}" does not exist; see "keys list"`);
  }
  const revoked = await keys.revokeKey({ accountId: key.accountId, keyId: key.id });
  return {
    text: revoked ? `key ${id} is revoked` : `key ${id} was revoked before`,
    json: { id, revoked: true },
  };
}

function stateOf(key: Key, now: number): string {
  if (key.revokedAt !== null) return `revoked ${formatTime(key.revokedAt)}`;
  if (key.expiresAt === null) return "active";
  return `${key.expiresAt <= now ? "expired" : "until"} ${formatTime(key.expiresAt)}`;
}

/** Wire names and units: USD, unix seconds; what sets no limit is absent. */
function presentKey(key: Key): JsonObject {
  return {
    id: key.id,
    name: key.name,
    mode: key.mode,
    hint: key.hint,
    ...(key.cap === null ? {} : { cap: toUsd(key.cap) }),
    ...(key.models === null ? {} : { models: [...key.models] }),
    ...(key.ips === null ? {} : { ips: [...key.ips] }),
    ...(key.requestsPerMinute === null ? {} : { requests_per_minute: key.requestsPerMinute }),
    ...(key.tasksInFlight === null ? {} : { tasks_in_flight: key.tasksInFlight }),
    ...(key.spendPerDay === null ? {} : { spend_per_day: toUsd(key.spendPerDay) }),
    ...(key.expiresAt === null ? {} : { expires_at: toUnixSeconds(key.expiresAt) }),
    ...(key.revokedAt === null ? {} : { revoked_at: toUnixSeconds(key.revokedAt) }),
    created: toUnixSeconds(key.createdAt),
    used: toUsd(key.usage.captured),
    held: toUsd(key.usage.held),
  };
}

function mapOption<T>(input: CommandInput, name: string, parse: (text: string) => T): T | null {
  const text = input.option(name);
  return text === null ? null : parse(text);
}

function parseMode(text: string): "live" | "test" {
  if (text === "live" || text === "test") return text;
  throw new UsageError(`--mode "${text}" is not a mode; use live or test`);
}

function parseModels({ catalogue }: Installation, text: string): string[] {
  return splitList(text).map((id) => catalogue.load(id).id);
}

function splitList(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}
