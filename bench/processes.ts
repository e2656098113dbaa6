/** Starts and ends the servers that are measured; each is a process of its own. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type Server = {
  url: string;
  /** Everything on standard output so far. */
  output(): string;
  /** Milliseconds from the spawn to the ready line. */
  readyMs: number;
  /** Resident memory of the process itself, in MB. */
  rssMb(): Promise<number>;
  stop(): Promise<void>;
};

const root = join(import.meta.dirname, "..");

export function startBare(task: string): Promise<Server> {
  return start(["bench/bare-server.ts", task], {});
}

export type Gateway = Server & { token: string; folder: string };

/** A gateway on a fresh data folder, or on one from an earlier run. */
export async function startGateway(
  env: Record<string, string> = {},
  folder?: string,
): Promise<Gateway> {
  const data = folder ?? (await mkdtemp(join(tmpdir(), "darkroom-bench-")));
  const server = await start(["server/src/main.ts", "serve"], {
    DARKROOM_DATA: data,
    DARKROOM_PORT: "0",
    DARKROOM_LOG_LEVEL: "error",
    ...env,
  });
  const token = folder === undefined ? await findToken(server) : "";
  return { ...server, token, folder: data };
}

export function removeFolder(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true });
}

/** The sample picture's link is the last thing a first start prints. */
async function findToken(server: Server): Promise<string> {
  for (;;) {
    const token = /sk-test-\w+/.exec(server.output())?.[0];
    if (token !== undefined && /\/f\/\S+\n/.test(server.output())) return token;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function start(args: string[], env: Record<string, string>): Promise<Server> {
  const begun = performance.now();
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8");
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.on("data", (text: string) => {
      output += text;
      const ready = /ready (http:\S+)/.exec(output)?.[1];
      if (ready !== undefined) resolve(ready);
    });
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return {
    url,
    readyMs: performance.now() - begun,
    output: () => output,
    rssMb: () => readRss(child),
    stop: () => stop(child),
  };
}

async function readRss(child: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${child.pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1_024;
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  const killer = setTimeout(() => child.kill("SIGKILL"), 15_000);
  await once(child, "exit");
  clearTimeout(killer);
}
