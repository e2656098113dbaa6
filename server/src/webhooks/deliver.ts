/** One try of a leased delivery, and what is written down of it. */
import type { Database, Tx } from "../db/database.ts";
import type { DeliveryRow } from "../db/webhook-rows.ts";
import { must } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import type { Random } from "../lib/random.ts";
import { failForEndpoint, insertTry, releaseDelivery, saveTried } from "./delivery-store.ts";
import { countFailure, forgetFailures, updateEndpoint } from "./endpoint-store.ts";
import { findEventBody } from "./event-store.ts";
import { isGone, isHopeless, isOriginHealthy, isTaken, judge } from "./outcome.ts";
import type { Tried } from "./outcome.ts";
import type { SecretsDeps } from "./secrets.ts";
import { loadSigningSecrets } from "./secrets.ts";
import { send } from "./send.ts";
import type { SendDeps, Sent } from "./send.ts";

export type DeliverDeps = SecretsDeps & SendDeps & { db: Database; random: Random; log: Log };

/** Tries a leased delivery once. Whether its origin answered as a working server does; null when it was not asked. */
export async function deliver(
  deps: DeliverDeps,
  delivery: DeliveryRow,
  signal: AbortSignal,
): Promise<boolean | null> {
  const { clock, db } = deps;
  const startedAt = clock.now();
  const started = clock.monotonic();
  const sent = await trySending(deps, delivery, signal);
  // Removed meanwhile, with its event.
  if (sent === null) return null;
  if (sent.kind === "aborted") {
    const held = { lease: leaseOf(delivery), now: clock.now() };
    await db.transaction((tx) =>
      releaseDelivery(tx, { accountId: delivery.account_id, id: delivery.id }, held),
    );
    return null;
  }
  const durationMs = Math.round(clock.monotonic() - started);
  await record(deps, delivery, { sent, startedAt, durationMs });
  return isOriginHealthy(sent);
}

async function trySending(
  deps: DeliverDeps,
  delivery: DeliveryRow,
  signal: AbortSignal,
): Promise<Sent | null> {
  const { account_id: accountId, mode, event_id: eventId, endpoint_id: endpointId } = delivery;
  const body = await findEventBody(deps.db.read, accountId, eventId);
  if (body === null) return null;
  const secrets = await loadSigningSecrets(deps, { accountId, mode }, endpointId);
  if (secrets === null) return null;
  return send(deps, { url: delivery.url, eventId, type: delivery.type, body, secrets, signal });
}

function leaseOf({ id, lease }: DeliveryRow): string {
  return must(lease, `the lease of ${id}`);
}

type Record = { sent: Tried; startedAt: number; durationMs: number };

async function record(
  { db, clock, random, log }: DeliverDeps,
  delivery: DeliveryRow,
  { sent, startedAt, durationMs }: Record,
): Promise<void> {
  const { account_id: accountId, id } = delivery;
  const now = clock.now();
  const verdict = judge(delivery, sent, { now, random });
  const isPending = verdict.state === "pending";
  const status = sent.kind === "replied" ? sent.status : null;
  const error = sent.kind === "replied" ? null : sent.error;
  if (sent.kind !== "replied") {
    log.info({ delivery: id, origin: delivery.origin, reason: sent.detail }, "a webhook failed");
  }
  await db.transaction(async (tx) => {
    const number = await saveTried(tx, {
      accountId,
      id,
      lease: leaseOf(delivery),
      state: verdict.state,
      dueAt: isPending ? verdict.dueAt : now,
      status,
      error,
      endedAt: isPending ? null : now,
    });
    // The lease has run out, and another node has it now.
    if (number === null) return;
    await insertTry(tx, {
      account_id: accountId,
      delivery_id: id,
      number,
      started_at: startedAt,
      duration_ms: durationMs,
      status,
      error,
      response: sent.kind === "replied" ? sent.response : null,
    });
    await updateHealth(tx, delivery, { sent, startedAt, now });
  });
}

/** An endpoint that wants nothing more, or has failed for days, is told of nothing more. */
async function updateHealth(
  tx: Tx,
  { account_id: accountId, mode, endpoint_id: endpointId }: DeliveryRow,
  { sent, startedAt, now }: { sent: Tried; startedAt: number; now: number },
): Promise<void> {
  if (endpointId === null) return;
  if (isTaken(sent)) {
    await forgetFailures(tx, accountId, endpointId);
    return;
  }
  const failing = await countFailure(tx, accountId, { id: endpointId, startedAt });
  if (failing === null) return;
  const reason = isGone(sent) ? "gone" : isHopeless(failing, now) ? "failing" : null;
  if (reason === null) return;
  const key = { accountId, id: endpointId, mode };
  await updateEndpoint(tx, key, { disabled_at: now, disabled_reason: reason });
  await failForEndpoint(tx, { accountId, endpointId }, { error: endpointDisabled, now });
}

export const endpointDisabled = "the endpoint was disabled";
