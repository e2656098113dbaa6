/** Starts and ends the servers that are measured; each is a process of its own. */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

export type Server = {
  url: string;
  pid: number;
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

/** An upstream that answers `together` requests at a time. */
export function startVendor(together: number): Promise<Server> {
  return start(["bench/vendor-emulator.ts", String(together)], {});
}

/** Portkey says on standard output that it is ready, but not where; the port is the caller's to choose. */
export async function startPortkey(): Promise<Server> {
  const port = await findFreePort();
  const program = "bench/node_modules/@portkey-ai/gateway/build/start-server.js";
  const url = `http://127.0.0.1:${port}`;
  const env = { NODE_ENV: "production" };
  return start([program, `--port=${port}`, "--headless"], env, async () => {
    for (;;) {
      if (
        await fetch(url).then(
          ({ ok }) => ok,
          () => false,
        )
      )
        return url;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  });
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
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

/** Runs an operator's command on a gateway's folder; what it prints as JSON. */
export async function runCommand<Body>(
  { folder }: Gateway,
  args: readonly string[],
): Promise<Body> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["server/src/main.ts", ...args, "--json"],
    { cwd: root, env: { ...process.env, DARKROOM_DATA: folder } },
  );
  // The bench reads what it needs of it, and ends where that is not there.
  return JSON.parse(stdout) as Body;
}

/** `untilReady` tells the address of a server that does not print it. */
export async function start(
  args: string[],
  env: Record<string, string>,
  untilReady?: () => Promise<string>,
): Promise<Server> {
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
    void untilReady?.().then(resolve);
  });
  return {
    url,
    pid: child.pid ?? 0,
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
