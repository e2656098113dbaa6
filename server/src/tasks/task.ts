/** What `tasks` and its JSON columns hold, as the rest of the room sees it. */
import type { AttemptState, Mode, SlotState, TaskState } from "../db/schema.ts";
import type { JobHandle } from "../providers/adapter.ts";
import type { FrozenPrice, ImageRequest, Language, Tier, Warning } from "../models/model.ts";
import type { TaskError } from "./errors.ts";
import type { Decision } from "./failure.ts";

/** Where a reference comes from, in the order of `image_urls`. */
export type ReferenceSource =
  /** To be fetched through the guard before the first attempt. */
  | { from: "url"; url: string }
  /** A link of our own: copied from storage before the first attempt. */
  | { from: "object"; object: string }
  /** Was in the body: stored, with its row, before the task was. */
  | { from: "body" };

/** `tasks.request_json`. */
export type StoredRequest = {
  request: ImageRequest;
  references: readonly ReferenceSource[];
  mask: ReferenceSource | null;
};

/** The position of a mask among a task's references. */
export const maskPosition = -1;

/** A task as the engine works with it. */
export type Task = StoredRequest & {
  accountId: string;
  id: string;
  mode: Mode;
  keyId: string;
  state: TaskState;
  pictures: number;
  openSlots: number;
  price: FrozenPrice;
  held: number;
  /** The base address that is told of its end. */
  webhook: string | null;
  /** Of the error text that is told there. */
  language: Language | null;
  createdAt: number;
  deadlineAt: number;
  cancelRequestedAt: number | null;
};

export type Slot = { slot: number; state: SlotState; captured: number; error: TaskError | null };

/** `attempts.failure_json`: why an attempt made nothing, for the operator and for the next plan. */
export type AttemptFailure = {
  kind: string;
  /** The upstream's own words, for operators only. */
  message: string;
  again: Decision["again"];
  error: TaskError;
  /** Not to be tried on the same channel before this time. */
  retryAt: number;
};

/** One try at an upstream, for one or more slots. */
export type Attempt = {
  id: string;
  slots: readonly number[];
  channel: string;
  upstreamModel: string;
  /** Whose price its pictures have. */
  tier: Tier;
  state: AttemptState;
  handle: JobHandle | null;
  failure: AttemptFailure | null;
  sentAt: number;
  /** Until when it holds a place of its channel, if it does not end before; null: it holds none. */
  placeUntil: number | null;
};

/** How one slot ends, in the transaction that ends it. */
export type SlotEnd =
  | { slot: number; state: "done"; captured: number }
  | { slot: number; state: "failed"; error: TaskError };

/** Everything a task is when it is created. */
export type NewTask = {
  id: string;
  accountId: string;
  keyId: string;
  mode: Mode;
  /** Where it waits; see `laneOf`. */
  lane: string;
  stored: StoredRequest;
  warnings: readonly Warning[];
  price: FrozenPrice;
  held: number;
  webhook: string | null;
  language: Language | null;
  createdAt: number;
  deadlineAt: number;
};

/** Where tasks wait whose attempts are under way, but whose worker has gone: they need no place. */
export const resumeLane = "resume";

/** Names made so far, as few as models: a new string would be hashed anew wherever it is looked up. */
const lanes: Record<Mode, Map<string, string>> = { live: new Map(), test: new Map() };

/** The queue a task waits in: tasks of one model and mode share their channels. */
export function laneOf(model: string, mode: Mode): string {
  let lane = lanes[mode].get(model);
  if (lane === undefined) {
    lane = `${mode}:${model}`;
    lanes[mode].set(model, lane);
  }
  return lane;
}

/** What a lane's name says; null for the one of tasks that are resumed. */
export function parseLane(lane: string): { model: string; mode: Mode } | null {
  const at = lane.indexOf(":");
  if (at < 0) return null;
  return { mode: lane.slice(0, at) === "test" ? "test" : "live", model: lane.slice(at + 1) };
}
