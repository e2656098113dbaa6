/** What is wrong with our account at an upstream, written to the channel's row for all nodes to see. */
import type { Tx } from "../db/database.ts";
import { redact } from "../lib/log.ts";
import { minuteMs } from "../lib/time.ts";
import type { FaultKind } from "./channel.ts";
import { deleteFault, updateFault } from "./store.ts";

/** How long live work leaves the channel alone; an account is filled up sooner than a key is changed. */
export const faultPauseMs: Record<FaultKind, number> = {
  unauthorized: 15 * minuteMs,
  exhausted: 5 * minuteMs,
};

const reasonLengthMax = 500;

export type NewFault = { name: string; kind: FaultKind; reason: string; now: number };

/** False when the channel has no row: the sandbox, or one that is gone. */
export function saveFault(tx: Tx, { name, kind, reason, now }: NewFault): Promise<boolean> {
  return updateFault(tx, name, {
    fault: kind,
    fault_reason: redact(reason, reasonLengthMax),
    fault_at: now,
    fault_until: now + faultPauseMs[kind],
  });
}

/** True when there was one. */
export function clearFault(tx: Tx, name: string): Promise<boolean> {
  return deleteFault(tx, name);
}
