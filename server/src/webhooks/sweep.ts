/** Removes events, deliveries and tries that are no longer kept, and gives up what has waited for too long. */
import type { Database } from "../db/database.ts";
import type { Log } from "../lib/log.ts";
import { createLoop } from "../lib/loop.ts";
import type { Loop } from "../lib/loop.ts";
import type { Clock } from "../lib/time.ts";
import { dayMs, minuteMs } from "../lib/time.ts";
import { deleteDeliveriesOf, failExpired } from "./delivery-store.ts";
import { deleteEvents, listOldEvents } from "./event-store.ts";

export type WebhookSweepDeps = { db: Database; clock: Clock; log: Log };

export const logKeptMs = 14 * dayMs;
const sweepEveryMs = minuteMs;
const batchMax = 500;
/** Events a transaction, so that nothing waits long behind a sweep. */
const transactionMax = 50;

export function createWebhookSweeper(deps: WebhookSweepDeps): Loop {
  return createLoop({
    clock: deps.clock,
    everyMs: sweepEveryMs,
    turn: async () => ((await sweepWebhooks(deps)) ? 0 : sweepEveryMs),
    onError: (error) => deps.log.error({ err: error }, "a sweep of the webhooks failed"),
  });
}

/** One round; true when a batch was full and more is likely to be due. */
export async function sweepWebhooks({ db, clock }: WebhookSweepDeps): Promise<boolean> {
  const now = clock.now();
  const expired = await db.transaction((tx) => failExpired(tx, now, batchMax));
  const old = await listOldEvents(db.read, now - logKeptMs, batchMax);
  for (let start = 0; start < old.length; start += transactionMax) {
    const events = old.slice(start, start + transactionMax);
    await db.transaction(async (tx) => {
      await deleteDeliveriesOf(tx, events);
      await deleteEvents(tx, events);
    });
  }
  return old.length === batchMax || expired === batchMax;
}
