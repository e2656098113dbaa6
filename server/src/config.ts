import { isIP } from "node:net";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";

import { closest } from "fastest-levenshtein";
import * as z from "zod";

import { parseCidrs } from "./lib/address.ts";
import { must } from "./lib/errors.ts";
import { logLevels } from "./lib/log.ts";
import type { LogLevel } from "./lib/log.ts";
import { hide } from "./lib/secrets.ts";
import type { Hidden } from "./lib/secrets.ts";
import { dayMs, secondMs } from "./lib/time.ts";

/** How one process runs. Frozen; every part receives only the values it uses. */
export type Config = {
  readonly http: {
    readonly host: string;
    /** 0 means any free port. */
    readonly port: number;
    /** Address that callers use: an origin with an optional path, no trailing slash; null when not set. */
    readonly publicUrl: string | null;
    readonly bodyBytesMax: number;
  };
  readonly data: {
    /** Absolute path. */
    readonly folder: string;
    readonly secretFile: string;
    readonly database: DatabaseTarget;
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
  readonly log: { readonly level: LogLevel };
};

export type DatabaseTarget =
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "postgres"; readonly url: Hidden };

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
  unit: "" | "bytes" | "seconds" | "tasks" | "processes";
  meaning: string;
  /** True when the value must not be repeated in a message. */
  secret?: true;
};

const facts = z.registry<Facts>();
const prefix = "DARKROOM_";
/** Read by our tests only; a server under test inherits them. */
const testPrefix = "DARKROOM_TEST_";
const secondsMax = 3_650 * (dayMs / secondMs);
const cidrsMax = 256;

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
    meaning: "`postgres://…` for a PostgreSQL database, which `serve` does not run on yet.",
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
      "Networks that are not public and may still be reached, on any port, for references and " +
      "callbacks: `10.1.0.0/16,fd00::/8`. Name only networks whose services may be reached by callers.",
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
 * Reads the `DARKROOM_*` variables of an environment; empty ones count as not set. Throws one
 * `ConfigError` with every problem: values that cannot be used, and names that are not known.
 */
export function parseConfig(env: Environment): Config {
  const given = Object.entries(env).filter(
    ([name, text]) => name.startsWith(prefix) && text !== "",
  );
  const parsed = environment.safeParse(Object.fromEntries(given));
  const problems = [
    ...(parsed.success ? [] : parsed.error.issues.map((issue) => describeIssue(issue, env))),
    ...given.map(([name]) => name).flatMap(describeUnknown),
  ];
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return createConfig(parsed.data);
}

/** Throws `ConfigError` for a configuration that is in order and that `serve` cannot run on yet. */
export function checkServable(config: Config): void {
  if (config.data.database.kind === "sqlite") return;
  throw new ConfigError([
    "DARKROOM_DATABASE_URL names a PostgreSQL database, and serve runs on SQLite only; " +
      "leave it unset to use SQLite in the data folder",
  ]);
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
      publicUrl: values.DARKROOM_PUBLIC_URL ?? null,
      bodyBytesMax: values.DARKROOM_BODY_LIMIT,
    }),
    data: Object.freeze({
      folder,
      secretFile: resolve(values.DARKROOM_SECRET_FILE ?? join(folder, "secret")),
      database: Object.freeze<DatabaseTarget>(
        url === undefined
          ? { kind: "sqlite", path: join(folder, "darkroom.db") }
          : { kind: "postgres", url },
      ),
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
    log: Object.freeze({ level: values.DARKROOM_LOG_LEVEL }),
  });
}

function describeIssue(issue: z.core.$ZodIssue, env: Environment): string {
  const name = String(issue.path[0]);
  const schema = Object.entries(environment.shape).find(([known]) => known === name)?.[1];
  const told = schema === undefined ? undefined : facts.get(schema);
  const value = told?.secret === true ? "(not shown)" : JSON.stringify(env[name]);
  return `${name} ${value} cannot be used; give ${issue.message}`;
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

/** A text that `find` understands; `allowed` completes the sentence "give …". */
function acceptText<Value>(allowed: string, find: (text: string) => Value | null) {
  return z.string().transform((text, context) => {
    const value = find(text);
    if (value !== null) return value;
    context.addIssue({ code: "custom", message: allowed });
    return z.NEVER;
  });
}

function acceptWhole(min: number, max: number) {
  return acceptText(`a whole number from ${min} to ${max}`, (text) => findWhole(text, min, max));
}

function acceptSeconds() {
  return acceptText(`whole seconds from 1 to ${secondsMax}`, findSecondsAsMs);
}

function acceptHost() {
  const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
  const hostname = new RegExp(`^${label}(?:\\.${label})*$`, "i");
  return acceptText("an IP address or a host name, without port or brackets", (text) =>
    isIP(text) !== 0 || hostname.test(text) ? text : null,
  );
}

function acceptPath() {
  return acceptText("a path", (text) => (text.includes("\0") ? null : text));
}

function acceptPublicUrl() {
  return acceptText(
    "an http:// or https:// address with an optional path: no slash at its end, no user, query or fragment",
    (text) => {
      const url = /^https?:\/\/(?!\/)[^\s\\?#@]*[^\s\\?#@/]$/i.test(text) ? URL.parse(text) : null;
      return url === null ? null : `${url.origin}${url.pathname.replace(/\/$/, "")}`;
    },
  );
}

function acceptDatabaseUrl() {
  return acceptText("a postgres:// URL, or leave it unset for SQLite", (text) =>
    /^postgres(?:ql)?:\/\//.test(text) && URL.canParse(text) ? hide(text) : null,
  );
}

function acceptLogLevel() {
  return acceptText(
    `one of ${logLevels.join(", ")}`,
    (text) => logLevels.find((level) => level === text) ?? null,
  );
}

function acceptResultTtl() {
  return acceptText(
    `seconds from 1 to ${secondsMax}, then model=seconds for models that differ, ` +
      "each once, separated by commas: 86400,flux-2-pro=3600",
    findResultTtl,
  );
}

function findResultTtl(text: string): Config["results"] | null {
  const [general = "", ...others] = text.split(",").map((entry) => entry.trim());
  const ttlMs = findSecondsAsMs(general);
  const ttlMsByModel = new Map<string, number>();
  for (const entry of others) {
    const [, model, seconds] = /^([a-z0-9][a-z0-9.-]*)=(\d+)$/.exec(entry) ?? [];
    if (model === undefined || seconds === undefined || ttlMsByModel.has(model)) return null;
    const ms = findSecondsAsMs(seconds);
    if (ms === null) return null;
    ttlMsByModel.set(model, ms);
  }
  return ttlMs === null ? null : { ttlMs, ttlMsByModel };
}

function acceptCidrList() {
  return acceptText(
    `networks as address/bits, separated by commas, at most ${cidrsMax}: 10.1.0.0/16,fd00::/8`,
    (text) => {
      const entries = findCidrs(text);
      return entries !== null && entries.length <= cidrsMax ? entries : null;
    },
  );
}

function findCidrs(text: string): string[] | null {
  // A stray comma is a slip that is worth a word.
  if (text !== "" && text.split(",").some((entry) => entry.trim() === "")) return null;
  try {
    return parseCidrs(text);
  } catch {
    return null;
  }
}

function findWhole(text: string, min: number, max: number): number | null {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return value >= min && value <= max ? value : null;
}

function findSecondsAsMs(text: string): number | null {
  const seconds = findWhole(text, 1, secondsMax);
  return seconds === null ? null : seconds * secondMs;
}
