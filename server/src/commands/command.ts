import type { ParseArgsConfig } from "node:util";

import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { formatUsd, parsedUsdMax, parseUsd } from "../lib/money.ts";
import type { Installation } from "../installation.ts";

/** One operator command. It works beside a running server, in transactions of a few milliseconds. */
export type Command = {
  /** What is typed: `keys create`. */
  name: string;
  /** The words after it, as the help shows them. */
  usage: string;
  summary: string;
  options: NonNullable<ParseArgsConfig["options"]>;
  /** Names of the words without a dash, in order; a last one ending in `?` may be left out. */
  positionals: readonly string[];
  /** Set for a move: it alone opens an installation that has moved. */
  purpose?: "move";
  run(installation: Installation, input: CommandInput): Promise<CommandResult>;
};

export type CommandInput = {
  /** Value of an option that takes one, or null. */
  option(name: string): string | null;
  /** Throws `UsageError` when it was not given. */
  required(name: string): string;
  flag(name: string): boolean;
  /** The word at a place of `positionals`, or null. */
  word(index: number): string | null;
  /** Value of an environment variable, or null when it is not set or empty. */
  variable(name: string): string | null;
  /** Everything on standard input. Throws `UsageError` past `bytesMax`. */
  readStandardInput(bytesMax: number): Promise<string>;
};

export type CommandResult = {
  /** For people. */
  text: string;
  /** For machines, printed alone with `--json`. */
  json: JsonObject;
  /** False ends the process with exit code 1. */
  ok?: boolean;
};

/** The command line itself is wrong; answered with the usage, exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

/** A list as aligned columns. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return [line(head), ...rows.map(line)].join("\n");
}

/** Parses an option that is a whole number; throws `UsageError`. */
export function parseWhole(name: string, text: string): number {
  const value = Number(text);
  if (!/^\d{1,15}$/.test(text) || !Number.isSafeInteger(value)) {
    throw new UsageError(`--${name} "${text}" is not a whole number`);
  }
  return value;
}

/** Parses an option that is an amount in USD, as micro-USD of at least 0; throws `UsageError`. */
export function parseAmount(name: string, text: string): number {
  return parseUsdOf(`--${name}`, text, { min: 0 });
}

/** Parses an amount in USD, as micro-USD of at least `min`; `place` is what was typed before it. Throws `UsageError`. */
export function parseUsdOf(place: string, text: string, { min }: { min: number }): number {
  const micros = parseUsd(text);
  if (micros !== null && micros >= min) return micros;
  throw new UsageError(
    `${place} "${text}" is not an amount in USD such as 12.50; ` +
      `use ${formatUsd(min)} to ${formatUsd(parsedUsdMax)}, with at most six decimals`,
  );
}

/** Rooms below name a field as the API has it; these options are called otherwise. */
const optionNames = new Map([["requests_per_minute", "rpm"]]);

/** A refusal in the words of the command line: led by the option that was typed, where the field has one. */
export function nameOption(error: unknown, options: Command["options"]): unknown {
  if (!(error instanceof AppError) || error.param === undefined) return error;
  const { param, reason, message } = error;
  const option = optionNames.get(param) ?? param.replaceAll("_", "-");
  const rest = message.slice(param.length);
  const isLed = message.startsWith(param) && /^[ :]/.test(rest);
  if (!isLed || !Object.hasOwn(options, option)) return error;
  return new AppError(reason, `--${option}${rest}`, { param, cause: error });
}

/** The account of a name; throws `AppError` when there is none. */
export async function loadAccount(
  { accounts }: Installation,
  name: string,
): Promise<{ id: string; name: string }> {
  const account = await accounts.findAccountByName(name);
  if (account !== null) return account;
  throw new AppError("invalid_parameter", `account "${name}" does not exist; see "accounts list"`);
}

/** Unix milliseconds as people and machines both read them: ISO 8601, UTC. */
export function formatTime(ms: number | null): string {
  return ms === null ? "-" : new Date(ms).toISOString().replace(".000Z", "Z");
}
