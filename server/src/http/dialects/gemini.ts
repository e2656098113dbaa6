/** `generateContent` for tools that only speak Google's API: one request, one answer with its pictures. */
import { Readable } from "node:stream";

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type { Task, TaskErrorCode, TaskUsage } from "../../../../client/src/tasks.ts";
import { AppError } from "../../lib/errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import type { Model } from "../../models/row.ts";
import { digestBody } from "../idempotency.ts";
import { parseBody } from "../json-body.ts";
import { dropBody, pathOf } from "../request.ts";
import { geminiProblem } from "./gemini-problem.ts";
import { parseGeminiRequest } from "./gemini-request.ts";
import { acceptKeyHeader } from "./key-header.ts";
import { loadNamedModel } from "./names.ts";
import { openAiFailures } from "./openai-problem.ts";
import { awaitTasks, findPictures, readBase64, startTasks } from "./run.ts";
import type { DialectDeps, Exchange, StoredPicture } from "./run.ts";

type CallRoute = { Params: { call: string } };
type ModelRoute = { Params: { id: string } };

const verb = ":generateContent";

export function registerGemini(app: FastifyInstance, deps: DialectDeps): void {
  const identify = [acceptKeyHeader("x-goog-api-key"), deps.auth.identify];
  // Google's own clients differ in the version that they put into the path.
  for (const version of ["/v1beta", "/v1"]) {
    app.post<CallRoute>(`${version}/models/:call`, { onRequest: identify }, (request, reply) =>
      answer(deps, { request, reply }, request.params.call),
    );
  }
  const onRequest = [...identify, deps.auth.limit];
  app.get("/v1beta/models", { onRequest }, () => ({
    models: deps.catalogue.list().map(presentGeminiModel),
  }));
  app.get<ModelRoute>("/v1beta/models/:id", { onRequest }, (request) =>
    presentGeminiModel(loadNamedModel(deps.catalogue, request.params.id)),
  );
}

function presentGeminiModel(model: Model): JsonObject {
  return {
    name: `models/${model.id}`,
    displayName: model.id,
    description: model.description,
    supportedGenerationMethods: ["generateContent"],
  };
}

async function answer(deps: DialectDeps, exchange: Exchange, call: string): Promise<FastifyReply> {
  const { request, reply } = exchange;
  if (!call.endsWith(verb)) throw noSuchCall(request);
  const model = loadNamedModel(deps.catalogue, call.slice(0, -verb.length));
  const taskIds = await start(deps, exchange, model);
  dropBody(request);
  const [task = null] = await awaitTasks(deps, exchange, { taskIds, isStream: false });
  if (task === null) {
    const message = `the server stopped waiting, and ${taskIds.join()} goes on; read it at GET /v1/tasks/${taskIds.join()}`;
    return reply.code(504).send(geminiProblem(504, message, "still_running"));
  }
  if (task.status !== "completed") return refuse(reply, model, task);
  const pictures = await findPictures(deps, [task]);
  return reply
    .header("content-type", "application/json; charset=utf-8")
    .send(Readable.from(writeReply(deps, { model, task, pictures }), { objectMode: false }));
}

async function start(
  deps: DialectDeps,
  exchange: Exchange,
  model: Model,
): Promise<readonly string[]> {
  const given = parseBody(exchange.request);
  const { taskIds } = await startTasks(deps, exchange, {
    route: `POST ${pathOf(exchange.request)}`,
    digest: digestBody(given),
    bodies: [parseGeminiRequest(model, given)],
  });
  return taskIds;
}

function noSuchCall(request: FastifyRequest): AppError {
  return new AppError(
    "route_not_found",
    `POST ${pathOf(request).slice(0, 200)} is not served; use /models/{model}${verb}`,
  );
}

/** What this API says with status 200, because it is about the prompt and not about the request. */
const blocked: Partial<Record<TaskErrorCode, object>> = {
  content_policy_violation: { promptFeedback: { blockReason: "PROHIBITED_CONTENT" } },
  no_image: { candidates: [{ index: 0, finishReason: "NO_IMAGE" }] },
};

function refuse(reply: FastifyReply, model: Model, task: Task): FastifyReply {
  const code = task.error?.code ?? "internal_error";
  const answered = blocked[code];
  if (answered !== undefined) {
    return reply.send({ ...answered, modelVersion: model.id, responseId: task.id });
  }
  const { status } = openAiFailures[code];
  const message = `${task.error?.message ?? "the task has failed"} (${task.id})`;
  return reply.code(status).send(geminiProblem(status, message, code));
}

type Answer = { model: Model; task: Task; pictures: readonly StoredPicture[] };

async function* writeReply(
  deps: DialectDeps,
  { model, task, pictures }: Answer,
): AsyncGenerator<string> {
  yield '{"candidates":[{"index":0,"finishReason":"STOP","content":{"role":"model","parts":[';
  for (const [index, picture] of pictures.entries()) {
    if (index > 0) yield ",";
    const mimeType = JSON.stringify(picture.image.content_type);
    yield `{"inlineData":{"mimeType":${mimeType},"data":"`;
    yield* readBase64(deps, picture);
    yield '"}}';
  }
  const usage = task.usage === undefined ? {} : { usageMetadata: presentUsage(task.usage) };
  const tail = JSON.stringify({ ...usage, modelVersion: model.id, responseId: task.id });
  yield `]}}],${tail.slice(1)}`;
}

function presentUsage(usage: TaskUsage): JsonObject {
  return {
    promptTokenCount: usage.input_tokens,
    candidatesTokenCount: usage.output_tokens,
    totalTokenCount: usage.total_tokens,
  };
}
