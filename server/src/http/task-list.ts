/** Many tasks in one reply: the list, and the batch of ids. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";

import type { TaskBatchBody, TaskListQuery } from "../../../client/src/tasks.ts";
import type { Caller } from "../accounts/caller.ts";
import { AppError } from "../lib/errors.ts";
import { isId } from "../lib/ids.ts";
import type { JsonValue } from "../lib/json.ts";
import type { Language } from "../models/model.ts";
import { show } from "../models/words.ts";
import type { Auth } from "./auth.ts";
import { parseBody } from "./json-body.ts";
import { presentError } from "./problem.ts";
import { callerOf } from "./request.ts";
import { parseLanguage, parseQuery } from "./schemas.ts";
import { findTime } from "./times.ts";

export type TaskListInput = {
  caller: Caller;
  language: Language;
  limit: number;
  after?: string;
  state?: NonNullable<TaskListQuery["status"]>;
  model?: string;
  /** Id of a key. */
  submittedBy?: string;
  /** Unix milliseconds, the first inclusive, the second not. */
  createdFrom?: number;
  createdBefore?: number;
};

export type TaskListDeps = {
  auth: Auth;
  /** Tasks as JSON texts, newest first; `lastId` is where the next page begins. */
  listTasks: (
    input: TaskListInput,
  ) => Promise<{ tasks: readonly string[]; hasMore: boolean; lastId: string | null }>;
  /** For each id, in order: its text, or null where the caller has no such task. */
  readTasks: (input: {
    caller: Caller;
    language: Language;
    taskIds: readonly string[];
  }) => Promise<readonly ({ json: string; ended: boolean } | null)[]>;
};

const limitDefault = 20;
const limitMax = 100;
const batchMax = 100;
/** Seconds after which asking again is worth while, as for one task. */
const pollAfterSeconds = "1";
const idShownMax = 80;

const statuses = ["pending", "processing", "completed", "failed", "cancelled"] as const;
const listQuery = z.object({
  limit: z.string().optional(),
  after: z.string().optional(),
  status: z.enum(statuses, { error: `use one of ${statuses.join(", ")}` }).optional(),
  model: z.string().max(200, { error: "use the id of a model" }).optional(),
  key: z.string().optional(),
  created_after: z.string().optional(),
  created_before: z.string().optional(),
  language: z.string().optional().catch(undefined),
}) satisfies z.ZodType<TaskListQuery>;

export function registerTaskList(app: FastifyInstance, deps: TaskListDeps): void {
  const onRequest = [deps.auth.identify, deps.auth.limit];
  app.get("/v1/tasks", { onRequest }, (request, reply) => showList(deps, request, reply));
  app.post("/v1/tasks/batch", { onRequest }, (request, reply) => showBatch(deps, request, reply));
}

async function showList(
  { listTasks }: TaskListDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const page = await listTasks(parseListQuery(request));
  const last = page.lastId === null ? "" : `,"last_id":${JSON.stringify(page.lastId)}`;
  const tail = `"has_more":${page.hasMore}${last}`;
  return sendJson(reply, `{"code":200,"data":[${page.tasks.join(",")}],${tail}}`);
}

async function showBatch(
  { readTasks }: TaskListDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const { language: asked } = request.query as { language?: unknown };
  const { task_ids: ids, language } = parseBatch(request);
  const known = ids.filter((id) => isId("task", id));
  const texts = await readTasks({
    caller: callerOf(request),
    language: parseLanguage(language ?? asked),
    taskIds: known,
  });
  const byId = new Map(known.map((id, i) => [id, texts[i] ?? null]));
  const entries = ids.map((id) => byId.get(id)?.json ?? describeMissing(id, request));
  if (texts.some((text) => text?.ended === false)) reply.header("retry-after", pollAfterSeconds);
  return sendJson(reply, `{"code":200,"data":[${entries.join(",")}]}`);
}

/** The ready texts go out without being parsed or serialised again. */
function sendJson(reply: FastifyReply, json: string): FastifyReply {
  return reply.header("content-type", "application/json; charset=utf-8").send(json);
}

function describeMissing(id: string, { contract }: FastifyRequest): string {
  const shown = id.slice(0, idShownMax);
  const error = new AppError(
    "task_not_found",
    `task ${JSON.stringify(shown)} does not exist for this key, or is no longer kept`,
    { param: "task_ids" },
  );
  return JSON.stringify({ id: shown, error: presentError(error, contract) });
}

function parseListQuery(request: FastifyRequest): TaskListInput {
  const query = parseQuery(listQuery, request.query);
  const { after, status, model, key, created_after: from, created_before: before } = query;
  return {
    caller: callerOf(request),
    language: parseLanguage(query.language),
    limit: parseLimit(query.limit),
    ...(after === undefined ? {} : { after: parseId("task", "after", after) }),
    ...(status === undefined ? {} : { state: status }),
    ...(model === undefined ? {} : { model }),
    ...(key === undefined ? {} : { submittedBy: parseId("key", "key", key) }),
    ...(from === undefined ? {} : { createdFrom: parseTime("created_after", from) }),
    ...(before === undefined ? {} : { createdBefore: parseTime("created_before", before) }),
  };
}

function parseLimit(text: string | undefined): number {
  if (text === undefined) return limitDefault;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= limitMax) return limit;
  throw invalid("limit", text, `a whole number from 1 to ${limitMax}`);
}

function parseId(kind: "task" | "key", param: string, text: string): string {
  if (isId(kind, text)) return text;
  throw invalid(param, text, kind === "task" ? "the last_id of a page" : "the id of a key");
}

function parseTime(param: string, text: string): number {
  const ms = findTime(text);
  if (ms !== null) return ms;
  throw invalid(param, text, "unix seconds, or RFC 3339 such as 2026-09-01T00:00:00Z");
}

function invalid(param: string, text: string, allowed: string): AppError {
  const shown = JSON.stringify(text.slice(0, idShownMax));
  return new AppError("invalid_parameter", `${param} ${shown} is not valid; use ${allowed}`, {
    param,
  });
}

function notIds(place: string, value: JsonValue, allowed: string): AppError {
  return new AppError("invalid_parameter", `${place} is ${show(value)}; send ${allowed}`, {
    param: "task_ids",
  });
}

function parseBatch(request: FastifyRequest): TaskBatchBody {
  const { task_ids: ids, language } = parseBody(request);
  const param = "task_ids";
  if (ids === undefined || ids === null) {
    throw new AppError("missing_parameter", `${param} is missing; send a list of task ids`, {
      param,
    });
  }
  if (!Array.isArray(ids)) throw notIds(param, ids, `a list of at most ${batchMax} task ids`);
  if (ids.length > batchMax) {
    throw new AppError(
      "invalid_parameter",
      `${param} has ${ids.length} ids; send at most ${batchMax} in one request`,
      { param },
    );
  }
  const texts = ids.map((id, index) => {
    if (typeof id === "string") return id;
    throw notIds(`${param}[${index}]`, id, "a task id, as a string");
  });
  return { task_ids: texts, language: typeof language === "string" ? language : undefined };
}
