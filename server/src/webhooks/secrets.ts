/** The secrets that sign: of each endpoint, and of an account's ad-hoc addresses. At rest they are sealed. */
import type { Database, Tx } from "../db/database.ts";
import type { WebhookEndpointRow, WebhookSecretRow } from "../db/webhook-rows.ts";
import { must } from "../lib/errors.ts";
import type { Random } from "../lib/random.ts";
import type { Clock } from "../lib/time.ts";
import { hourMs } from "../lib/time.ts";
import type { Vault } from "../lib/vault.ts";
import {
  findEndpoint,
  findSecret,
  insertSecret,
  lockSecret,
  saveSecret,
} from "./endpoint-store.ts";
import type { Owner } from "./endpoint-store.ts";
import { createSecret } from "./sign.ts";

export type SecretsDeps = { db: Database; clock: Clock; random: Random; vault: Vault };

/** After a rotation both secrets sign for this long. */
export const previousKeptMs = 24 * hourMs;

export type SigningSecret = {
  secret: string;
  /** The one before the last rotation, while it still signs; `until` in unix milliseconds. */
  previous: { secret: string; until: number } | null;
};

/** The name that a secret is sealed under, so that no row's envelope opens in another. */
export function endpointSecretName(accountId: string, endpointId: string): string {
  return `webhook ${accountId} ${endpointId}`;
}

function accountSecretName({ accountId, mode }: Owner): string {
  return `webhook ${accountId} ${mode}`;
}

/** What signs for the addresses that submits name; made when it is first asked for. */
export async function loadAccountSecret(deps: SecretsDeps, owner: Owner): Promise<SigningSecret> {
  const { db } = deps;
  const found = await findSecret(db.read, owner);
  if (found !== null) return openSecret(deps, accountSecretName(owner), found);
  await db.transaction((tx) => ensureAccountSecret(tx, deps, owner));
  await db.durable();
  const made = must(await findSecret(db.read, owner), "the secret of an account");
  return openSecret(deps, accountSecretName(owner), made);
}

/** Makes the account's secret unless it has one, and locks its row until the transaction's end. */
export async function ensureAccountSecret(
  tx: Tx,
  { clock, random, vault }: Omit<SecretsDeps, "db">,
  owner: Owner,
): Promise<WebhookSecretRow> {
  const known = await lockSecret(tx, owner);
  if (known !== null) return known;
  await insertSecret(tx, {
    account_id: owner.accountId,
    mode: owner.mode,
    secret: vault.seal(accountSecretName(owner), createSecret(random)),
    previous_secret: null,
    previous_until: null,
    created_at: clock.now(),
  });
  return must(await lockSecret(tx, owner), "the secret of an account");
}

/** A new secret for the account's ad-hoc addresses; the old one signs too for a day. */
export async function rotateAccountSecret(deps: SecretsDeps, owner: Owner): Promise<SigningSecret> {
  const { db, clock, random, vault } = deps;
  const sealed = vault.seal(accountSecretName(owner), createSecret(random));
  const until = clock.now() + previousKeptMs;
  await db.transaction(async (tx) => {
    const { secret } = await ensureAccountSecret(tx, deps, owner);
    await saveSecret(tx, owner, {
      secret: sealed,
      previous_secret: secret,
      previous_until: until,
    });
  });
  await db.durable();
  return loadAccountSecret(deps, owner);
}

/** Every secret that signs a delivery now, the newest first; null when its endpoint is gone. */
export async function loadSigningSecrets(
  deps: SecretsDeps,
  owner: Owner,
  endpointId: string | null,
): Promise<string[] | null> {
  const signing = await findSigning(deps, owner, endpointId);
  if (signing === null) return null;
  const { secret, previous } = signing;
  return previous === null ? [secret] : [secret, previous.secret];
}

async function findSigning(
  deps: SecretsDeps,
  owner: Owner,
  endpointId: string | null,
): Promise<SigningSecret | null> {
  if (endpointId === null) return loadAccountSecret(deps, owner);
  const endpoint = await findEndpoint(deps.db.read, owner.accountId, endpointId);
  if (endpoint === null) return null;
  return openSecret(deps, endpointSecretName(owner.accountId, endpointId), endpoint);
}

type SealedSecret = Pick<WebhookEndpointRow, "secret" | "previous_secret" | "previous_until">;

function openSecret(
  { clock, vault }: Pick<SecretsDeps, "clock" | "vault">,
  name: string,
  row: SealedSecret,
): SigningSecret {
  const { previous_secret: sealed, previous_until: until } = row;
  const isLive = sealed !== null && until !== null && until > clock.now();
  return {
    secret: vault.open(name, row.secret),
    previous: isLive ? { secret: vault.open(name, sealed), until } : null,
  };
}
