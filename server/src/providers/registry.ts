/**
 * The upstream protocols by name: what a channel of each needs, and the defaults it starts from. A new
 * provider is one file beside this one and one entry here.
 */
import * as z from "zod";

import type { BaseUrlForm } from "../lib/base-url.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { minuteMs } from "../lib/time.ts";
import type { Model } from "../models/row.ts";
import type { Adapter, Job } from "./adapter.ts";
import { createBfl } from "./bfl.ts";
import { parseWorkflows } from "./comfyui-graph.ts";
import { createComfyui } from "./comfyui.ts";
import { createGeminiInteractions } from "./gemini-interactions.ts";
import { createGemini } from "./gemini.ts";
import { compatibleProfiles } from "./openai-compatible-profiles.ts";
import type { Quirks } from "./openai-compatible-profiles.ts";
import { createOpenAiCompatible } from "./openai-compatible.ts";
import { createOpenAi } from "./openai.ts";
import type { Send } from "./request.ts";

/** What the registry reads of a catalogue row. */
export type CatalogueRow = Pick<Model, "id" | "provider" | "upstreamModel">;

/** An account at an upstream, as a channel's row tells of it. */
export type UpstreamAccount = {
  /** Without a slash at its end. */
  baseUrl: string;
  /** Null for servers that ask for no key. */
  secret: string | null;
  /** What only this provider understands; as `checkSettings` took them. */
  settings: JsonObject;
};

export type AdapterDeps = { send: Send; models: readonly CatalogueRow[] };

export type Provider = {
  /** Null where every installation has its own. */
  readonly baseUrl: string | null;
  readonly baseUrlForm: BaseUrlForm;
  readonly needsSecret: boolean;
  /** Whose models of the catalogue it serves, by default all of them; null: any model, and none by default. */
  readonly families: readonly CatalogueRow["provider"][] | null;
  /** Default places, by upstream model or `*`. */
  readonly caps: Readonly<Record<string, number>>;
  /** Default time limit of an attempt. */
  readonly timeoutMs: number;
  /** Throws `AppError` (`invalid_parameter`, param `settings`) that names what cannot be used. */
  checkSettings(settings: JsonObject): void;
  /** Throws like `checkSettings`. */
  create(account: UpstreamAccount, deps: AdapterDeps): Adapter;
};

const openAiSettings = z.strictObject({
  organization: z.string().min(1).max(200).exactOptional(),
  project: z.string().min(1).max(200).exactOptional(),
});

const names = z.array(z.string().min(1).max(200)).max(64);

const geminiSettings = z.strictObject({
  /** Lets the vendor keep the work of its Interactions API under an id, so that a crash loses nothing. */
  background: z.boolean().default(false),
  apiVersion: z
    .string()
    .regex(/^v\d+(?:beta\d*|alpha)?$/)
    .exactOptional(),
  modelsWithoutImageSize: names.exactOptional(),
  modelsWithoutHalfK: names.exactOptional(),
  modelsWithoutSearch: names.exactOptional(),
});

const path = z.string().regex(/^\/[\w./-]*$/);
const fieldName = z.string().min(1).max(100);

const quirks = z.strictObject({
  generationsPath: path,
  healthPath: path,
  picturesMax: z.int().min(1).max(10),
  responseFormat: z.enum(["b64_json", "url"]).nullable(),
  seedField: fieldName.nullable(),
  parameters: names,
  extraBody: z.record(z.string(), z.json()),
  edits: z
    .discriminatedUnion("kind", [
      z.strictObject({
        kind: z.literal("form"),
        path,
        imageField: fieldName,
        maskField: fieldName.nullable(),
      }),
      z.strictObject({ kind: z.literal("body"), field: fieldName }),
    ])
    .nullable(),
  promptSyntax: z.enum(["plain", "bar", "tags"]),
});

const compatibleSettings = z.strictObject({
  profile: z.enum(profileNames()).default("generic"),
  ...quirks.partial().shape,
});

const comfyuiSettings = z.strictObject({
  /** Read by `parseWorkflows`. */
  workflows: z
    .unknown()
    .refine((given) => given !== undefined, "give a workflow, or a list, with graph and bindings"),
});

const noSettings = z.strictObject({});

const geminiFamilies = ["gemini", "gemini-interactions"] as const;

const gemini = {
  baseUrl: "https://generativelanguage.googleapis.com",
  baseUrlForm: "any",
  needsSecret: true,
  families: geminiFamilies,
  caps: {},
  timeoutMs: 10 * minuteMs,
} as const;

/** An operator's own server works through what it is given at its own pace. */
const ownServer = {
  needsSecret: false,
  families: null,
  caps: {},
  timeoutMs: 30 * minuteMs,
} as const;

const providers: Readonly<Record<string, Provider>> = {
  openai: {
    baseUrl: "https://api.openai.com/v1",
    baseUrlForm: "versioned",
    needsSecret: true,
    families: ["openai"],
    caps: {},
    timeoutMs: 10 * minuteMs,
    ...withSettings(openAiSettings, (settings, account, { send }) =>
      createOpenAi({ ...withKey(account), ...settings }, { send }),
    ),
  },
  gemini: {
    ...gemini,
    ...withSettings(geminiSettings, (settings, account, deps) =>
      createBothGemini({ ...withKey(account), ...settings }, deps),
    ),
  },
  "gemini-interactions": {
    ...gemini,
    ...withSettings(geminiSettings, (settings, account, { send }) =>
      createGeminiInteractions({ ...withKey(account), ...settings }, { send }),
    ),
  },
  bfl: {
    baseUrl: "https://api.bfl.ai",
    baseUrlForm: "origin",
    needsSecret: true,
    families: ["bfl"],
    // What the vendor runs at the same time; everything above is a 429.
    caps: { "*": 24, "flux-kontext-max": 6 },
    timeoutMs: 10 * minuteMs,
    ...withSettings(noSettings, (_settings, account, { send }) =>
      createBfl(withKey(account), { send }),
    ),
  },
  "openai-compatible": {
    ...ownServer,
    baseUrl: null,
    baseUrlForm: "versioned",
    ...withSettings(compatibleSettings, ({ profile, ...own }, { baseUrl, secret }, { send }) =>
      createOpenAiCompatible(
        { baseUrl, apiKey: secret, quirks: withQuirks(compatibleProfiles[profile], own) },
        { send },
      ),
    ),
  },
  comfyui: {
    ...ownServer,
    baseUrl: null,
    baseUrlForm: "any",
    ...withSettings(comfyuiSettings, ({ workflows }, { baseUrl, secret }, { send }) =>
      createComfyui({ baseUrl, apiKey: secret, workflows: parseWorkflows(workflows) }, { send }),
    ),
  },
};

/** Names of all providers, in the order in which they are listed. */
export const providerNames: readonly string[] = Object.keys(providers);

/** Throws `AppError` (`invalid_parameter`, param `provider`) with the names that exist. */
export function loadProvider(name: string): Provider {
  const provider = Object.hasOwn(providers, name) ? providers[name] : undefined;
  if (provider !== undefined) return provider;
  throw new AppError(
    "invalid_parameter",
    `provider "${name}" does not exist; use one of ${providerNames.join(", ")}`,
    { param: "provider" },
  );
}

/** The catalogue's models that a provider can serve, in their order; all of them where it takes any. */
export function modelsOf<Row extends CatalogueRow>(
  { families }: Provider,
  models: readonly Row[],
): readonly Row[] {
  return families === null ? models : models.filter(({ provider }) => families.includes(provider));
}

type Create<Settings> = (
  settings: Settings,
  account: UpstreamAccount,
  deps: AdapterDeps,
) => Adapter;

/** The two verbs of a provider from the shape of its settings and what makes an adapter of them. */
function withSettings<Settings>(
  schema: z.ZodType<Settings>,
  create: Create<Settings>,
): Pick<Provider, "checkSettings" | "create"> {
  return {
    checkSettings: (settings) => {
      const parsed = parseSettings(schema, settings);
      // Workflows are checked by what reads them.
      if (isWithWorkflows(parsed)) parseWorkflows(parsed.workflows);
    },
    create: (account, deps) => create(parseSettings(schema, account.settings), account, deps),
  };
}

function parseSettings<Settings>(schema: z.ZodType<Settings>, settings: JsonObject): Settings {
  const parsed = schema.safeParse(settings);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const place = ["settings", ...(issue?.path ?? [])].join(".");
  throw new AppError("invalid_parameter", `${place}: ${issue?.message ?? "invalid"}`, {
    param: "settings",
  });
}

function isWithWorkflows(settings: unknown): settings is { workflows: unknown } {
  return typeof settings === "object" && settings !== null && "workflows" in settings;
}

function withKey({ baseUrl, secret }: UpstreamAccount): { baseUrl: string; apiKey: string } {
  if (secret !== null) return { baseUrl, apiKey: secret };
  throw new AppError("invalid_parameter", "the channel has no key; its provider needs one");
}

type GeminiAccount = Parameters<typeof createGeminiInteractions>[0];

/**
 * One key, two protocols: a model goes through the one that its row of the catalogue names. Only
 * interactions leave a handle behind, so whatever is asked about later is one of them.
 */
function createBothGemini(account: GeminiAccount, { send, models }: AdapterDeps): Adapter {
  const generating = createGemini(account, { send });
  const interacting = createGeminiInteractions(account, { send });
  const interactive = new Set(
    models.filter(({ provider }) => provider === "gemini-interactions").map(({ id }) => id),
  );
  const protocolOf = (job: Job): Adapter => (interactive.has(job.model) ? interacting : generating);
  return {
    ...interacting,
    name: "gemini",
    submit: (job, call) => protocolOf(job).submit(job, call),
  };
}

function withQuirks(profile: Quirks, own: { [Name in keyof Quirks]?: Quirks[Name] | undefined }) {
  const given = Object.entries(own).filter(([, value]) => value !== undefined);
  return { ...profile, ...Object.fromEntries(given) };
}

function profileNames(): ProfileName[] {
  // The keys of a constant object are its type's names.
  return Object.keys(compatibleProfiles) as ProfileName[];
}

type ProfileName = keyof typeof compatibleProfiles;
