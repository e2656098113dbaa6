import { flushCompileCache } from "node:module";

import { createApp } from "../app.ts";
import type { App } from "../app.ts";
import { checkServable } from "../config.ts";
import type { Config } from "../config.ts";
import { openInstallation } from "../installation.ts";
import type { Installation } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import { UsageError } from "./command.ts";
import { makeFirstKey, makeSample } from "./first-start.ts";

/** Second signal: leave at once, as the database and the queue allow at any moment. */
const forcedExitCode = 130;

/** Runs the gateway until a signal stops it. */
export async function serve(config: Config, args: readonly string[]): Promise<number> {
  if (args.length > 0) throw new UsageError(`serve takes no words such as "${args[0]}" yet`);
  checkServable(config);
  const installation = await openInstallation(config);
  const app = createApp(installation);
  const stopped = stopOnSignal(installation, app);
  const address = await start(app, config);
  process.stdout.write(`darkroom ready ${address}\n`);
  // A process that is killed would not write it, and the next start would be slow again.
  flushCompileCache();
  await welcome(installation, app, address);
  return stopped;
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
async function welcome(installation: Installation, app: App, address: string): Promise<void> {
  const token = await makeFirstKey(installation);
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
  try {
    const link = await makeSample(installation.clock, app, { token, body });
    process.stdout.write(`\nA sample picture, made through that API just now:\n\n  ${link}\n\n`);
  } catch (error) {
    installation.log.error({ err: error }, "the sample picture could not be made");
  }
}

function stopOnSignal({ log }: Installation, app: App): Promise<number> {
  return new Promise((resolve) => {
    let stopping = false;
    const stop = (signal: NodeJS.Signals): void => {
      if (stopping) process.exit(forcedExitCode);
      stopping = true;
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
  });
}
