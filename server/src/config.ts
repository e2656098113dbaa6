import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";

import { closest } from "fastest-levenshtein";
import * as z from "zod";

import { must } from "./lib/errors.ts";
import { logLevels } from "./lib/log.ts";
import type { LogLevel } from "./lib/log.ts";
import type { Hidden } from "./lib/secrets.ts";
import { secondMs } from "./lib/time.ts";
import {
  acceptBaseUrl,
  acceptCidrList,
  acceptDatabaseUrl,
  acceptHost,
  acceptKey,
  acceptLogLevel,
  acceptPath,
  acceptPublicUrl,
  acceptResultTtl,
  acceptSeconds,
  acceptText,
  acceptWhole,
} from "./lib/variables.ts";
import type { S3Credentials } from "./storage/s3-signer.ts";
import { findS3Target, s3TargetForm } from "./storage/s3-target.ts";
import type { S3Target } from "./storage/s3-target.ts";

/** How one process runs. Frozen; every part receives only the values it uses. */
export type Config = {
  readonly http: {
    readonly host: string;
    /** 0 means any free port. */
    readonly port: number;
    /** How long requests are still taken after `/readyz` has said that the server is leaving. */
    readonly drainMs: number;
    /** Address that callers use: an origin with an optional path, no trailing slash; null when not set. */
    readonly publicUrl: string | null;
    readonly bodyBytesMax: number;
  };
  readonly data: {
    /** Absolute path. */
    readonly folder: string;
    readonly secretFile: string;
    readonly database: DatabaseTarget;
    readonly storage: StorageTarget;
  };
  readonly results: {
    readonly ttlMs: number;
    /** Models whose results are kept for another time. */
    readonly ttlMsByModel: ReadonlyMap<string, number>;
  };
  readonly uploads: { readonly ttlMs: number };
  readonly tasks: {
    readonly deadlineMs: number;
    readonly retentionMs: number;
    readonly idempotencyTtlMs: number;
    /** Tasks that one worker keeps in flight. */
    readonly workerTasksMax: number;
  };
  readonly images: { readonly processesMax: number };
  /** CIDRs that the guarded way out may reach although they are not public. */
  readonly egress: { readonly allow: readonly string[] };
  /** Upstream accounts that stand in the environment, each with the name of its provider. */
  readonly upstreams: readonly UpstreamVariables[];
  readonly log: { readonly level: LogLevel };
};

export type UpstreamVariables = {
  readonly name: "openai" | "gemini" | "bfl";
  /** The variable that holds the key. */
  readonly variable: string;
  readonly secret: Hidden | null;
  /** Null for the vendor's own address. */
  readonly baseUrl: string | null;
};

export type DatabaseTarget =
  | { readonly kind: "sqlite"; readonly path: string }
  | {
      readonly kind: "postgres";
      readonly url: Hidden;
      /** Connections for requests, and for the engine; half of each are for reads. */
      readonly apiConnectionsMax: number;
      readonly engineConnectionsMax: number;
    };

export type StorageTarget =
  | { readonly kind: "disk"; readonly folder: string }
  | { readonly kind: "s3"; readonly target: S3Target; readonly credentials: S3Credentials };

/** The environment cannot be used; the message lists every problem, one a line. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(`the configuration cannot be used:\n${problems.map((text) => `  ${text}`).join("\n")}`);
    this.name = "ConfigError";
    this.problems = problems;
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/** What the documentation says about a variable. */
type Facts = {
  default: string;
  unit: "" | "bytes" | "seconds" | "tasks" | "processes" | "connections";
  meaning: string;
  /** True when the value must not be repeated in a message. */
  secret?: true;
};

const facts = z.registry<Facts>();
const prefix = "DARKROOM_";
/** Read by our tests only; a server under test inherits them. */
const testPrefix = "DARKROOM_TEST_";

const environment = z.object({
  DARKROOM_HOST: define("127.0.0.1", acceptHost(), {
    unit: "",
    meaning: "Address to listen on; `0.0.0.0` or `::` listens on all.",
  }),
  DARKROOM_PORT: define("8787", acceptWhole(0, 65_535), {
    unit: "",
    meaning: "Port to listen on; 0 takes any free one, which the ready line names.",
  }),
  DARKROOM_DATA: define("./data", acceptPath(), {
    unit: "",
    meaning: "Folder for the database, the pictures and the secret; made with mode 0700.",
  }),
  DARKROOM_PUBLIC_URL: defineOptional("the listening address", acceptPublicUrl(), {
    unit: "",
    meaning:
      "Address under which callers reach the gateway, for example `https://pictures.example.com`: " +
      "links to results begin with it. A path may follow, without a slash at its end.",
  }),
  DARKROOM_DATABASE_URL: defineOptional("SQLite in the data folder", acceptDatabaseUrl(), {
    unit: "",
    meaning: "`postgres://…` for a PostgreSQL database (14 or newer), which many nodes can share.",
    secret: true,
  }),
  DARKROOM_API_CONNECTIONS: define("20", acceptWhole(2, 1_000), {
    unit: "connections",
    meaning: "Most connections of a node to PostgreSQL for requests, half of them for reads.",
  }),
  DARKROOM_ENGINE_CONNECTIONS: define("20", acceptWhole(2, 1_000), {
    unit: "connections",
    meaning: "The same for the engine; it takes one more for wake-ups.",
  }),
  DARKROOM_DRAIN_SECONDS: defineOptional("0, with PostgreSQL 5", acceptWhole(0, 300), {
    unit: "seconds",
    meaning:
      "How long requests are still taken after a stop was asked for and `/readyz` says so: longer " +
      "than a load balancer needs to notice.",
  }),
  DARKROOM_STORAGE: defineOptional(
    "`objects` in the data folder",
    acceptText(s3TargetForm, findS3Target),
    {
      unit: "",
      meaning:
        "`s3://bucket?region=…&endpoint=…&prefix=…` to keep pictures in an S3 bucket instead; " +
        "operating.md says more.",
      secret: true,
    },
  ),
  AWS_ACCESS_KEY_ID: defineOptional("not set", acceptKey(), {
    unit: "",
    meaning: "Key id for the bucket of `DARKROOM_STORAGE`; not used without it.",
    secret: true,
  }),
  AWS_SECRET_ACCESS_KEY: defineOptional("not set", acceptKey(), {
    unit: "",
    meaning: "The secret that belongs to `AWS_ACCESS_KEY_ID`.",
    secret: true,
  }),
  AWS_SESSION_TOKEN: defineOptional("not set", acceptKey(), {
    unit: "",
    meaning: "For temporary credentials. They are not renewed: links and writes end with them.",
    secret: true,
  }),
  DARKROOM_SECRET_FILE: defineOptional("`secret` in the data folder", acceptPath(), {
    unit: "",
    meaning:
      "File with the master secret (64 hexadecimal characters, mode 0600), made on the first start. " +
      "Links and API keys depend on it: keep a copy.",
  }),
  DARKROOM_BODY_LIMIT: define("33554432", acceptWhole(1_024, 268_435_456), {
    unit: "bytes",
    meaning: "Largest request body. Pictures beyond it go through `POST /v1/uploads/images`.",
  }),
  DARKROOM_RESULT_TTL: define("86400", acceptResultTtl(), {
    unit: "seconds",
    meaning:
      "How long results are kept and their links work, counted from the task's end. Models can " +
      "differ: `86400,flux-2-pro=3600`.",
  }),
  DARKROOM_UPLOAD_TTL: define("259200", acceptSeconds(), {
    unit: "seconds",
    meaning: "How long uploads are kept and can be used as references.",
  }),
  DARKROOM_TASK_DEADLINE: define("1800", acceptSeconds(), {
    unit: "seconds",
    meaning: "Longest life of a task: what is not finished by then ends as `generation_timeout`.",
  }),
  DARKROOM_TASK_RETENTION: define("2592000", acceptSeconds(), {
    unit: "seconds",
    meaning: "How long ended tasks can be read; after that they are 404.",
  }),
  DARKROOM_IDEMPOTENCY_TTL: define("86400", acceptSeconds(), {
    unit: "seconds",
    meaning: "How long an `Idempotency-Key` is remembered.",
  }),
  DARKROOM_EGRESS_ALLOW: define("", acceptCidrList(), {
    unit: "",
    meaning:
      "Networks that are not public and may still be reached, on any port, for references, " +
      "callbacks and upstreams: `10.1.0.0/16,fd00::/8`. Name only networks whose services may be reached by callers.",
  }),
  OPENAI_API_KEY: defineOptional("not set", acceptKey(), {
    unit: "",
    meaning: "Key of an OpenAI account; makes the channel `openai`.",
    secret: true,
  }),
  OPENAI_BASE_URL: defineOptional("`https://api.openai.com/v1`", acceptBaseUrl("versioned"), {
    unit: "",
    meaning: "Another address for the channel `openai`, with its `/v1`.",
  }),
  GEMINI_API_KEY: defineOptional("not set", acceptKey(), {
    unit: "",
    meaning: "Key of a Gemini account; makes the channel `gemini`.",
    secret: true,
  }),
  GEMINI_BASE_URL: defineOptional(
    "`https://generativelanguage.googleapis.com`",
    acceptBaseUrl("origin"),
    { unit: "", meaning: "Another address for the channel `gemini`, without a path." },
  ),
  BFL_API_KEY: defineOptional("not set", acceptKey(), {
    unit: "",
    meaning: "Key of a Black Forest Labs account; makes the channel `bfl`.",
    secret: true,
  }),
  BFL_BASE_URL: defineOptional("`https://api.bfl.ai`", acceptBaseUrl("origin"), {
    unit: "",
    meaning: "Another address for the channel `bfl`, without a path.",
  }),
  DARKROOM_LOG_LEVEL: define("info", acceptLogLevel(), {
    unit: "",
    meaning: `One of ${logLevels.join(", ")}. The log goes to standard error as JSON lines.`,
  }),
  DARKROOM_WORKER_TASKS: define("10000", acceptWhole(1, 100_000), {
    unit: "tasks",
    meaning: "Tasks that one worker keeps in flight.",
  }),
  DARKROOM_PICTURE_PROCESSES: defineOptional(
    "one less than the cores, at least 1",
    acceptWhole(1, 256),
    {
      unit: "processes",
      meaning: "Child processes that decode and draw pictures; started on demand.",
    },
  ),
});

type Values = z.output<typeof environment>;

/**
 * Reads the `DARKROOM_*` variables of an environment, and those of vendors that it knows; empty ones
 * count as not set. Throws one `ConfigError` with every problem: values that cannot be used, and
 * `DARKROOM_*` names that are not known.
 */
export function parseConfig(env: Environment): Config {
  const given = Object.entries(env).filter(([name, text]) => isOurs(name) && text !== "");
  const parsed = environment.safeParse(Object.fromEntries(given));
  const problems = [
    ...(parsed.success ? [] : parsed.error.issues.map((issue) => describeIssue(issue, env))),
    ...describeMissing(given.map(([name]) => name)),
    ...given.map(([name]) => name).flatMap(describeUnknown),
  ];
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return createConfig(parsed.data);
}

/** The variables as a Markdown table, for docs/configuration.md. */
export function renderVariables(): string {
  const rows = Object.entries(environment.shape).map(([name, schema]) => {
    const told = must(facts.get(schema), `the description of ${name}`);
    const shown = /^[\w./]+$/.test(told.default) ? `\`${told.default}\`` : told.default;
    return `| \`${name}\` | ${shown || "none"} | ${told.unit} | ${told.meaning} |`;
  });
  return ["| Name | Default | Unit | Meaning |", "| - | - | - | - |", ...rows].join("\n");
}

function createConfig(values: Values): Config {
  const folder = resolve(values.DARKROOM_DATA);
  const url = values.DARKROOM_DATABASE_URL;
  return Object.freeze({
    http: Object.freeze({
      host: values.DARKROOM_HOST,
      port: values.DARKROOM_PORT,
      drainMs: (values.DARKROOM_DRAIN_SECONDS ?? (url === undefined ? 0 : 5)) * secondMs,
      publicUrl: values.DARKROOM_PUBLIC_URL ?? null,
      bodyBytesMax: values.DARKROOM_BODY_LIMIT,
    }),
    data: Object.freeze({
      folder,
      secretFile: resolve(values.DARKROOM_SECRET_FILE ?? join(folder, "secret")),
      database: Object.freeze<DatabaseTarget>(
        url === undefined
          ? { kind: "sqlite", path: join(folder, "darkroom.db") }
          : {
              kind: "postgres",
              url,
              apiConnectionsMax: values.DARKROOM_API_CONNECTIONS,
              engineConnectionsMax: values.DARKROOM_ENGINE_CONNECTIONS,
            },
      ),
      storage: Object.freeze(createStorageTarget(values)),
    }),
    results: Object.freeze(values.DARKROOM_RESULT_TTL),
    uploads: Object.freeze({ ttlMs: values.DARKROOM_UPLOAD_TTL }),
    tasks: Object.freeze({
      deadlineMs: values.DARKROOM_TASK_DEADLINE,
      retentionMs: values.DARKROOM_TASK_RETENTION,
      idempotencyTtlMs: values.DARKROOM_IDEMPOTENCY_TTL,
      workerTasksMax: values.DARKROOM_WORKER_TASKS,
    }),
    images: Object.freeze({
      processesMax: values.DARKROOM_PICTURE_PROCESSES ?? Math.max(1, availableParallelism() - 1),
    }),
    egress: Object.freeze({ allow: Object.freeze(values.DARKROOM_EGRESS_ALLOW) }),
    upstreams: Object.freeze([
      createUpstream("openai", values.OPENAI_API_KEY, values.OPENAI_BASE_URL),
      createUpstream("gemini", values.GEMINI_API_KEY, values.GEMINI_BASE_URL),
      createUpstream("bfl", values.BFL_API_KEY, values.BFL_BASE_URL),
    ]),
    log: Object.freeze({ level: values.DARKROOM_LOG_LEVEL }),
  });
}

function createUpstream(
  name: UpstreamVariables["name"],
  secret: Hidden | undefined,
  baseUrl: string | undefined,
): UpstreamVariables {
  const variable = `${name.toUpperCase()}_API_KEY`;
  return Object.freeze({ name, variable, secret: secret ?? null, baseUrl: baseUrl ?? null });
}

function createStorageTarget(values: Values): StorageTarget {
  const target = values.DARKROOM_STORAGE;
  if (target === undefined) {
    return { kind: "disk", folder: join(resolve(values.DARKROOM_DATA), "objects") };
  }
  const credentials = Object.freeze<S3Credentials>({
    accessKeyId: must(values.AWS_ACCESS_KEY_ID, "the key id").reveal(),
    secretAccessKey: must(values.AWS_SECRET_ACCESS_KEY, "the secret key"),
    sessionToken: values.AWS_SESSION_TOKEN ?? null,
  });
  return { kind: "s3", target, credentials };
}

function describeMissing(given: readonly string[]): string[] {
  if (!given.includes("DARKROOM_STORAGE")) return [];
  return ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    .filter((name) => !given.includes(name))
    .map((name) => `${name} is not set; DARKROOM_STORAGE needs it`);
}

function describeIssue(issue: z.core.$ZodIssue, env: Environment): string {
  const name = String(issue.path[0]);
  const schema = Object.entries(environment.shape).find(([known]) => known === name)?.[1];
  const told = schema === undefined ? undefined : facts.get(schema);
  const value = told?.secret === true ? "(not shown)" : JSON.stringify(env[name]);
  return `${name} ${value} cannot be used; give ${issue.message}`;
}

function isOurs(name: string): boolean {
  return name.startsWith(prefix) || Object.hasOwn(environment.shape, name);
}

function describeUnknown(name: string): string[] {
  if (Object.hasOwn(environment.shape, name) || name.startsWith(testPrefix)) return [];
  const nearest = closest(name, Object.keys(environment.shape));
  return [`${name} is not a known variable; the nearest known name is ${nearest}`];
}

function define<Value>(fallback: string, schema: z.ZodType<Value, string>, told: Told) {
  return schema.prefault(fallback).register(facts, { default: fallback, ...told });
}

/** A variable without a value of its own when it is not set; `fallback` says in words what happens. */
function defineOptional<Value>(fallback: string, schema: z.ZodType<Value, string>, told: Told) {
  return schema.optional().register(facts, { default: fallback, ...told });
}

type Told = Omit<Facts, "default">;
