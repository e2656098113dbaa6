/** What an attempt costs us, as it is booked in the transaction that ends it. */
import type { Cost } from "../billing/costs.ts";
import { estimatedCost, reportedCost } from "../channels/cost.ts";
import type { Work } from "../channels/cost.ts";
import type { Channels } from "../channels/channels.ts";
import type { Usage } from "../providers/adapter.ts";
import type { Abandoned } from "./attempt-store.ts";
import type { Task } from "./task.ts";

type Costed = Pick<Abandoned, "id" | "slots" | "channel" | "upstreamModel" | "tier">;

/** What our channel pays when it has gone: the list price. */
const fullRatioPpm = 1_000_000;

export type Made = {
  usage: Usage;
  /** Pictures that the vendor handed over, and those of them that the caller gets. */
  handedOver: number;
  delivered: number;
  now: number;
};

/** The cost of an attempt that the vendor answered. */
export function costOfDone(
  channels: Pick<Channels, "find">,
  task: Task,
  attempt: Costed,
  made: Made,
): Cost {
  const work = workOf(channels, task, attempt, made.handedOver);
  const amount = reportedCost(work, made.usage) ?? estimatedCost(work, made.usage);
  return toCost(task, attempt, {
    amount,
    fate: made.delivered > 0 ? "delivered" : "wasted",
    now: made.now,
  });
}

/** What an attempt may have cost of which nobody knows how it ended. */
export function costOfUnknown(
  channels: Pick<Channels, "find">,
  task: Task,
  attempt: Costed,
  now: number,
): Cost {
  const work = workOf(channels, task, attempt, attempt.slots.length);
  return toCost(task, attempt, { amount: estimatedCost(work), fate: "wasted", now });
}

function workOf(
  channels: Pick<Channels, "find">,
  task: Task,
  { channel, upstreamModel, tier }: Costed,
  pictures: number,
): Work {
  const costRatioPpm = channels.find(channel)?.costRatioPpm ?? fullRatioPpm;
  return { upstreamModel, tier, pictures, price: task.price, costRatioPpm };
}

function toCost(
  task: Task,
  { id, channel, upstreamModel }: Costed,
  booked: Pick<Cost, "amount" | "fate" | "now">,
): Cost {
  return {
    accountId: task.accountId,
    taskId: task.id,
    attemptId: id,
    channel,
    upstreamModel,
    ...booked,
  };
}
