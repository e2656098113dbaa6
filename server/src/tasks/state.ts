/**
 * The states of tasks, slots and attempts, and every move between them. `docs/task-states.md` draws
 * this table and a test compares the two; `store.ts` moves rows only by a statement whose WHERE names
 * the states that `sourcesOf` gives. A state without targets is final and never changes again.
 */
import type { AttemptState, SlotState, TaskState } from "../db/schema.ts";

type Transitions<State extends string> = Record<State, readonly State[]>;

export const taskTransitions = {
  /** Accepted, its money held; nothing has been sent to a vendor. */
  pending: ["processing", "failed", "cancelled"],
  /** At least one attempt has been sent. */
  processing: ["completed", "failed", "cancelled"],
  completed: [],
  failed: [],
  cancelled: [],
} as const satisfies Transitions<TaskState>;

export const slotTransitions = {
  /** Its picture is still wanted. */
  open: ["done", "failed"],
  done: [],
  failed: [],
} as const satisfies Transitions<SlotState>;

export const attemptTransitions = {
  /** Committed before the first byte left; no handle came back yet. */
  sent: ["running", "done", "failed", "unknown"],
  /** The vendor works on it and its handle is committed. */
  running: ["done", "failed", "unknown"],
  done: [],
  failed: [],
  /** Nobody can say whether the vendor made, and billed, the picture. */
  unknown: [],
} as const satisfies Transitions<AttemptState>;

/** The states from which `target` can be reached in one move. */
export function sourcesOf<State extends string>(
  transitions: Transitions<State>,
  target: State,
): State[] {
  const states = Object.keys(transitions) as State[];
  return states.filter((state) => transitions[state].includes(target));
}

export function isFinal<State extends string>(
  transitions: Transitions<State>,
  state: State,
): boolean {
  return transitions[state].length === 0;
}
