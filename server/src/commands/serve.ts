import { flushCompileCache } from "node:module";
import { parseArgs } from "node:util";

import { createApp } from "../app.ts";
import type { App } from "../app.ts";
import type { Config } from "../config.ts";
import { openInstallation, roles } from "../installation.ts";
import type { Installation, Role } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import { releaseMemory } from "../lib/heap.ts";
import type { Clock } from "../lib/time.ts";
import { UsageError } from "./command.ts";
import { makeFirstKey, makeSample } from "./first-start.ts";

/** Second signal: leave at once, as the database and the queue allow at any moment. */
const forcedExitCode = 130;
const parentAskedMs = 500;

/** Runs the gateway until a signal stops it. */
export async function serve(config: Config, args: readonly string[]): Promise<number> {
  const role = parseRole(config, args);
  const installation = await openInstallation(config);
  warnOfDisk(installation, role);
  warnOfAddress(installation, role);
  const app = createApp(installation, role);
  const { stopped, stopping } = stopOnSignal(installation, app);
  const address = await start(app, config);
  process.stdout.write(`darkroom ready ${address}\n`);
  // A process that is killed would not write it, and the next start would be slow again.
  flushCompileCache();
  if (role !== "worker") await welcome(installation, app, { address, role, stopping });
  releaseMemory();
  return stopped;
}

function parseRole({ data }: Config, args: readonly string[]): Role {
  const role = roles.find((known) => known === readRole(args));
  if (role === undefined) throw new UsageError(`--role takes one of ${roles.join(", ")}`);
  if (role !== "all" && data.database.kind === "sqlite") {
    throw new UsageError(
      `--role ${role} needs a database that other nodes share: set DARKROOM_DATABASE_URL to a PostgreSQL database`,
    );
  }
  return role;
}

function readRole(args: readonly string[]): string {
  try {
    return parseArgs({ args: [...args], options: { role: { type: "string", default: "all" } } })
      .values.role;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UsageError(
      `${error.message.split(". ")[0]}; use: serve [--role all|api|worker]. ` +
        "Other commands do without the word serve: npx node server/src/main.ts help",
    );
  }
}

function warnOfDisk({ config, log }: Installation, role: Role): void {
  const { storage } = config.data;
  if (role === "all" || storage.kind !== "disk") return;
  log.warn(
    { folder: storage.folder },
    "pictures are kept in this folder, which every node must reach under the same files; " +
      "set DARKROOM_STORAGE to an S3 bucket, or share the folder",
  );
}

function warnOfAddress({ config, log }: Installation, role: Role): void {
  if (role === "all" || config.http.publicUrl !== null) return;
  log.warn(
    "links begin with the address of the node that gives them, and those that a worker sends in webhooks lead " +
      "nowhere; set DARKROOM_PUBLIC_URL to the address under which callers reach the API",
  );
}

/** Resolves with the address. What a start has begun before it failed is stopped again. */
async function start(app: App, { http }: Config): Promise<string> {
  try {
    return await app.start();
  } catch (error) {
    // The reason for the failed start is what the operator needs, not what a stop makes of it.
    await app.stop().catch(() => undefined);
    const isAddress = error instanceof Error && "syscall" in error && error.syscall === "listen";
    if (!isAddress) throw error;
    throw new AppError(
      "unavailable",
      `cannot listen on ${http.host}, port ${http.port}: ${error.message}; ` +
        "set DARKROOM_HOST and DARKROOM_PORT to an address of this machine and a free port",
      { cause: error },
    );
  }
}

/** On the first start: a key to try things with, and a picture to see that everything works. */
async function welcome(
  installation: Installation,
  app: App,
  { address, role, stopping }: { address: string; role: Role; stopping: AbortSignal },
): Promise<void> {
  const token = await findFirstKey(installation);
  if (token === null) return;
  const body = JSON.stringify({
    model: "gemini-3.1-flash-lite-image",
    prompt: "A lighthouse at dusk, seen from the sea",
    size: "16:9",
  });
  const lines = [
    "",
    'First start: made the account "default" and a test key, shown only now:',
    "",
    `  ${token}`,
    "",
    "Ask for a picture:",
    "",
    `  curl ${address}/v1/images/generations -H "Authorization: Bearer ${token}" -H "Content-Type: application/json" -d '${body}'`,
    "",
    "Ask how it is going, with the task_id of the reply:",
    "",
    `  curl -H "Authorization: Bearer ${token}" ${address}/v1/tasks/TASK_ID`,
    "",
  ];
  process.stdout.write(lines.join("\n"));
  // A worker may not be running yet.
  if (role === "api") return;
  try {
    const link = await makeSample(installation.clock, app, { token, body });
    process.stdout.write(`\nA sample picture, made through that API just now:\n\n  ${link}\n\n`);
  } catch (error) {
    // One that a stop has ended is nobody's fault.
    if (stopping.aborted) return;
    installation.log.error({ err: error }, "the sample picture could not be made");
  }
}

/** Of nodes that start for the first time together, one makes the key. */
async function findFirstKey(installation: Installation): Promise<string | null> {
  try {
    return await makeFirstKey(installation);
  } catch (error) {
    if (!(error instanceof AppError) || installation.db.dialect === "sqlite") throw error;
    installation.log.warn({ err: error }, "the first key was not made here");
    return null;
  }
}

type Stop = {
  /** Resolves with the exit code when everything has stopped. */
  stopped: Promise<number>;
  /** Aborted by the first signal. */
  stopping: AbortSignal;
};

function stopOnSignal({ clock, log }: Installation, app: App): Stop {
  const stopping = new AbortController();
  const { promise: stopped, resolve } = Promise.withResolvers<number>();
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping.signal.aborted) process.exit(forcedExitCode);
    stopping.abort();
    log.info({ signal }, "stopping");
    app.stop().then(
      () => resolve(0),
      (error: unknown) => {
        log.error({ err: error }, "the stop failed");
        resolve(1);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  stopAfterNpm(clock, () => {
    if (!stopping.signal.aborted) stop("SIGTERM");
  });
  return { stopped, stopping: stopping.signal };
}

/**
 * npm and the shell that it starts end on a signal without passing it on. A server of theirs then belongs to
 * another process, and stops as if it had been sent the signal itself.
 */
function stopAfterNpm(clock: Clock, stop: () => void): void {
  if (process.env["npm_lifecycle_event"] !== "start") return;
  const parentId = process.ppid;
  const look = (): void => {
    if (process.ppid === parentId) clock.after(parentAskedMs, look);
    else stop();
  };
  clock.after(parentAskedMs, look);
}
