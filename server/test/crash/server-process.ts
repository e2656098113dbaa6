/** A gateway in a process of its own, as an operator starts it, and what is left of it when it dies. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, readlink } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";

import { systemClock } from "../../src/lib/time.ts";

export type Ending = { code: number | null; signal: NodeJS.Signals | null };

export type ServerProcess = {
  /** Milliseconds from the start to the ready line, or null when the process ended before it. */
  readonly ready: Promise<number | null>;
  isReady(): boolean;
  /** Resolves when the process is gone and its last line has been read. */
  readonly ended: Promise<Ending>;
  signal(name: NodeJS.Signals): void;
  /** What it wrote to standard error. */
  errors(): string;
  /** Command lines of processes that it has started and that still run; none where the system does not tell. */
  listRelatives(): Promise<string[]>;
};

export type ServerSettings = {
  /** The data folder. */
  folder: string;
  /** Working directory, used by no other process: whoever is found in it descends from this one. */
  place: string;
  port: number;
  /** A shell command that runs before the server and in its process: `ulimit -f 100`. */
  limit?: string;
};

const program = resolve(import.meta.dirname, "../../src/main.ts");

/** The settings of every process of these tests: pictures from the loopback address, a log of what goes wrong. */
export function environmentOf({ folder, port }: { folder: string; port: number }) {
  return {
    PATH: process.env["PATH"] ?? "",
    DARKROOM_DATA: folder,
    DARKROOM_PORT: String(port),
    DARKROOM_EGRESS_ALLOW: "127.0.0.0/8",
    DARKROOM_LOG_LEVEL: "warn",
  };
}

export async function startServer(settings: ServerSettings): Promise<ServerProcess> {
  const { place, limit } = settings;
  await mkdir(place, { recursive: true });
  const begun = systemClock.monotonic();
  const command = [process.execPath, program, "serve"];
  const [file = "", ...args] =
    limit === undefined ? command : ["/bin/sh", "-c", `${limit}; exec "$@"`, "sh", ...command];
  const child = spawn(file, args, {
    cwd: place,
    env: environmentOf(settings),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ready = Promise.withResolvers<number | null>();
  let output = "";
  let errors = "";
  const isReady = (): boolean => output.includes("darkroom ready ");
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    output += chunk;
    if (isReady()) ready.resolve(systemClock.monotonic() - begun);
  });
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    errors += chunk;
  });
  const ended = once(child, "close").then(([code, signal]): Ending => {
    ready.resolve(null);
    // What `close` of a child process tells.
    return { code: code as number | null, signal: signal as NodeJS.Signals | null };
  });
  return {
    ready: ready.promise,
    isReady,
    ended,
    signal: (name) => void child.kill(name),
    errors: () => errors,
    listRelatives: () => listProcessesIn(place),
  };
}

export async function listProcessesIn(place: string): Promise<string[]> {
  const pids = (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found: string[] = [];
  for (const pid of pids) {
    // A process that has ended, and is only waited for, is in no folder.
    if ((await readlink(`/proc/${pid}/cwd`).catch(() => "")) !== place) continue;
    const words = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (words !== "") found.push(words.replaceAll("\0", " ").trim());
  }
  return found;
}

/** Runs an operator command with `--json` and gives what it printed; throws when it fails. */
export async function runOperator(folder: string, words: readonly string[]): Promise<unknown> {
  const child = spawn(process.execPath, [program, ...words, "--json"], {
    env: environmentOf({ folder, port: 0 }),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const closed = once(child, "close");
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  await closed;
  if (output === "") throw new Error(`${words.join(" ")} printed nothing: ${errors}`);
  return JSON.parse(output) as unknown;
}

/** A new key of a new account. */
export async function createTestKey(folder: string, account: string): Promise<string> {
  await runOperator(folder, ["accounts", "create", account]);
  return addTestKey(folder, account);
}

/** One more test key of an account. */
export async function addTestKey(folder: string, account: string): Promise<string> {
  const words = ["keys", "create", "--account", account, "--mode", "test", "--name", "crash"];
  const { key } = (await runOperator(folder, words)) as { key: string };
  return key;
}

/**
 * A free port below those that systems give to outgoing connections: between two lives of a server nobody
 * must take its port, not even a client that connects to it from the very port it connects to.
 */
export async function findFreePort(): Promise<number> {
  for (let port = 20_000 + (process.pid % 10_000); port < 32_000; port += 1) {
    const server = createServer();
    const isFree = new Promise<boolean>((settle) => {
      server.once("error", () => settle(false));
      server.listen(port, "127.0.0.1", () => settle(true));
    });
    if (!(await isFree)) continue;
    // A TCP server that listens has a port.
    const { port: found } = server.address() as AddressInfo;
    server.close();
    await once(server, "close");
    return found;
  }
  throw new Error("no port is free between 20000 and 32000");
}

/** The folder of a process's working directories, beside its data. */
export function placeOf(root: string, life: number): string {
  return join(root, `life-${life}`);
}
