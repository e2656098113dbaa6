import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";

import { closest } from "fastest-levenshtein";
import type * as z from "zod";

import { environment, facts, prefix, testPrefix } from "./environment.ts";
import { must } from "./lib/errors.ts";
import type { LogLevel } from "./lib/log.ts";
import type { Hidden } from "./lib/secrets.ts";
import { secondMs } from "./lib/time.ts";
import type { S3Credentials } from "./storage/s3-signer.ts";
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
    /** How long requests of the waiting dialects wait for their pictures. */
    readonly dialectWaitMs: number;
    /** What opens `/metrics` to other machines. */
    readonly metricsToken: Hidden | null;
    /** CIDRs of the proxies that tell who the caller is. */
    readonly trustedProxies: readonly string[];
  };
  readonly data: {
    /** Absolute path. */
    readonly folder: string;
    readonly secretFile: string;
    readonly database: DatabaseTarget;
    readonly storage: StorageTarget;
    /** Where finished pictures wait while the storage takes nothing. */
    readonly spool: { readonly folder: string; readonly bytesMax: number };
  };
  readonly results: {
    readonly ttlMs: number;
    /** Models whose results are kept for another time. */
    readonly ttlMsByModel: ReadonlyMap<string, number>;
  };
  readonly uploads: { readonly ttlMs: number };
  /** In which days of usage reports begin. */
  readonly usage: { readonly timeZone: string };
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
      dialectWaitMs: values.DARKROOM_DIALECT_WAIT,
      metricsToken: values.DARKROOM_METRICS_TOKEN ?? null,
      trustedProxies: Object.freeze(values.DARKROOM_TRUSTED_PROXIES),
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
      spool: Object.freeze({
        folder: join(folder, "spool"),
        bytesMax: values.DARKROOM_SPOOL_LIMIT,
      }),
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
    usage: Object.freeze({ timeZone: values.DARKROOM_TIMEZONE }),
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
