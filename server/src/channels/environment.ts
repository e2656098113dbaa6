/**
 * Channels that variables of the environment stand for. They are rows like all others, so that every node
 * knows them and attempts can name them; the server's start brings them up to date.
 */
import type { Database, Tx } from "../db/database.ts";
import type { ChannelRow } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Clock } from "../lib/time.ts";
import type { Vault } from "../lib/vault.ts";
import type { CatalogueRow } from "../providers/registry.ts";
import { changeRow, newRow, noFault, notDisabled, sealKey, vaultName } from "./add.ts";
import { checkChannel, findRetired } from "./check.ts";
import { toColumns } from "./settings.ts";
import type { ChannelSettings } from "./settings.ts";
import { findChannelRow, insertChannel } from "./store.ts";

/** What the environment says about one provider. */
export type EnvironmentAccount = {
  /** Name of the provider, and of its channel. */
  name: string;
  /** The variable that holds the key. */
  variable: string;
  /** Null while the variable is not set. */
  secret: string | null;
  /** Null for the vendor's own. */
  baseUrl: string | null;
};

export type EnvironmentDeps = {
  db: Pick<Database, "transaction" | "durable">;
  clock: Pick<Clock, "now">;
  vault: Vault;
  log: Pick<Log, "info" | "warn">;
  models: readonly CatalogueRow[];
};

type Outcome = "added" | "changed" | "disabled" | "unchanged" | "overridden";

/**
 * Makes, changes or disables the channel of each account; a channel that the operator made under the same
 * name stays as it is. Throws `AppError` for a key or an address that cannot be used.
 */
export async function applyEnvironment(
  deps: EnvironmentDeps,
  accounts: readonly EnvironmentAccount[],
): Promise<void> {
  for (const account of accounts) {
    const settings = checkAccount(account, deps.models);
    const outcome = await deps.db.transaction((tx) => applyOne(tx, deps, { account, settings }));
    report(deps, { account, settings }, outcome);
  }
  await deps.db.durable();
}

type Wanted = { account: EnvironmentAccount; settings: ChannelSettings };

function checkAccount(account: EnvironmentAccount, models: readonly CatalogueRow[]) {
  try {
    return checkChannel({ provider: account.name, baseUrl: account.baseUrl ?? undefined }, models);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    throw new AppError(error.reason, `the channel of ${account.variable}: ${error.message}`);
  }
}

async function applyOne(tx: Tx, deps: EnvironmentDeps, wanted: Wanted): Promise<Outcome> {
  const { name, variable, secret } = wanted.account;
  const now = deps.clock.now();
  const row = await findChannelRow(tx, name);
  if (row?.source === "operator") return secret === null ? "unchanged" : "overridden";
  if (secret === null) {
    if (row === null || row.disabled_at !== null) return "unchanged";
    const disabled = { disabled_at: now, disabled_reason: goneReason(variable) };
    await changeRow(tx, row, { ...disabled, updated_at: now });
    return "disabled";
  }
  const key = sealKey(deps.vault, name, secret);
  const columns = { ...toColumns(wanted.settings), ...key, source: "environment" } as const;
  if (row === null) {
    await insertChannel(tx, { ...newRow(name, now), ...columns, updated_at: now });
    return "added";
  }
  const isGone = row.disabled_reason === goneReason(variable);
  if (!isGone && isSame(deps.vault, row, wanted)) return "unchanged";
  const enabled = isGone ? notDisabled : {};
  await changeRow(tx, row, { ...columns, ...noFault, ...enabled, updated_at: now });
  return "changed";
}

function isSame(vault: Vault, row: ChannelRow, { account, settings }: Wanted): boolean {
  const columns = Object.entries(toColumns(settings));
  const before = new Map<string, unknown>(Object.entries(row));
  return (
    columns.every(([name, value]) => before.get(name) === value) &&
    openOrNull(vault, row) === account.secret?.trim()
  );
}

/** Null for an envelope that cannot be opened: it is then sealed anew. */
function openOrNull(vault: Vault, { name, secret }: ChannelRow): string | null {
  try {
    return secret === null ? null : vault.open(vaultName(name), secret);
  } catch (error) {
    if (error instanceof AppError) return null;
    throw error;
  }
}

function goneReason(variable: string): string {
  return `${variable} is not set`;
}

function report(
  { log, clock }: EnvironmentDeps,
  { account, settings }: Wanted,
  outcome: Outcome,
): void {
  const { name: channel, variable } = account;
  if (outcome === "overridden") {
    log.info(
      { channel, variable },
      "the operator's channel of this name stays; the variable is not used",
    );
    return;
  }
  if (outcome !== "unchanged")
    log.info({ channel, variable, outcome }, "channel of the environment");
  if (account.secret === null) return;
  for (const warning of findRetired(settings, clock.now())) log.warn({ channel }, warning);
}
