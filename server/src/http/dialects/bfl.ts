/** BFL's submit and poll, for tools that only speak those; every FLUX model of the catalogue has its route. */
import type { FastifyInstance, FastifyRequest } from "fastify";

import type { Task } from "../../../../client/src/tasks.ts";
import { parseDataReference } from "../../images/data-uri.ts";
import { AppError } from "../../lib/errors.ts";
import { isId } from "../../lib/ids.ts";
import type { JsonObject, JsonValue } from "../../lib/json.ts";
import type { Promised } from "../../lib/promised.ts";
import type { Model } from "../../models/row.ts";
import { digestBody } from "../idempotency.ts";
import { parseBody } from "../json-body.ts";
import { callerOf } from "../request.ts";
import { taskNotFound } from "../tasks.ts";
import type { TaskInput, TaskView } from "../tasks.ts";
import { acceptKeyHeader } from "./key-header.ts";
import { startTasks } from "./run.ts";
import type { DialectDeps, Exchange } from "./run.ts";
import { mapSize } from "./sizes.ts";

export type BflDeps = DialectDeps & {
  readTask: (input: TaskInput) => Promised<TaskView | null>;
};

type ResultRoute = { Querystring: { id?: unknown } };

export function registerBfl(app: FastifyInstance, deps: BflDeps): void {
  const identify = [acceptKeyHeader("x-key"), deps.auth.identify];
  for (const model of bflModels(deps.catalogue.list())) {
    app.post(`/v1/${model.id}`, { onRequest: identify }, (request, reply) =>
      submit(deps, { request, reply }, model),
    );
  }
  app.get<ResultRoute>("/v1/get_result", { onRequest: [...identify, deps.auth.limit] }, (request) =>
    poll(deps, request),
  );
}

/** Models whose vendor is BFL: its clients put the name of the model into the path. */
export function bflModels(models: readonly Model[]): Model[] {
  return models.filter(({ id, provider }) => provider === "bfl" && id.startsWith("flux-"));
}

async function submit(
  deps: BflDeps,
  exchange: Exchange,
  model: Model,
): Promise<{ id: string; polling_url: string }> {
  const given = parseBody(exchange.request);
  const body = await parseBflRequest(deps, { request: exchange.request, model, given });
  const { taskIds } = await startTasks(deps, exchange, {
    route: `POST /v1/${model.id}`,
    digest: digestBody(given),
    bodies: [body],
  });
  const [id = ""] = taskIds;
  return { id, polling_url: `${deps.publicUrl()}/v1/get_result?id=${id}` };
}

type Given = { request: FastifyRequest; model: Model; given: JsonObject };

const imageField = /^input_image(_[2-8])?$/;
const sizeFields = ["width", "height", "aspect_ratio", "output_format", "model"];

async function parseBflRequest(
  deps: BflDeps,
  { request, model, given }: Given,
): Promise<JsonObject> {
  refuseWebhook(given);
  const kept = Object.entries(given).filter(
    ([name]) => !imageField.test(name) && !sizeFields.includes(name),
  );
  const images: string[] = [];
  for (const [name, value] of Object.entries(given)) {
    if (!imageField.test(name) || value === null || value === "") continue;
    images.push(await placePicture(deps, { request, model, name, value }));
  }
  return {
    ...Object.fromEntries(kept),
    model: model.id,
    ...parseSize(model, given),
    ...parseFormat(model, given["output_format"]),
    ...(images.length === 0 ? {} : { image_urls: images }),
  };
}

/** Its callbacks have another body and another signature than ours. */
function refuseWebhook(given: JsonObject): void {
  const value = given["webhook_url"];
  if (value === undefined || value === null || value === "") return;
  throw new AppError(
    "unsupported_parameter",
    "webhook_url is not supported here; poll, or submit to POST /v1/images/generations with webhook",
    { param: "webhook_url" },
  );
}

function parseSize(model: Model, given: JsonObject): JsonObject {
  const { width, height, aspect_ratio: ratio } = given;
  if (typeof ratio === "string" && ratio !== "") return { size: ratio };
  if (typeof width !== "number" || typeof height !== "number") return {};
  // Zero leaves the choice to the model.
  if (width === 0 || height === 0) return {};
  return { ...mapSize(model, `${width}x${height}`) };
}

/** A model that makes one format is not asked for it. */
function parseFormat(model: Model, format: JsonValue | undefined): JsonObject {
  if (!("parameter" in model.format) || typeof format !== "string") return {};
  const { parameter, words } = model.format;
  const word = Object.entries(words).find(([, means]) => means === format)?.[0];
  return { [parameter]: word ?? format };
}

type Picture = { request: FastifyRequest; model: Model; name: string; value: JsonValue };

/** A URL stays; base64, which FLUX does not take, becomes an upload. */
async function placePicture(
  deps: BflDeps,
  { request, model, name, value }: Picture,
): Promise<string> {
  if (typeof value !== "string") {
    throw new AppError("invalid_parameter", `${name} must be a URL or base64`, { param: name });
  }
  if (/^https?:\/\//i.test(value)) return value;
  const base64 = value.replace(/^data:[^,]{0,80},/, "");
  const bytesMax = model.references?.bytesMax ?? 0;
  const reference = { kind: "data", mediaType: null, base64 } as const;
  const bytes = parseDataReference(reference, { param: name, index: null }, bytesMax);
  const { accountId, mode } = callerOf(request);
  return (await deps.saveUpload({ accountId, mode, filename: name, bytes })).url;
}

async function poll(deps: BflDeps, request: FastifyRequest<ResultRoute>): Promise<JsonObject> {
  const id = typeof request.query.id === "string" ? request.query.id : "";
  if (!isId("task", id)) throw taskNotFound(id);
  const view = await deps.readTask({ caller: callerOf(request), taskId: id, language: "en" });
  if (view === null) throw taskNotFound(id);
  // The reader's own words: what it renders is the wire type.
  return presentPoll(JSON.parse(view.json) as Task);
}

function presentPoll(task: Task): JsonObject {
  const base = { id: task.id, progress: null, preview: null };
  const [image] = task.result?.images ?? [];
  if (image !== undefined) {
    const sample = image.url[0] ?? "";
    const result = { sample, start_time: task.created, end_time: task.completed ?? null };
    return { ...base, status: "Ready", result, details: null };
  }
  if (task.error === undefined) {
    return { ...base, status: "Pending", result: null, details: null };
  }
  // Clients poll on at any other final word.
  const details = { error: task.error.message, code: task.error.code };
  return { ...base, status: "Error", result: null, details };
}
