import type { LedgerRow, Mode } from "../db/schema.ts";
import type { Micros } from "../lib/money.ts";

/** Names one of the two books of an account. */
export type BookRef = { accountId: string; mode: Mode };

/** Money that one submit asks for: the dearest possible outcome. */
export type Hold = BookRef & {
  keyId: string;
  taskId: string;
  /** 0 for a free model; the entry is written all the same. */
  amount: Micros;
};

export type Capture = { slot: number; amount: Micros };

/** What a task delivered, for usage reports: its model, and the tokens of all its pictures. */
export type Sold = { model: string; inputTokens: number; outputTokens: number };

export type Settlement = BookRef & {
  keyId: string;
  taskId: string;
  /** What the task's hold entry says. */
  held: Micros;
  /** One a delivered picture; together at most `held`. None releases everything. */
  captures: readonly Capture[];
  sold?: Sold;
  /** Unix milliseconds. */
  now: number;
};

export type Credit = BookRef & {
  /** More than 0. */
  amount: Micros;
  /** Names the payment; the second credit of an account with the same reference does nothing. */
  reference: string;
  note: string | null;
  /** Unix milliseconds. */
  now: number;
};

const nothingSold = { model: null, input_tokens: null, output_tokens: null };

export function holdIdOf(taskId: string): string {
  return `hold:${taskId}`;
}

/** `isFirst` for one capture of a task: its entry carries the tokens. */
export function captureEntry(task: Settlement, capture: Capture, isFirst: boolean): LedgerRow {
  return {
    account_id: task.accountId,
    id: `capture:${task.taskId}:${capture.slot}`,
    mode: task.mode,
    kind: "capture",
    available: 0,
    held: minus(capture.amount),
    task_id: task.taskId,
    key_id: task.keyId,
    note: null,
    created_at: task.now,
    model: task.sold?.model ?? null,
    input_tokens: isFirst ? (task.sold?.inputTokens ?? null) : null,
    output_tokens: isFirst ? (task.sold?.outputTokens ?? null) : null,
  };
}

/** Written also for nothing: a hold is resolved exactly when this entry exists. */
export function releaseEntry(task: Settlement, released: Micros): LedgerRow {
  return {
    account_id: task.accountId,
    id: `release:${task.taskId}`,
    mode: task.mode,
    kind: "release",
    available: released,
    held: minus(released),
    task_id: task.taskId,
    key_id: task.keyId,
    note: null,
    created_at: task.now,
    ...nothingSold,
  };
}

export function creditEntry(wanted: Credit): LedgerRow {
  return {
    account_id: wanted.accountId,
    id: `credit:${wanted.reference}`,
    mode: wanted.mode,
    kind: "credit",
    available: wanted.amount,
    held: 0,
    task_id: null,
    key_id: null,
    note: wanted.note,
    created_at: wanted.now,
    ...nothingSold,
  };
}

/** Without the minus zero that `-amount` makes of 0. */
export function minus(amount: Micros): Micros {
  return 0 - amount;
}
