import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type { Caller } from "../accounts/caller.ts";
import { AppError } from "../lib/errors.ts";
import { isId } from "../lib/ids.ts";
import { whenThere } from "../lib/promised.ts";
import type { Promised } from "../lib/promised.ts";
import type { Language } from "../models/model.ts";
import type { Auth } from "./auth.ts";
import { callerOf } from "./request.ts";
import { parseLanguage } from "./schemas.ts";
import { departureOf, parseWait } from "./waiting.ts";

export type TaskInput = { caller: Caller; taskId: string; language: Language };

export type TaskView = {
  /** The task object as JSON text: the verb may keep the text of an ended task. */
  json: string;
  /** True in a final state: the task will never read differently. */
  ended: boolean;
  /** Grows with every change that can be seen. */
  revision: number;
};

/** The task once it has ended, or as it stands when time is up; null as for a read. */
export type WaitForTask = (
  input: TaskInput,
  options: { waitMs: number; signal: AbortSignal },
) => Promise<TaskView | null>;

export type TasksDeps = {
  auth: Auth;
  /** Null for an unknown task, and for one of another account or mode. */
  readTask: (input: TaskInput) => Promised<TaskView | null>;
  waitForTask: WaitForTask;
  /** The task after the call; null as above. Throws `task_already_ended`. */
  cancelTask: (input: TaskInput) => Promise<TaskView | null>;
};

export type TaskRoute = {
  Params: { id: string };
  Querystring: { language?: unknown; wait?: unknown };
};
type TaskRequest = FastifyRequest<TaskRoute>;

/** Seconds after which asking again is worth while: about what a fast model takes. */
const pollAfterSeconds = "1";

export function registerTasks(app: FastifyInstance, deps: TasksDeps): void {
  const onRequest = [deps.auth.identify, deps.auth.limit];
  app.get<TaskRoute>("/v1/tasks/:id", { onRequest }, (request, reply) => {
    const input = taskInput(request);
    const waitMs = parseWait(request.query.wait);
    const view =
      waitMs === 0
        ? deps.readTask(input)
        : deps.waitForTask(input, { waitMs, signal: departureOf(reply) });
    return whenThere(view, (known) => sendTask(reply, input.taskId, known, 200));
  });
  app.post<TaskRoute>("/v1/tasks/:id/cancel", { onRequest }, async (request, reply) => {
    const view = await deps.cancelTask(taskInput(request));
    sendTask(reply, request.params.id, view, view?.ended === false ? 202 : 200);
    return reply;
  });
}

/** Which task a route asks for. Throws `task_not_found` for what cannot be the id of one. */
export function taskInput(request: TaskRequest): TaskInput {
  const taskId = request.params.id;
  if (!isId("task", taskId)) throw taskNotFound(taskId);
  return { caller: callerOf(request), taskId, language: parseLanguage(request.query.language) };
}

/** Polls are most of the traffic: the ready text goes out without being parsed or serialised again. */
function sendTask(
  reply: FastifyReply,
  taskId: string,
  view: TaskView | null,
  status: 200 | 202,
): void {
  if (view === null) throw taskNotFound(taskId);
  if (!view.ended) reply.header("retry-after", pollAfterSeconds);
  void reply
    .code(status)
    .header("content-type", "application/json; charset=utf-8")
    .send(`{"code":${status},"data":${view.json}}`);
}

export function taskNotFound(taskId: string): AppError {
  return new AppError(
    "task_not_found",
    `task ${JSON.stringify(taskId.slice(0, 80))} does not exist for this key, or is no longer kept`,
    { param: "task_id" },
  );
}
