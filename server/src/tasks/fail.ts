import { bookCosts } from "../billing/costs.ts";
import type { Channels } from "../channels/channels.ts";
import type { Database } from "../db/database.ts";
import type { Clock } from "../lib/time.ts";
import type { TaskError } from "./errors.ts";
import { endingPorts, endSlots } from "./finish.ts";
import type { EndingPorts } from "./finish.ts";
import { lockQueueRow } from "./queue-store.ts";
import { costOfUnknown } from "./attempt-cost.ts";
import { abandonAttempts } from "./attempt-store.ts";
import { loadSlots } from "./slot-store.ts";
import { findTask } from "./store.ts";
import type { Watch } from "./watch.ts";

export type FailDeps = {
  db: Database;
  clock: Clock;
  watch: Watch;
  channels: Pick<Channels, "find">;
} & EndingPorts;

/**
 * Ends a task by force: its open slots fail with `error`, pictures already at hand are delivered and
 * charged, attempts under way become unknown and what they may cost us is booked as waste. Does nothing
 * to a task that has ended.
 */
export async function failTask(
  deps: FailDeps,
  { accountId, id }: { accountId: string; id: string },
  error: TaskError,
): Promise<void> {
  const { db, clock, watch, channels } = deps;
  const ended = await db.transaction(async (tx) => {
    if (!(await lockQueueRow(tx, accountId, id))) return false;
    const task = await findTask(tx, accountId, id);
    if (task === null) return false;
    const slots = await loadSlots(tx, task);
    const open = slots.filter(({ state }) => state === "open");
    const now = clock.now();
    const abandoned = await abandonAttempts(tx, accountId, id, now);
    await bookCosts(
      tx,
      abandoned.map((attempt) => costOfUnknown(channels, task, attempt, now)),
    );
    return endSlots(tx, {
      task,
      ends: open.map(({ slot }) => ({ slot, state: "failed", error })),
      now,
      ...endingPorts(deps),
    });
  });
  if (!ended) return;
  await db.durable();
  watch.changed(id);
  watch.ended(id);
}
