/**
 * What the vendors charge us, attempt by attempt. It stands beside the ledger and never touches it: the
 * ledger is about the customers' money, these rows are about ours.
 */
import type { Handle, Tx } from "../db/database.ts";
import type { CostFate } from "../db/schema.ts";
import { assertMicros } from "../lib/money.ts";
import type { Micros } from "../lib/money.ts";
import { insertCosts, selectWaste } from "./cost-store.ts";

export type Cost = {
  accountId: string;
  taskId: string;
  attemptId: string;
  channel: string;
  upstreamModel: string;
  amount: Micros;
  /** `wasted`: for pictures that nobody got, or of which nobody knows whether they were made. */
  fate: CostFate;
  /** Unix milliseconds. */
  now: number;
};

/** Books costs in the caller's transaction: nothing for an amount of 0, and an attempt only once. */
export async function bookCosts(tx: Tx, costs: readonly Cost[]): Promise<void> {
  for (const { amount } of costs) assertMicros(amount);
  const rows = costs
    .filter(({ amount }) => amount > 0)
    .map((cost) => ({
      account_id: cost.accountId,
      attempt_id: cost.attemptId,
      task_id: cost.taskId,
      channel: cost.channel,
      upstream_model: cost.upstreamModel,
      amount: cost.amount,
      fate: cost.fate,
      created_at: cost.now,
    }));
  await insertCosts(tx, rows);
}

/** What was paid for nothing since a time, in unix milliseconds. */
export async function sumWaste(
  handle: Handle,
  since: number,
): Promise<{ attempts: number; amount: Micros }> {
  const { attempts, amount } = await selectWaste(handle, since);
  return { attempts, amount: amount ?? 0 };
}
