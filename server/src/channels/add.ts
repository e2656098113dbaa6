/** What an operator does to channels: adding, replacing, disabling. Running servers see it within seconds. */
import type { Database, Handle, Tx } from "../db/database.ts";
import type { ChannelRow } from "../db/schema.ts";
import { AppError } from "../lib/errors.ts";
import type { Clock } from "../lib/time.ts";
import type { Vault } from "../lib/vault.ts";
import { loadProvider } from "../providers/registry.ts";
import type { CatalogueRow } from "../providers/registry.ts";
import { checkChannel, checkName, checkSecret } from "./check.ts";
import type { ChannelWish } from "./check.ts";
import { toColumns, toStoredChannel } from "./settings.ts";
import type { ChannelSettings, StoredChannel } from "./settings.ts";
import { findChannelRow, insertChannel, selectChannels, updateChannelAt } from "./store.ts";

export type ChannelAddDeps = {
  db: Pick<Database, "read" | "transaction" | "durable">;
  clock: Pick<Clock, "now">;
  vault: Pick<Vault, "seal">;
  models: readonly CatalogueRow[];
};

export type NewChannel = ChannelWish & {
  name: string;
  /** The key as it was given; null where none was. */
  secret: string | null;
  /** Whether a channel of this name may be there, and is then made anew. */
  isReplacing: boolean;
};

/**
 * Adds a channel, or makes one anew. A channel that is replaced keeps its key when none is given and the
 * new one speaks to the same address; a key is never sent anywhere but where it was meant to go. Throws
 * `AppError` (`invalid_parameter`).
 */
export async function addChannel(deps: ChannelAddDeps, wish: NewChannel): Promise<StoredChannel> {
  const name = checkName(wish.name);
  const settings = checkChannel(wish, deps.models);
  const key = sealKey(deps.vault, name, wish.secret);
  const now = deps.clock.now();
  await deps.db.transaction(async (tx) => {
    const row = await findChannelRow(tx, name);
    const held = row !== null && isSameUpstream(row, settings) ? keyOf(row) : noKey;
    const kept = key ?? held;
    if (kept.secret === null && loadProvider(settings.provider).needsSecret) throw keyMissing(name);
    const columns = {
      ...toColumns(settings),
      ...kept,
      source: "operator",
      updated_at: now,
    } as const;
    if (row === null) {
      const inserted = await insertChannel(tx, { ...newRow(name, now), ...columns });
      if (!inserted) throw nameTaken(name);
      return;
    }
    if (!wish.isReplacing) throw nameTaken(name);
    // What the environment had disabled is the operator's now.
    const enabled = row.source === "environment" ? notDisabled : {};
    await changeRow(tx, row, { ...columns, ...noFault, ...enabled });
  });
  await deps.db.durable();
  return loadChannel(deps.db.read, name);
}

/** In order of name. */
export async function listChannels(handle: Handle): Promise<StoredChannel[]> {
  return (await selectChannels(handle)).map(toStoredChannel);
}

export async function findChannel(handle: Handle, name: string): Promise<StoredChannel | null> {
  const row = await findChannelRow(handle, name);
  return row === null ? null : toStoredChannel(row);
}

/** Throws `AppError` (`invalid_parameter`) when there is none. */
export async function loadChannel(handle: Handle, name: string): Promise<StoredChannel> {
  return toStoredChannel(await loadRow(handle, name));
}

/** No new work goes there; what is under way is still asked about. A channel that is disabled keeps its first reason. */
export async function disableChannel(
  tx: Tx,
  name: string,
  { reason, now }: { reason: string; now: number },
): Promise<void> {
  const row = await loadRow(tx, name);
  if (row.disabled_at !== null) return;
  await changeRow(tx, row, { disabled_at: now, disabled_reason: reason, updated_at: now });
}

export async function enableChannel(tx: Tx, name: string, now: number): Promise<void> {
  const row = await loadRow(tx, name);
  if (row.disabled_at === null) return;
  await changeRow(tx, row, { ...notDisabled, updated_at: now });
}

export const noFault = { fault: null, fault_reason: null, fault_at: null, fault_until: null };
export const notDisabled = { disabled_at: null, disabled_reason: null };

type Key = Pick<ChannelRow, "secret" | "secret_hint">;
const noKey: Key = { secret: null, secret_hint: null };

/** Shorter keys are not hinted at: four characters would be too much of them. */
const hintedLengthMin = 16;

/** Null for no key at all. Throws `AppError` for one that cannot be sent in a header. */
export function sealKey(vault: Pick<Vault, "seal">, name: string, text: string | null): Key | null {
  if (text === null) return null;
  const key = checkSecret(text);
  return {
    secret: vault.seal(vaultName(name), key),
    secret_hint: key.length < hintedLengthMin ? null : key.slice(-4),
  };
}

/** The name under which a channel's key is sealed. */
export function vaultName(name: string): string {
  return `channel ${name}`;
}

/** A row of a new channel, with nothing of its own yet. */
export function newRow(name: string, now: number) {
  return { name, ...noKey, ...notDisabled, ...noFault, revision: 1, created_at: now };
}

/** Throws `AppError` (`unavailable`) when another process was first. */
export async function changeRow(
  tx: Tx,
  row: ChannelRow,
  change: Parameters<typeof updateChannelAt>[2],
): Promise<void> {
  if (await updateChannelAt(tx, row, change)) return;
  throw new AppError("unavailable", `channel "${row.name}" was changed just now; try again`);
}

async function loadRow(handle: Handle, name: string): Promise<ChannelRow> {
  const row = await findChannelRow(handle, name);
  if (row !== null) return row;
  throw new AppError("invalid_parameter", `channel "${name}" does not exist; see "channels list"`, {
    param: "name",
  });
}

function keyOf({ secret, secret_hint }: ChannelRow): Key {
  return { secret, secret_hint };
}

function isSameUpstream(row: ChannelRow, { provider, baseUrl }: ChannelSettings): boolean {
  return row.provider === provider && row.base_url === baseUrl;
}

function nameTaken(name: string): AppError {
  return new AppError(
    "invalid_parameter",
    `channel "${name}" exists; choose another name, or replace it with --replace`,
    { param: "name" },
  );
}

function keyMissing(name: string): AppError {
  return new AppError(
    "invalid_parameter",
    `channel "${name}" needs a key; give --key-env, --key-file or --key-stdin`,
    { param: "key" },
  );
}
