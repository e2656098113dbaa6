import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { inspect } from "node:util";

import { ConfigError, parseConfig, renderVariables } from "./config.ts";

function problemsOf(env: Record<string, string | undefined>): readonly string[] {
  try {
    parseConfig(env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  return assert.fail(`accepted ${JSON.stringify(env)}`);
}

test("an empty environment gives the documented defaults", () => {
  const folder = resolve("./data");
  assert.deepEqual(parseConfig({}), {
    http: {
      host: "127.0.0.1",
      port: 8_787,
      drainMs: 0,
      publicUrl: null,
      bodyBytesMax: 33_554_432,
      dialectWaitMs: 290_000,
      metricsToken: null,
      trustedProxies: [],
    },
    data: {
      folder,
      secretFile: join(folder, "secret"),
      database: { kind: "sqlite", path: join(folder, "darkroom.db") },
      storage: { kind: "disk", folder: join(folder, "objects") },
      spool: { folder: join(folder, "spool"), bytesMax: 4_294_967_296 },
    },
    results: { ttlMs: 86_400_000, ttlMsByModel: new Map() },
    uploads: { ttlMs: 259_200_000 },
    usage: { timeZone: "UTC" },
    tasks: {
      deadlineMs: 1_800_000,
      retentionMs: 2_592_000_000,
      idempotencyTtlMs: 86_400_000,
      workerTasksMax: 10_000,
    },
    images: { processesMax: Math.max(1, availableParallelism() - 1) },
    egress: { allow: [] },
    upstreams: [
      { name: "openai", variable: "OPENAI_API_KEY", secret: null, baseUrl: null },
      { name: "gemini", variable: "GEMINI_API_KEY", secret: null, baseUrl: null },
      { name: "bfl", variable: "BFL_API_KEY", secret: null, baseUrl: null },
    ],
    log: { level: "info" },
  });
});

test("every variable reaches its place", () => {
  const config = parseConfig({
    DARKROOM_HOST: "::1",
    DARKROOM_PORT: "0",
    DARKROOM_DATA: "/srv/darkroom",
    DARKROOM_PUBLIC_URL: "https://Pictures.Example.com:443/api",
    DARKROOM_DATABASE_URL: "",
    DARKROOM_DRAIN_SECONDS: "30",
    DARKROOM_SPOOL_LIMIT: "8",
    DARKROOM_SECRET_FILE: "/run/secrets/darkroom",
    DARKROOM_BODY_LIMIT: "1024",
    DARKROOM_DIALECT_WAIT: "8",
    DARKROOM_RESULT_TTL: "10, flux-2-pro=20,gemini-2.5-flash-image-preview=30",
    DARKROOM_UPLOAD_TTL: "2",
    DARKROOM_TASK_DEADLINE: "3",
    DARKROOM_TASK_RETENTION: "4",
    DARKROOM_IDEMPOTENCY_TTL: "5",
    DARKROOM_EGRESS_ALLOW: "127.0.0.0/8, fd00::/8",
    DARKROOM_TRUSTED_PROXIES: "10.0.0.0/8",
    DARKROOM_LOG_LEVEL: "debug",
    DARKROOM_TIMEZONE: "Asia/Tokyo",
    DARKROOM_WORKER_TASKS: "6",
    DARKROOM_PICTURE_PROCESSES: "7",
    PATH: "/bin",
  });
  const ttlMsByModel = new Map([
    ["flux-2-pro", 20_000],
    ["gemini-2.5-flash-image-preview", 30_000],
  ]);
  assert.deepEqual(config, {
    http: {
      host: "::1",
      port: 0,
      drainMs: 30_000,
      publicUrl: "https://pictures.example.com/api",
      bodyBytesMax: 1_024,
      dialectWaitMs: 8_000,
      metricsToken: null,
      trustedProxies: ["10.0.0.0/8"],
    },
    data: {
      folder: resolve("/srv/darkroom"),
      secretFile: resolve("/run/secrets/darkroom"),
      database: { kind: "sqlite", path: join(resolve("/srv/darkroom"), "darkroom.db") },
      storage: { kind: "disk", folder: join(resolve("/srv/darkroom"), "objects") },
      spool: { folder: join(resolve("/srv/darkroom"), "spool"), bytesMax: 8 },
    },
    results: { ttlMs: 10_000, ttlMsByModel },
    uploads: { ttlMs: 2_000 },
    usage: { timeZone: "Asia/Tokyo" },
    tasks: { deadlineMs: 3_000, retentionMs: 4_000, idempotencyTtlMs: 5_000, workerTasksMax: 6 },
    images: { processesMax: 7 },
    egress: { allow: ["127.0.0.0/8", "fd00::/8"] },
    upstreams: [
      { name: "openai", variable: "OPENAI_API_KEY", secret: null, baseUrl: null },
      { name: "gemini", variable: "GEMINI_API_KEY", secret: null, baseUrl: null },
      { name: "bfl", variable: "BFL_API_KEY", secret: null, baseUrl: null },
    ],
    log: { level: "debug" },
  });
});

test("the accounts of vendors are read from their own variables, and an empty one is not set", () => {
  const { upstreams } = parseConfig({
    OPENAI_API_KEY: "sk-openai",
    OPENAI_BASE_URL: "https://gateway.example.com/openai/v1/",
    GEMINI_API_KEY: "",
    GEMINI_BASE_URL: "",
    BFL_API_KEY: " bfl-key ",
    BFL_BASE_URL: "http://127.0.0.1:9000",
  });
  assert.deepEqual(
    upstreams.map(({ secret, baseUrl }) => [secret?.reveal() ?? null, baseUrl]),
    [
      ["sk-openai", "https://gateway.example.com/openai/v1"],
      [null, null],
      ["bfl-key", "http://127.0.0.1:9000"],
    ],
  );
});

test("a vendor's key is shown by no print of the configuration and by no refusal", () => {
  const config = parseConfig({ OPENAI_API_KEY: "sk-very-secret" });
  const [problem = ""] = problemsOf({ OPENAI_API_KEY: "sk very-secret" });
  assert.match(problem, /^OPENAI_API_KEY/);
  assert.doesNotMatch(
    `${inspect(config, { depth: 9 })}${JSON.stringify(config)}${problem}`,
    /very-secret/,
  );
});

test("the token that opens the metrics is read, and shown by no print", () => {
  const { http } = parseConfig({ DARKROOM_METRICS_TOKEN: "watch-me" });
  assert.equal(http.metricsToken?.reveal(), "watch-me");
  assert.doesNotMatch(`${inspect(http)}${JSON.stringify(http)}`, /watch-me/);
});

test("a configuration cannot be changed", () => {
  const config = parseConfig({ DARKROOM_EGRESS_ALLOW: "127.0.0.0/8" });
  for (const part of [
    config,
    ...Object.values(config),
    config.data.database,
    config.egress.allow,
  ]) {
    assert.ok(Object.isFrozen(part), inspect(part));
  }
});

test("all problems are reported at once, each by its variable's name", () => {
  const problems = problemsOf({
    DARKROOM_PORT: "http",
    DARKROOM_LOG_LEVEL: "loud",
    DARKROOM_UPLOAD_TTL: "-1",
    DARKROOM_PROT: "80",
  });
  assert.deepEqual(problems, [
    'DARKROOM_PORT "http" cannot be used; give a whole number from 0 to 65535',
    'DARKROOM_UPLOAD_TTL "-1" cannot be used; give whole seconds from 1 to 315360000',
    'DARKROOM_LOG_LEVEL "loud" cannot be used; give one of trace, debug, info, warn, error, fatal, silent',
    "DARKROOM_PROT is not a known variable; the nearest known name is DARKROOM_PORT",
  ]);
});

test("the error's message lists every problem", () => {
  assert.throws(
    () => parseConfig({ DARKROOM_PORT: "x", DARKROOM_HOTS: "y" }),
    (error: Error) => /DARKROOM_PORT/.test(error.message) && /DARKROOM_HOST/.test(error.message),
  );
});

const refused: Record<string, string[]> = {
  DARKROOM_HOST: ["http://localhost", "localhost:80", "[::1]", "a b", "-a", "a..b"],
  DARKROOM_PORT: ["65536", "-1", "80.5", "0x50", " 80", "1e3"],
  DARKROOM_DATA: ["a\0b"],
  DARKROOM_PUBLIC_URL: [
    "pictures.example.com",
    "ftp://example.com",
    "https://example.com/",
    "https://example.com/a/",
    "https://example.com/?a",
    "https://example.com#a",
    "https://user:pw@example.com",
    "https://",
    "https:///example.com",
    "https://exa mple.com",
  ],
  DARKROOM_DATABASE_URL: ["mysql://localhost/x", "./darkroom.db", "postgres:/x", "postgres://["],
  DARKROOM_SPOOL_LIMIT: ["-1", "4GB", "1.5"],
  DARKROOM_BODY_LIMIT: ["1023", "268435457", "32MB", "1.5"],
  DARKROOM_RESULT_TTL: ["0", "1h", "flux-2-pro=3600", "10,", "10,20", "10,a=0", "10,a=1,a=2"],
  DARKROOM_UPLOAD_TTL: ["0", "315360001", "9999999999999999999"],
  DARKROOM_TASK_DEADLINE: ["0", "30m"],
  DARKROOM_TASK_RETENTION: ["0"],
  DARKROOM_IDEMPOTENCY_TTL: ["0"],
  DARKROOM_EGRESS_ALLOW: ["10.0.0.0/33", "010.0.0.0/8", "fd00::/129", "localhost/8", ","],
  DARKROOM_TRUSTED_PROXIES: ["balancer", "10.0.0.0/33"],
  DARKROOM_LOG_LEVEL: ["INFO", "verbose"],
  DARKROOM_TIMEZONE: ["Mars/Olympus", "berlin time"],
  DARKROOM_WORKER_TASKS: ["0", "100001"],
  DARKROOM_PICTURE_PROCESSES: ["0", "257"],
  OPENAI_API_KEY: ["two words", "ключ"],
  OPENAI_BASE_URL: ["https://api.openai.com", "api.openai.com/v1", "https://a/v1?b", "ftp://a/v1"],
  GEMINI_BASE_URL: ["https://generativelanguage.googleapis.com/v1beta", "https://u:p@example.com"],
  BFL_BASE_URL: ["https://api.bfl.ai/v1", "bfl"],
};

for (const [name, texts] of Object.entries(refused)) {
  test(`values that ${name} cannot have are refused by its name`, () => {
    for (const text of texts) {
      const problems = problemsOf({ [name]: text });
      assert.equal(problems.length, 1, text);
      assert.ok(problems[0]?.startsWith(`${name} `), problems[0]);
    }
  });
}

test("variables that only the tests read are left alone", () => {
  assert.doesNotThrow(() => parseConfig({ DARKROOM_TEST_POSTGRES_URL: "postgres://localhost" }));
});

test("a PostgreSQL database is understood, with time to leave a load balancer", () => {
  const url = "postgres://user:very-secret@localhost/darkroom";
  const config = parseConfig({ DARKROOM_DATABASE_URL: url });
  assert.ok(config.data.database.kind === "postgres");
  assert.equal(config.data.database.url.reveal(), url);
  assert.equal(config.http.drainMs, 5_000);
  assert.equal(parseConfig({}).http.drainMs, 0);
});

const s3Environment = {
  DARKROOM_STORAGE: "s3://pictures?region=eu-central-1&prefix=darkroom",
  AWS_ACCESS_KEY_ID: "AKIDEXAMPLE",
  AWS_SECRET_ACCESS_KEY: "very-secret",
};

test("a bucket is understood with its credentials, which are shown nowhere", () => {
  const config = parseConfig({ ...s3Environment, AWS_SESSION_TOKEN: "very-secret-token" });
  const { storage } = config.data;
  assert.ok(storage.kind === "s3");
  assert.equal(storage.target.endpoint, "https://s3.eu-central-1.amazonaws.com");
  assert.equal(storage.credentials.accessKeyId, "AKIDEXAMPLE");
  assert.equal(storage.credentials.secretAccessKey.reveal(), "very-secret");
  assert.equal(storage.credentials.sessionToken?.reveal(), "very-secret-token");
  for (const part of [storage, storage.target, storage.credentials]) {
    assert.ok(Object.isFrozen(part), inspect(part));
  }
  assert.doesNotMatch(`${inspect(config, { depth: 9 })}${JSON.stringify(config)}`, /very-secret/);
});

test("a bucket without its credentials stops the start, by the name of each", () => {
  assert.deepEqual(problemsOf({ ...s3Environment, AWS_SECRET_ACCESS_KEY: "" }), [
    "AWS_SECRET_ACCESS_KEY is not set; DARKROOM_STORAGE needs it",
  ]);
  assert.deepEqual(problemsOf({ DARKROOM_STORAGE: s3Environment.DARKROOM_STORAGE }), [
    "AWS_ACCESS_KEY_ID is not set; DARKROOM_STORAGE needs it",
    "AWS_SECRET_ACCESS_KEY is not set; DARKROOM_STORAGE needs it",
  ]);
});

test("an address of a bucket that cannot be used is refused without being repeated", () => {
  const problems = problemsOf({ ...s3Environment, DARKROOM_STORAGE: "s3://key:very-secret@b" });
  assert.equal(problems.length, 1);
  assert.match(problems[0]!, /^DARKROOM_STORAGE \(not shown\) cannot be used; give s3:\/\/bucket/);
});

test("the password of a database is shown nowhere", () => {
  const config = parseConfig({ DARKROOM_DATABASE_URL: "postgres://user:very-secret@localhost/x" });
  const [problem = ""] = problemsOf({
    DARKROOM_DATABASE_URL: "mysql://user:very-secret@localhost",
  });
  const shown = `${inspect(config, { depth: 9 })}${JSON.stringify(config)}${problem}`;
  assert.doesNotMatch(shown, /very-secret/);
  assert.match(shown, /\*\*\*/);
});

/** The formatter pads the cells of a table, so neither spaces nor the lengths of rules count. */
function unpad(table: string): string {
  return table.trim().replaceAll(/ +/g, " ").replaceAll(/-+/g, "-");
}

test("docs/configuration.md holds the table of the variables as the code has them", () => {
  const file = new URL("../../docs/configuration.md", import.meta.url);
  const [before = "", rest = ""] = readFileSync(file, "utf8").split("<!-- variables -->");
  const [table = "", after = ""] = rest.split("<!-- /variables -->");
  assert.ok(before !== "" && after !== "", "the markers are there");
  if (process.env["UPDATE_DOCS"] === "1") {
    const parts = [before, "<!-- variables -->\n\n", renderVariables(), "\n\n<!-- /variables -->"];
    writeFileSync(file, [...parts, after].join(""));
    return;
  }
  assert.equal(
    unpad(table),
    unpad(renderVariables()),
    "run this test with UPDATE_DOCS=1 to write the table",
  );
});
