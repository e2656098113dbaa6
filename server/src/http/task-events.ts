import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type { Promised } from "../lib/promised.ts";
import type { Auth } from "./auth.ts";
import type { EventStreams } from "./event-streams.ts";
import { taskInput, taskNotFound } from "./tasks.ts";
import type { TaskInput, TaskRoute, TaskView } from "./tasks.ts";

export type TaskEventsDeps = {
  auth: Auth;
  streams: EventStreams;
  readTask: (input: TaskInput) => Promised<TaskView | null>;
  /**
   * Shows the task as it stands and after every change until the returned function is called; null when
   * nothing more will come.
   */
  followTask: (input: TaskInput, follower: (view: TaskView | null) => void) => () => void;
};

/**
 * `task` events with the body of a poll, until the task has ended. The id of an event is the revision of
 * the task: there is no history, and who comes back with one is told what has changed since.
 */
export function registerTaskEvents(app: FastifyInstance, deps: TaskEventsDeps): void {
  app.get<TaskRoute>(
    "/v1/tasks/:id/events",
    // A HEAD of a stream would say nothing and end with the task.
    { onRequest: [deps.auth.identify, deps.auth.limit], exposeHeadRoute: false },
    (request, reply) => streamTask(deps, request, reply),
  );
}

async function streamTask(
  deps: TaskEventsDeps,
  request: FastifyRequest<TaskRoute>,
  reply: FastifyReply,
): Promise<void> {
  const input = taskInput(request);
  const view = await deps.readTask(input);
  if (view === null) throw taskNotFound(input.taskId);
  const lastEventId = parseLastEventId(request.headers["last-event-id"]);
  if (view.ended && view.revision <= lastEventId) {
    // The one status at which a browser's EventSource does not connect again.
    await reply.code(204).send();
    return;
  }
  follow(deps, { input, reply, lastEventId });
}

type Following = { input: TaskInput; reply: FastifyReply; lastEventId: number };

function follow(
  { streams, followTask }: TaskEventsDeps,
  { input, reply, lastEventId }: Following,
): void {
  let seen = lastEventId;
  let unfollow = (): void => {};
  const stream = streams.open(reply, () => unfollow());
  unfollow = followTask(input, (view) => {
    if (view !== null && view.revision > seen) {
      seen = view.revision;
      stream.send({ name: "task", id: seen, data: `{"code":200,"data":${view.json}}` });
    }
    if (view === null || view.ended) stream.end();
  });
}

/** A revision that the client has seen; what was never an id of ours counts as none. */
function parseLastEventId(header: string | string[] | undefined): number {
  return typeof header === "string" && /^\d{1,9}$/.test(header) ? Number(header) : 0;
}
