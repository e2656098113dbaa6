import { parseRatio } from "../accounts/accounts.ts";
import type { Account } from "../accounts/accounts.ts";
import { loadBook } from "../billing/balance.ts";
import { credit } from "../billing/ledger.ts";
import type { Installation } from "../installation.ts";
import type { JsonObject } from "../lib/json.ts";
import { formatUsd, parseUsd, toUsd } from "../lib/money.ts";
import { toUnixSeconds } from "../lib/time.ts";
import { formatTable, loadAccount, UsageError } from "./command.ts";
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
    usage: "NAME --ratio R",
    summary: "Sets the ratio that an account pays of the list prices, from the next submit on.",
    options: { ratio: string },
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
  const amount = parseUsd(input.word(1) ?? "");
  if (amount === null || amount <= 0) {
    throw new UsageError(`"${input.word(1)}" is not an amount in USD such as 12.50`);
  }
  const reference = input.option("reference") ?? ids("request");
  const note = input.required("note");
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

async function setAccount({ accounts }: Installation, input: CommandInput) {
  const ratioPpm = parseRatio(input.required("ratio"));
  const account = await accounts.setRatio(input.word(0) ?? "", ratioPpm);
  return {
    text: `account ${account.name} pays ${account.ratioPpm / 1_000_000} of the list prices`,
    json: presentAccount(account),
  };
}

function liveBook(
  { db }: Installation,
  account: { id: string },
): Promise<{ available: number; held: number }> {
  return loadBook(db.read, { accountId: account.id, mode: "live" });
}

function presentAccount(account: Account): JsonObject {
  return {
    id: account.id,
    name: account.name,
    ratio: account.ratioPpm / 1_000_000,
    created: toUnixSeconds(account.createdAt),
  };
}
