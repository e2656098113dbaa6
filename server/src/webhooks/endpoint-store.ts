/** Every statement on `webhook_endpoints` and `webhook_secrets`. */
import type { Updateable } from "kysely";

import type { Handle, Tx } from "../db/database.ts";
import type { Mode } from "../db/schema.ts";
import type { WebhookEndpointRow, WebhookSecretRow } from "../db/webhook-rows.ts";
import { prepare } from "../db/statements.ts";

/** Endpoints and secrets belong to an account and a mode, as tasks do. */
export type Owner = { accountId: string; mode: Mode };

const endpointColumns = [
  "account_id",
  "id",
  "mode",
  "url",
  "description",
  "events",
  "secret",
  "previous_secret",
  "previous_until",
  "failed_tries",
  "failing_since",
  "disabled_at",
  "disabled_reason",
  "created_at",
] as const satisfies readonly (keyof WebhookEndpointRow)[];

const selectEnabled = prepare((db, p: Owner) =>
  db
    .selectFrom("webhook_endpoints")
    .select(["id", "url", "events"])
    .where("account_id", "=", p.accountId)
    .where("mode", "=", p.mode)
    .where("disabled_at", "is", null)
    .orderBy("id"),
);

export type EnabledEndpoint = Pick<WebhookEndpointRow, "id" | "url" | "events">;

/** The endpoints that are told of events; one read by the account's key. */
export function listEnabledEndpoints(handle: Handle, owner: Owner): Promise<EnabledEndpoint[]> {
  return selectEnabled.all(handle, { accountId: owner.accountId, mode: owner.mode });
}

const selectEndpoint = prepare((db, p: { accountId: string; id: string }) =>
  db
    .selectFrom("webhook_endpoints")
    .select(endpointColumns)
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id),
);

export function findEndpoint(
  handle: Handle,
  accountId: string,
  id: string,
): Promise<WebhookEndpointRow | null> {
  return selectEndpoint.first(handle, { accountId, id });
}

/** The oldest first. */
export function listEndpoints(handle: Handle, owner: Owner): Promise<WebhookEndpointRow[]> {
  return handle
    .selectFrom("webhook_endpoints")
    .select(endpointColumns)
    .where("account_id", "=", owner.accountId)
    .where("mode", "=", owner.mode)
    .orderBy("id")
    .execute();
}

export async function insertEndpoint(tx: Tx, row: WebhookEndpointRow): Promise<void> {
  await tx.insertInto("webhook_endpoints").values(row).execute();
}

export type EndpointChange = Omit<Updateable<WebhookEndpointRow>, "account_id" | "id" | "mode">;

/** The endpoint after the change; null when there is none. */
export async function updateEndpoint(
  tx: Tx,
  key: { accountId: string; id: string; mode: Mode },
  change: EndpointChange,
): Promise<WebhookEndpointRow | null> {
  const row = await tx
    .updateTable("webhook_endpoints")
    // Without any change the row is still found and locked.
    .set({ mode: key.mode, ...change })
    .where("account_id", "=", key.accountId)
    .where("id", "=", key.id)
    .where("mode", "=", key.mode)
    .returning(endpointColumns)
    .executeTakeFirst();
  return row ?? null;
}

export async function deleteEndpoint(
  tx: Tx,
  key: { accountId: string; id: string; mode: Mode },
): Promise<boolean> {
  const result = await tx
    .deleteFrom("webhook_endpoints")
    .where("account_id", "=", key.accountId)
    .where("id", "=", key.id)
    .where("mode", "=", key.mode)
    .executeTakeFirst();
  return result.numDeletedRows > 0n;
}

const resetFailures = prepare((db, p: { accountId: string; id: string }) =>
  db
    .updateTable("webhook_endpoints")
    .set({ failed_tries: 0, failing_since: null })
    .where("account_id", "=", p.accountId)
    .where("id", "=", p.id)
    .where("failed_tries", ">", 0),
);

/** Notes that the endpoint has taken a delivery. */
export async function forgetFailures(tx: Tx, accountId: string, id: string): Promise<void> {
  await resetFailures.run(tx, { accountId, id });
}

export type Failing = { tries: number; since: number };

/** Notes one more try that failed; null when the endpoint is gone or disabled. */
export async function countFailure(
  tx: Tx,
  accountId: string,
  { id, startedAt }: { id: string; startedAt: number },
): Promise<Failing | null> {
  const row = await tx
    .updateTable("webhook_endpoints")
    .set((columns) => ({
      failed_tries: columns("failed_tries", "+", 1),
      failing_since: columns.fn.coalesce("failing_since", columns.val(startedAt)),
    }))
    .where("account_id", "=", accountId)
    .where("id", "=", id)
    .where("disabled_at", "is", null)
    .returning(["failed_tries", "failing_since"])
    .executeTakeFirst();
  if (row === undefined) return null;
  return { tries: row.failed_tries, since: row.failing_since ?? startedAt };
}

const selectSecret = prepare((db, p: Owner) =>
  db
    .selectFrom("webhook_secrets")
    .select(["account_id", "mode", "secret", "previous_secret", "previous_until", "created_at"])
    .where("account_id", "=", p.accountId)
    .where("mode", "=", p.mode),
);

/** What signs for ad-hoc addresses; null before it is first needed. */
export function findSecret(handle: Handle, owner: Owner): Promise<WebhookSecretRow | null> {
  return selectSecret.first(handle, { accountId: owner.accountId, mode: owner.mode });
}

/** Leaves a secret that is there already. */
export async function insertSecret(tx: Tx, row: WebhookSecretRow): Promise<void> {
  await tx
    .insertInto("webhook_secrets")
    .values(row)
    .onConflict((conflict) => conflict.columns(["account_id", "mode"]).doNothing())
    .execute();
}

/** Locks the row until the transaction's end: whoever counts an account's endpoints holds it. */
export async function lockSecret(tx: Tx, owner: Owner): Promise<WebhookSecretRow | null> {
  const row = await tx
    .updateTable("webhook_secrets")
    .set({ mode: owner.mode })
    .where("account_id", "=", owner.accountId)
    .where("mode", "=", owner.mode)
    .returning(["account_id", "mode", "secret", "previous_secret", "previous_until", "created_at"])
    .executeTakeFirst();
  return row ?? null;
}

export async function saveSecret(
  tx: Tx,
  owner: Owner,
  change: Pick<WebhookSecretRow, "secret" | "previous_secret" | "previous_until">,
): Promise<void> {
  await tx
    .updateTable("webhook_secrets")
    .set(change)
    .where("account_id", "=", owner.accountId)
    .where("mode", "=", owner.mode)
    .execute();
}
