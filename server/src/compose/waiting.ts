/** Waits and event streams of one API node. */
import { createEventStreams } from "../http/event-streams.ts";
import type { TaskEventsDeps } from "../http/task-events.ts";
import type { WaitForTask } from "../http/tasks.ts";
import { createWaiters } from "../tasks/wait.ts";
import type { WaitDeps } from "../tasks/wait.ts";

export type Waiting = Pick<TaskEventsDeps, "followTask" | "streams"> & {
  waitForTask: WaitForTask;
};

export function composeWaiting(deps: WaitDeps, draining: AbortSignal): Waiting {
  const waiters = createWaiters(deps);
  // Whoever waits is answered with what there is, before the server waits for its replies.
  draining.addEventListener("abort", () => waiters.stop(), { once: true });
  return {
    waitForTask: ({ caller, taskId, language }, options) =>
      waiters.waitForTask({ ...caller, taskId, language }, options),
    followTask: ({ caller, taskId, language }, follower) =>
      waiters.followTask({ ...caller, taskId, language }, follower),
    streams: createEventStreams(deps.clock),
  };
}
