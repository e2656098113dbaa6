/** Every environment variable: what it takes, what it is without a value, and what the documentation says of it. */
import * as z from "zod";

import { logLevels } from "./lib/log.ts";
import { isTimeZone } from "./lib/time.ts";
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
import { findS3Target, s3TargetForm } from "./storage/s3-target.ts";

/** What the documentation says about a variable. */
type Facts = {
  default: string;
  unit: "" | "bytes" | "seconds" | "tasks" | "processes" | "connections";
  meaning: string;
  /** True when the value must not be repeated in a message. */
  secret?: true;
};

export const facts = z.registry<Facts>();
export const prefix = "DARKROOM_";
/** Read by our tests only; a server under test inherits them. */
export const testPrefix = "DARKROOM_TEST_";

export const environment = z.object({
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
  DARKROOM_SPOOL_LIMIT: define("4294967296", acceptWhole(0, 2 ** 50), {
    unit: "bytes",
    meaning:
      "What finished pictures may take of the worker's disk (`spool` in the data folder) while the " +
      "storage takes nothing.",
  }),
  DARKROOM_SECRET_FILE: defineOptional("`secret` in the data folder", acceptPath(), {
    unit: "",
    meaning:
      "File with the master secret (64 hexadecimal characters), made with mode 0600 on the first start; " +
      "0440 is taken too. Links and API keys depend on it: keep a copy.",
  }),
  DARKROOM_BODY_LIMIT: define("33554432", acceptWhole(1_024, 268_435_456), {
    unit: "bytes",
    meaning: "Largest request body. Pictures beyond it go through `POST /v1/uploads/images`.",
  }),
  DARKROOM_DIALECT_WAIT: define("290", acceptSeconds(), {
    unit: "seconds",
    meaning:
      "How long a request of the OpenAI or Gemini dialect waits for its pictures; then it is told the " +
      "task's id with 504. Clients on Node's `fetch` give up after 300 and send the request again.",
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
  DARKROOM_TRUSTED_PROXIES: define("", acceptCidrList(), {
    unit: "",
    meaning:
      "Networks of the load balancers before the server: what they write into `X-Forwarded-For` is the caller's " +
      "address, which a key's list of addresses is held to. From anywhere else the header means nothing.",
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
  DARKROOM_TIMEZONE: define(
    "UTC",
    acceptText("a time zone such as Europe/Berlin", (text) => (isTimeZone(text) ? text : null)),
    {
      unit: "",
      meaning: "Time zone in which usage reports begin a day, unless the caller names one (`tz`).",
    },
  ),
  DARKROOM_METRICS_TOKEN: defineOptional("not set", acceptKey(), {
    unit: "",
    meaning:
      "Who sends it as a Bearer token may read `/metrics`. Without it only requests from this " +
      "machine may, and none that a proxy has passed on.",
    secret: true,
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

function define<Value>(fallback: string, schema: z.ZodType<Value, string>, told: Told) {
  return schema.prefault(fallback).register(facts, { default: fallback, ...told });
}

/** A variable without a value of its own when it is not set; `fallback` says in words what happens. */
function defineOptional<Value>(fallback: string, schema: z.ZodType<Value, string>, told: Told) {
  return schema.optional().register(facts, { default: fallback, ...told });
}

type Told = Omit<Facts, "default">;
