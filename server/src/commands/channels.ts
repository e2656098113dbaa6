import {
  addChannel,
  disableChannel,
  enableChannel,
  listChannels,
  loadChannel,
} from "../channels/add.ts";
import { findRetired } from "../channels/check.ts";
import type { StoredChannel } from "../channels/settings.ts";
import type { Installation } from "../installation.ts";
import type { JsonObject } from "../lib/json.ts";
import { toUnixSeconds } from "../lib/time.ts";
import { examineChannel, findUnreachable } from "./channel-health.ts";
import { readWish } from "./channel-options.ts";
import { formatTable, formatTime } from "./command.ts";
import type { Command, CommandInput } from "./command.ts";

const string = { type: "string" } as const;
const boolean = { type: "boolean" } as const;

export const channelCommands: readonly Command[] = [
  {
    name: "channels add",
    usage:
      "NAME --provider P [--key-env VAR | --key-file F | --key-stdin] [--base-url URL] [--models a,b=UPSTREAM] " +
      "[--tiers standard,official] [--priority N] [--weight N] [--cost-ratio R] [--caps *=24,UPSTREAM=6] " +
      "[--timeout SECONDS] [--unknown-outcome fail|retry_once] [--allow CIDR,…] [--settings JSON|@FILE] [--replace]",
    summary:
      "Adds an account at an upstream, or makes one anew with --replace. Keys are read, never typed.",
    options: {
      provider: string,
      "key-env": string,
      "key-file": string,
      "key-stdin": boolean,
      "base-url": string,
      models: string,
      tiers: string,
      priority: string,
      weight: string,
      "cost-ratio": string,
      caps: string,
      timeout: string,
      "unknown-outcome": string,
      allow: string,
      settings: string,
      replace: boolean,
    },
    positionals: ["NAME"],
    run: add,
  },
  {
    name: "channels list",
    usage: "",
    summary: "Lists the channels, what state they are in, and what needs attention.",
    options: {},
    positionals: [],
    run: list,
  },
  {
    name: "channels test",
    usage: "NAME",
    summary:
      "Asks the upstream, at no cost, whether it is there and takes the key; exits with 1 when not.",
    options: {},
    positionals: ["NAME"],
    run: examine,
  },
  {
    name: "channels disable",
    usage: "NAME [--reason TEXT]",
    summary: "Sends no new work to a channel; what is under way there is finished.",
    options: { reason: string },
    positionals: ["NAME"],
    run: disable,
  },
  {
    name: "channels enable",
    usage: "NAME",
    summary: "Takes a disabled channel back into service.",
    options: {},
    positionals: ["NAME"],
    run: enable,
  },
];

/** Running servers look for changes this often, and once more before they refuse a task. */
const takenOver = "running servers take it over within seconds";

async function add(installation: Installation, input: CommandInput) {
  const { db, clock, vault, catalogue } = installation;
  const wish = await readWish(input);
  const channel = await addChannel({ db, clock, vault, models: catalogue.list() }, wish);
  const warnings = [
    ...findRetired(channel, clock.now()),
    ...(await findUnreachable(installation, channel)),
  ];
  const models = channel.models.map(({ model }) => model).join(", ");
  const state = channel.disabled === null ? takenOver : "it is still disabled; see channels enable";
  const text = [
    `channel ${channel.name} serves ${models} at ${channel.baseUrl}; ${state}`,
    ...warnings.map((warning) => `warning: ${warning}`),
    `next: channels test ${channel.name}`,
  ].join("\n");
  return { text, json: { ...presentChannel(channel), warnings } };
}

async function list({ db, clock }: Installation) {
  const channels = await listChannels(db.read);
  const now = clock.now();
  const warnings = channels.flatMap((channel) =>
    findRetired(channel, now).map((warning) => `${channel.name}: ${warning}`),
  );
  const rows = channels.map((channel) => [
    channel.name,
    channel.provider,
    stateOf(channel),
    channel.secretHint === null
      ? channel.secret === null
        ? "none"
        : "set"
      : `…${channel.secretHint}`,
    String(channel.models.length),
    channel.tiers.join(","),
    String(channel.priority),
    String(channel.weight),
    channel.source,
    channel.baseUrl,
  ]);
  const head = [
    "NAME",
    "PROVIDER",
    "STATE",
    "KEY",
    "MODELS",
    "TIERS",
    "PRIO",
    "WEIGHT",
    "SOURCE",
    "ADDRESS",
  ];
  const notes = channels.flatMap(describeTrouble);
  const text =
    channels.length === 0
      ? "no channels yet: only test keys make pictures; see channels add, or set OPENAI_API_KEY, GEMINI_API_KEY or BFL_API_KEY"
      : [formatTable(head, rows), ...notes, ...warnings.map((one) => `warning: ${one}`)].join("\n");
  return {
    text,
    json: {
      channels: channels.map((channel) => ({
        ...presentChannel(channel),
        warnings: findRetired(channel, now),
      })),
    },
  };
}

async function examine(installation: Installation, input: CommandInput) {
  const channel = await loadChannel(installation.db.read, input.word(0) ?? "");
  const { ok, detail, advice, warnings } = await examineChannel(installation, channel);
  const { name } = channel;
  const text = [
    `channel ${name} ${ok ? "works" : "does not work"}: ${detail}`,
    ...(advice === null ? [] : [`next: ${advice}`]),
    ...warnings.map((warning) => `warning: ${warning}`),
    ...(ok && channel.disabled !== null ? [`it is disabled: channels enable ${name}`] : []),
  ].join("\n");
  const json: JsonObject = { name, ok, detail, warnings, ...(advice === null ? {} : { advice }) };
  return { text, json, ok };
}

async function disable({ db, clock }: Installation, input: CommandInput) {
  const name = input.word(0) ?? "";
  const reason = input.option("reason")?.trim() || "disabled by the operator";
  const now = clock.now();
  await db.transaction((tx) => disableChannel(tx, name, { reason, now }));
  await db.durable();
  const channel = await loadChannel(db.read, name);
  return {
    text: `channel ${name} is disabled (${channel.disabled?.reason ?? reason}); ${takenOver}`,
    json: presentChannel(channel),
  };
}

async function enable({ db, clock }: Installation, input: CommandInput) {
  const name = input.word(0) ?? "";
  await db.transaction((tx) => enableChannel(tx, name, clock.now()));
  await db.durable();
  return {
    text: `channel ${name} is enabled; ${takenOver}\nnext: channels test ${name}`,
    json: presentChannel(await loadChannel(db.read, name)),
  };
}

function stateOf({ disabled, fault }: StoredChannel): string {
  if (disabled !== null) return "disabled";
  return fault === null ? "ready" : fault.kind;
}

function describeTrouble({ name, disabled, fault }: StoredChannel): string[] {
  const why = disabled === null ? [] : [`${name} is disabled: ${disabled.reason}`];
  if (fault === null) return why;
  const until = formatTime(fault.until);
  const next = `tried again with live work from ${until} on; channels test ${name} tells more and ends it`;
  return [...why, `${name} is refused (${fault.kind}): ${fault.reason}; ${next}`];
}

/** Everything but the key and what stands in the settings, which an operator may have put a secret into. */
function presentChannel(channel: StoredChannel): JsonObject {
  const { disabled, fault } = channel;
  return {
    name: channel.name,
    provider: channel.provider,
    source: channel.source,
    state: stateOf(channel),
    base_url: channel.baseUrl,
    key: channel.secret === null ? "none" : "set",
    ...(channel.secretHint === null ? {} : { key_hint: channel.secretHint }),
    models: channel.models.map(({ model, upstreamModel }) => ({
      model,
      upstream_model: upstreamModel,
    })),
    tiers: [...channel.tiers],
    priority: channel.priority,
    weight: channel.weight,
    cost_ratio: channel.costRatioPpm / 1_000_000,
    caps: { ...channel.caps },
    timeout_seconds: channel.timeoutMs / 1_000,
    unknown_outcome: channel.unknownOutcome,
    allow: [...channel.allow],
    settings: Object.keys(channel.settings),
    ...(disabled === null
      ? {}
      : { disabled: { at: toUnixSeconds(disabled.at), reason: disabled.reason } }),
    ...(fault === null
      ? {}
      : {
          fault: {
            kind: fault.kind,
            reason: fault.reason,
            at: toUnixSeconds(fault.at),
            until: toUnixSeconds(fault.until),
          },
        }),
    created: toUnixSeconds(channel.createdAt),
    updated: toUnixSeconds(channel.updatedAt),
  };
}
