/** Operator commands beside a running gateway. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

import type { Gateway } from "./processes.ts";

const run = promisify(execFile);
const main = join(import.meta.dirname, "..", "server", "src", "main.ts");

/** What the command prints. */
export async function operate(gateway: Gateway, args: readonly string[]): Promise<string> {
  const env = { ...process.env, DARKROOM_DATA: gateway.folder };
  const { stdout } = await run(process.execPath, [main, ...args], { env });
  return stdout;
}

/** A live key of the account `default`, which has money. */
export async function createLiveKey(gateway: Gateway): Promise<string> {
  await operate(gateway, ["accounts", "credit", "default", "100000", "--note", "bench"]);
  const made = await operate(gateway, ["keys", "create", "--mode", "live", "--name", "bench"]);
  const token = /sk-live-\w+/.exec(made)?.[0];
  if (token === undefined) throw new Error(`no key was made: ${made}`);
  return token;
}
