/** The real command line: `serve` as a process of its own, and operator commands beside it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";

import { databaseSettings } from "./api-database.ts";
import { testEnvironment } from "./app.ts";
import type { Settings } from "./app.ts";

const program = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

export type CommandResult = { code: number | null; stdout: string; stderr: string };

/** Runs one command on a data folder to its end; `input` is what it reads on standard input. */
export async function runCommand(
  folder: string,
  args: readonly string[],
  settings: Settings = {},
  input = "",
): Promise<CommandResult> {
  const child = startNode(folder, args, { ...(await databaseSettings(folder)), ...settings });
  // A command that reads no input may have ended before it is written.
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const code = await exitOf(child);
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

/**
 * Runs a command with `--json`. Fails unless it succeeds, says nothing on standard error, and prints
 * exactly one JSON object on one line.
 */
export async function runJson<Body>(
  folder: string,
  args: readonly string[],
  settings: Settings = {},
): Promise<Body> {
  const { code, stdout, stderr } = await runCommand(folder, [...args, "--json"], settings);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" }, `${args.join(" ")}: ${stderr}`);
  return parseOnly(stdout);
}

/** The one JSON object that a standard output is. */
export function parseOnly<Body>(stdout: string): Body {
  assert.match(stdout, /^\{.*\}\n$/);
  // The test reads what it expects of it, and fails where that is not there.
  return JSON.parse(stdout) as Body;
}

export type ServerProcess = {
  origin: string;
  pid: number;
  stdout(): string;
  stderr(): string;
  /** Resolves when standard output holds the words. */
  printed(words: RegExp): Promise<string>;
  kill(signal: NodeJS.Signals): void;
  /** Resolves with the exit code, or the signal that ended it. */
  ended: Promise<number | NodeJS.Signals>;
};

/** Starts `serve` and waits for its ready line. The caller ends it. */
export async function startServer(
  folder: string,
  settings: Settings = {},
  role?: "api" | "worker",
): Promise<ServerProcess> {
  const args = role === undefined ? ["serve"] : ["serve", "--role", role];
  const child = startNode(folder, args, { ...(await databaseSettings(folder)), ...settings });
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const ended = new Promise<number | NodeJS.Signals>((resolve) => {
    child.once("close", (code, signal) => resolve(code ?? signal ?? "SIGKILL"));
  });
  const printed = async (words: RegExp): Promise<string> => {
    const found = await stdout.until(words);
    assert.ok(found, `ended without ${words}: ${stdout.text()}${stderr.text()}`);
    return stdout.text();
  };
  const ready = await printed(/^darkroom ready \S+\n/);
  return {
    origin: ready.split("\n")[0]!.slice("darkroom ready ".length),
    pid: child.pid!,
    stdout: stdout.text,
    stderr: stderr.text,
    printed,
    kill: (signal) => child.kill(signal),
    ended,
  };
}

function startNode(folder: string, args: readonly string[], settings: Settings) {
  const env = { PATH: process.env["PATH"] ?? "", ...testEnvironment(folder, settings) };
  return spawn(process.execPath, [program, ...args], {
    env,
    stdio: ["pipe", "pipe", "pipe"],
  });
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code));
  });
}

/** What a stream has said so far; `until` resolves with false when it ends without the words. */
function collect(stream: NodeJS.ReadableStream) {
  let said = "";
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    said += text;
  });
  return {
    text: () => said,
    until: (words: RegExp): Promise<boolean> =>
      new Promise((resolve) => {
        const check = (): void => {
          if (words.test(said)) resolve(true);
        };
        stream.on("data", check);
        stream.once("close", () => resolve(words.test(said)));
        check();
      }),
  };
}
