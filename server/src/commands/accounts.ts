import { parseRatio } from "../accounts/accounts.ts";
import type { Account, AccountSettings } from "../accounts/accounts.ts";
import { loadBook } from "../billing/balance.ts";
import { credit } from "../billing/ledger.ts";
import type { Installation } from "../installation.ts";
import type { JsonObject } from "../lib/json.ts";
import { formatUsd, toUsd } from "../lib/money.ts";
import { toUnixSeconds } from "../lib/time.ts";
import {
  formatTable,
  loadAccount,
  parseAmount,
  parseUsdOf,
  parseWhole,
  UsageError,
} from "./command.ts";
import type { Command, CommandInput } from "./command.ts";

const string = { type: "string" } as const;

export const accountCommands: readonly Command[] = [
  {
    name: "accounts create",
    usage: "NAME",
    summary: "Makes an account with an empty live balance.",
    options: {},
    positionals: ["NAME"],
    run: createAccount,
  },
  {
    name: "accounts list",
    usage: "",
    summary: "Lists all accounts with their live balances.",
    options: {},
    positionals: [],
    run: listAccounts,
  },
  {
    name: "accounts credit",
    usage: "NAME USD --note TEXT [--reference ID]",
    summary: "Adds money to an account's live balance; a reference is credited only once.",
    options: { note: string, reference: string },
    positionals: ["NAME", "USD"],
    run: creditAccount,
  },
  {
    name: "accounts set",
    usage: "NAME [--ratio R] [--rpm N|none] [--tasks-in-flight N|none] [--spend-per-day USD|none]",
    summary:
      "Sets what an account pays of the list prices, and limits over all its keys, live and test apart.",
    options: { ratio: string, rpm: string, "tasks-in-flight": string, "spend-per-day": string },
    positionals: ["NAME"],
    run: setAccount,
  },
];

async function createAccount({ accounts }: Installation, input: CommandInput) {
  const account = await accounts.createAccount(input.word(0) ?? "");
  return { text: `account ${account.name} (${account.id})`, json: presentAccount(account) };
}

async function listAccounts(installation: Installation) {
  const all: (Account & { available: number; held: number })[] = [];
  for (let after = ""; ;) {
    const page = await installation.accounts.listAccounts({ after });
    for (const account of page)
      all.push({ ...account, ...(await liveBook(installation, account)) });
    const last = page.at(-1);
    if (last === undefined) break;
    after = last.id;
  }
  const rows = all.map((account) => [
    account.id,
    account.name,
    String(account.ratioPpm / 1_000_000),
    formatUsd(account.available),
    formatUsd(account.held),
  ]);
  return {
    text: formatTable(["ID", "NAME", "RATIO", "BALANCE USD", "HELD USD"], rows),
    json: {
      accounts: all.map((account) => ({
        ...presentAccount(account),
        balance: toUsd(account.available),
        held: toUsd(account.held),
      })),
    },
  };
}

async function creditAccount(installation: Installation, input: CommandInput) {
  const { db, clock, ids } = installation;
  const account = await loadAccount(installation, input.word(0) ?? "");
  const amount = parseUsdOf("USD", input.word(1) ?? "", { min: 1 });
  const reference = notBlank("reference", input.option("reference") ?? ids("request"));
  const note = notBlank("note", input.required("note"));
  const added = await db.transaction((tx) =>
    credit(tx, { accountId: account.id, mode: "live", amount, reference, note, now: clock.now() }),
  );
  await db.durable();
  const { available } = await liveBook(installation, account);
  const what = added
    ? `credited ${formatUsd(amount)} USD to`
    : "nothing to do: already credited to";
  return {
    text: `${what} ${account.name}; its balance is ${formatUsd(available)} USD`,
    json: {
      id: account.id,
      name: account.name,
      credited: added,
      amount: toUsd(amount),
      reference,
      balance: toUsd(available),
    },
  };
}

/** Both are what somebody later finds the credit by. */
function notBlank(name: string, text: string): string {
  if (text.trim() !== "") return text;
  throw new UsageError(`--${name} "${text}" is blank; say what the credit is for`);
}

async function setAccount({ accounts }: Installation, input: CommandInput) {
  const ratio = input.option("ratio");
  const settings = {
    ...(ratio === null ? {} : { ratioPpm: parseRatio(ratio) }),
    ...readLimit(input, "rpm", (requestsPerMinute) => ({ requestsPerMinute }), parseWhole),
    ...readLimit(input, "tasks-in-flight", (tasksInFlight) => ({ tasksInFlight }), parseWhole),
    ...readLimit(input, "spend-per-day", (spendPerDay) => ({ spendPerDay }), parseAmount),
  };
  if (Object.keys(settings).length === 0) {
    throw new UsageError(
      "nothing to set; give --ratio, --rpm, --tasks-in-flight or --spend-per-day",
    );
  }
  const account = await accounts.setAccount(input.word(0) ?? "", settings);
  return { text: describeAccount(account), json: presentAccount(account) };
}

/** The setting of an option: a number, null for `none`, or nothing when the option was not given. */
function readLimit(
  input: CommandInput,
  name: string,
  toSetting: (value: number | null) => AccountSettings,
  parse: (name: string, text: string) => number,
): AccountSettings {
  const text = input.option(name);
  if (text === null) return {};
  return toSetting(text === "none" ? null : parse(name, text));
}

function describeAccount({ name, ratioPpm, limits }: Account): string {
  const { requestsPerMinute, tasksInFlight, spendPerDay } = limits;
  return [
    `account ${name} pays ${ratioPpm / 1_000_000} of the list prices`,
    ...(requestsPerMinute === null ? [] : [`${requestsPerMinute} requests a minute`]),
    ...(tasksInFlight === null ? [] : [`${tasksInFlight} tasks under way at once`]),
    ...(spendPerDay === null ? [] : [`${formatUsd(spendPerDay)} USD a day`]),
  ].join("; ");
}

function liveBook(
  { db }: Installation,
  account: { id: string },
): Promise<{ available: number; held: number }> {
  return loadBook(db.read, { accountId: account.id, mode: "live" });
}

/** Wire names and units; what sets no limit is absent. */
function presentAccount(account: Account): JsonObject {
  const { requestsPerMinute, tasksInFlight, spendPerDay } = account.limits;
  return {
    id: account.id,
    name: account.name,
    ratio: account.ratioPpm / 1_000_000,
    ...(requestsPerMinute === null ? {} : { requests_per_minute: requestsPerMinute }),
    ...(tasksInFlight === null ? {} : { tasks_in_flight: tasksInFlight }),
    ...(spendPerDay === null ? {} : { spend_per_day: toUsd(spendPerDay) }),
    created: toUnixSeconds(account.createdAt),
  };
}
