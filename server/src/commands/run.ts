/** Finds the command on the command line, runs it, and turns what happens into output and an exit code. */
import { parseArgs } from "node:util";

import manifest from "../../package.json" with { type: "json" };
import { ConfigError, parseConfig } from "../config.ts";
import { findOperatorText } from "../db/errors.ts";
import { openInstallation } from "../installation.ts";
import { AppError } from "../lib/errors.ts";
import { redact } from "../lib/log.ts";
import { SecretFileError } from "../lib/secrets.ts";
import { StorageError } from "../storage/storage.ts";
import { accountCommands } from "./accounts.ts";
import { backupCommands } from "./backup.ts";
import { channelCommands } from "./channels.ts";
import { nameOption, UsageError } from "./command.ts";
import type { Command, CommandInput } from "./command.ts";
import { doctorCommands } from "./doctor.ts";
import { keyCommands } from "./keys.ts";
import { migrateCommands } from "./migrate-to.ts";
import { priceCommands } from "./prices.ts";
import { serve } from "./serve.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const commands: readonly Command[] = [
  ...keyCommands,
  ...accountCommands,
  ...priceCommands,
  ...channelCommands,
  ...doctorCommands,
  ...backupCommands,
  ...migrateCommands,
];

export const exitCodes = { ok: 0, failed: 1, usage: 2 } as const;

/** Resolves with the exit code: 0 done, 1 refused or failed, 2 the command line or configuration is wrong. */
export async function runCommand(args: readonly string[], env: Environment): Promise<number> {
  try {
    const [first] = args;
    if (first === undefined || first === "help" || args.includes("--help") || first === "-h") {
      process.stdout.write(`${renderHelp()}\n`);
      return first === undefined ? exitCodes.usage : exitCodes.ok;
    }
    if (first === "--version") {
      process.stdout.write(`${manifest.version}\n`);
      return exitCodes.ok;
    }
    const family = findFamily(args);
    if (family.length > 0) {
      process.stdout.write(`${renderCommands(family)}\n`);
      return args.length === 1 ? exitCodes.usage : exitCodes.ok;
    }
    if (first === "serve") return await serve(parseConfig(env), args.slice(1));
    return await runOne(args, env);
  } catch (error) {
    return reportError(error);
  }
}

async function runOne(args: readonly string[], env: Environment): Promise<number> {
  const command = findCommand(args);
  const rest = args.slice(command.name.split(" ").length);
  const { input, json } = parseInput(command, rest, env);
  const config = parseConfig({ DARKROOM_LOG_LEVEL: "warn", ...env });
  const installation = await openInstallation(config, command.purpose ?? "command");
  try {
    const result = await command.run(installation, input).catch((error: unknown) => {
      throw nameOption(error, command.options);
    });
    process.stdout.write(json ? `${JSON.stringify(result.json)}\n` : `${result.text}\n`);
    return result.ok === false ? exitCodes.failed : exitCodes.ok;
  } finally {
    await installation.close();
  }
}

/** The commands of a family, when its name alone was typed, or its name and `help`; else none. */
function findFamily([first = "", second = "help", ...rest]: readonly string[]): Command[] {
  if (second !== "help" || rest.length > 0) return [];
  return commands.filter(({ name }) => name.startsWith(`${first} `));
}

function findCommand(args: readonly string[]): Command {
  const found = commands.find(({ name }) => {
    const words = name.split(" ");
    return words.every((word, index) => args[index] === word);
  });
  if (found !== undefined) return found;
  const words = args.slice(0, 2).join(" ");
  throw new UsageError(`"${words}" is not a command; "help" lists all of them`);
}

function parseInput(
  command: Command,
  args: readonly string[],
  env: Environment,
): { input: CommandInput; json: boolean } {
  const { values, positionals } = parseCommandLine(command, args);
  const wanted = command.positionals.filter((name) => !name.endsWith("?")).length;
  if (positionals.length < wanted || positionals.length > command.positionals.length) {
    throw new UsageError(`use: ${command.name} ${command.usage}`);
  }
  const option = (name: string): string | null => {
    const value = values[name];
    return typeof value === "string" ? value : null;
  };
  const input: CommandInput = {
    option,
    required: (name) => {
      const value = option(name);
      if (value === null)
        throw new UsageError(`--${name} is missing; use: ${command.name} ${command.usage}`);
      return value;
    },
    flag: (name) => values[name] === true,
    word: (index) => positionals[index] ?? null,
    variable: (name) => env[name] || null,
    readStandardInput,
  };
  return { input, json: values["json"] === true };
}

async function readStandardInput(bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of process.stdin) {
    const bytes = Buffer.from(chunk as Buffer); // no encoding is set, so these are bytes
    length += bytes.length;
    if (length > bytesMax) {
      throw new UsageError(`standard input is longer than ${bytesMax} bytes`);
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseCommandLine(command: Command, args: readonly string[]): CommandLine {
  const options: Command["options"] = { ...command.options, json: { type: "boolean" } };
  try {
    return parseArgs({ args: joinNegatives(args, options), options, allowPositionals: true });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const [problem = ""] = error.message.split(/\. |\n/);
    throw new UsageError(`${describeProblem(problem)}; use: ${command.name} ${command.usage}`);
  }
}

/** To Node `-1` behind an option is an option too; of ours none begins with a digit. */
function joinNegatives(args: readonly string[], options: Command["options"]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const last = joined.at(-1) ?? "";
    const isValue =
      /^-\d/.test(arg) && last.startsWith("--") && options[last.slice(2)]?.type === "string";
    if (isValue) joined[joined.length - 1] = `${last}=${arg}`;
    else joined.push(arg);
  }
  return joined;
}

/** Node's words, except where they speak of its own syntax. */
function describeProblem(problem: string): string {
  const [, option] =
    /^Option '(--[\w-]+)(?: <value>)?' argument (?:is ambiguous|missing)/.exec(problem) ?? [];
  return option === undefined ? problem : `${option} has no value`;
}

type CommandLine = {
  values: Readonly<Record<string, unknown>>;
  positionals: readonly string[];
};

function renderHelp(): string {
  return [
    "Darkroom: a self-hosted gateway to every image model.",
    "",
    "  serve [--role all|api|worker]\n      Runs the gateway. docs/configuration.md lists its environment variables.",
    renderCommands(commands),
    "",
    "Every command but serve takes --json: standard output is then one JSON object.",
  ].join("\n");
}

function renderCommands(list: readonly Command[]): string {
  return list.map(({ name, usage, summary }) => `  ${name} ${usage}\n      ${summary}`).join("\n");
}

function reportError(error: unknown): number {
  if (error instanceof UsageError || error instanceof ConfigError) {
    process.stderr.write(`${error.message}\n`);
    return exitCodes.usage;
  }
  const databaseText = findOperatorText(error);
  if (databaseText !== null) {
    process.stderr.write(`${redact(databaseText)}\n`);
    return exitCodes.failed;
  }
  if (
    error instanceof AppError ||
    error instanceof SecretFileError ||
    error instanceof StorageError
  ) {
    process.stderr.write(`${error.message}\n`);
    return exitCodes.failed;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`an internal error: ${redact(text, 4_000)}\n`);
  return exitCodes.failed;
}
