/** A task as callers see it: rows in, wire object out. Fields that do not apply are absent. */
import type {
  Task as WireTask,
  TaskImage,
  TaskImageError,
  TaskResult,
  TaskUsage,
} from "../../../client/src/tasks.ts";
import type { OutputRow, TaskRow } from "../db/schema.ts";
import { must } from "../lib/errors.ts";
import { toCredits, toUsd } from "../lib/money.ts";
import { toUnixSeconds } from "../lib/time.ts";
import type { Language, Warning } from "../models/model.ts";
import { describePlacedError, describeTaskError } from "./errors.ts";
import type { TaskError } from "./errors.ts";
import { isFinal, taskTransitions } from "./state.ts";
import type { Slot } from "./task.ts";

export type TaskViewRow = Pick<
  TaskRow,
  | "id"
  | "mode"
  | "model"
  | "state"
  | "revision"
  | "pictures"
  | "open_slots"
  | "held"
  | "captured"
  | "warnings_json"
  | "error_json"
  | "usage_json"
  | "created_at"
  | "cancel_requested_at"
  | "ended_at"
  | "expires_at"
>;

export type ViewInput = {
  row: TaskViewRow;
  /** Outputs and slots of a completed task; empty for every other. */
  outputs: readonly OutputRow[];
  slots: readonly Slot[];
  language: Language;
  estimatedSeconds: number;
  /** Absolute link to an output, valid until the task's expiry. */
  linkTo(output: OutputRow, expiresAtMs: number): string;
};

export function presentTask(input: ViewInput): WireTask {
  const { row } = input;
  const cost = costOf(row);
  return {
    id: row.id,
    status: row.state,
    progress: progressOf(row),
    model: row.model,
    cost: toUsd(cost),
    credits_cost: toCredits(cost),
    created: toUnixSeconds(row.created_at),
    ...presentEnd(row),
    estimated_time: input.estimatedSeconds,
    ...(row.state === "completed" ? { result: presentResult(input) } : {}),
    ...(row.usage_json === null ? {} : { usage: JSON.parse(row.usage_json) as TaskUsage }),
    ...presentError(row, input.language),
    ...(row.warnings_json === null
      ? {}
      : { warnings: JSON.parse(row.warnings_json) as readonly Warning[] }),
    ...(row.mode === "test" ? { test: true as const } : {}),
    ...(row.cancel_requested_at !== null && row.ended_at === null
      ? { cancel_requested: true as const }
      : {}),
  };
}

/** The hold while the task runs, then what was charged: nothing for a task without a picture. */
function costOf(row: TaskViewRow): number {
  return row.ended_at === null ? row.held : row.captured;
}

/** Moves as pictures are finished; 100 only at the end. */
function progressOf(row: TaskViewRow): number {
  if (isFinal(taskTransitions, row.state)) return 100;
  return Math.floor((100 * (row.pictures - row.open_slots)) / row.pictures);
}

function presentEnd(row: TaskViewRow): Pick<WireTask, "completed" | "actual_time"> {
  if (row.ended_at === null) return {};
  const completed = toUnixSeconds(row.ended_at);
  return { completed, actual_time: completed - toUnixSeconds(row.created_at) };
}

function presentError(row: TaskViewRow, language: Language): Pick<WireTask, "error"> {
  if (row.error_json === null) return {};
  const error = JSON.parse(row.error_json) as TaskError;
  const { code, param } = error;
  return {
    error: {
      code,
      type: row.state === "cancelled" ? "task_cancelled" : "task_failed",
      message: describePlacedError(error, language),
      ...(param === undefined ? {} : { param }),
    },
  };
}

function presentResult({ row, outputs, slots, language, linkTo }: ViewInput): TaskResult {
  const expiresAtMs = must(row.expires_at, "the expiry of a completed task");
  const images = outputs.map((output): TaskImage => ({
    ...(row.pictures > 1 ? { index: output.slot } : {}),
    url: [linkTo(output, expiresAtMs)],
    expires_at: toUnixSeconds(expiresAtMs),
    width: output.width,
    height: output.height,
    bytes: output.bytes,
    content_type: output.content_type,
  }));
  const errors = slots.flatMap(({ slot, error }): TaskImageError[] =>
    error === null
      ? []
      : [{ index: slot, code: error.code, message: describeTaskError(error.code, language) }],
  );
  return { images, ...(errors.length === 0 ? {} : { errors }) };
}
