/** Waits and event streams of one API node. */
import { createEventStreams } from "../http/event-streams.ts";
import type { TaskEventsDeps } from "../http/task-events.ts";
import type { WaitForTask } from "../http/tasks.ts";
import { createWaiters } from "../tasks/wait.ts";
import type { WaitDeps } from "../tasks/wait.ts";
import type { HttpState } from "./http.ts";

export type Waiting = Pick<TaskEventsDeps, "followTask" | "streams"> & {
  waitForTask: WaitForTask;
  /** For dialects, whose callers know of no task that they could ask for later. */
  waitForEnd: WaitForTask;
};

export function composeWaiting(deps: WaitDeps, state: HttpState): Waiting {
  const waiters = createWaiters(deps);
  // Whoever waits is answered with what there is, before the server waits for its replies.
  state.draining.addEventListener("abort", () => waiters.stop(), { once: true });
  const dialectWaiters = createWaiters(deps);
  state.dialectCalls = { count: () => dialectWaiters.waiting, end: () => dialectWaiters.stop() };
  return {
    waitForTask: ({ caller, taskId, language }, options) =>
      waiters.waitForTask({ ...caller, taskId, language }, options),
    waitForEnd: ({ caller, taskId, language }, options) =>
      dialectWaiters.waitForTask({ ...caller, taskId, language }, options),
    followTask: ({ caller, taskId, language }, follower) =>
      waiters.followTask({ ...caller, taskId, language }, follower),
    streams: createEventStreams(deps.clock),
  };
}
