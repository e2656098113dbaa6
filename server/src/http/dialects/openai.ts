/**
 * The OpenAI Images API under `/openai/v1`: the same tasks, for clients that speak it already. A request
 * waits for its pictures; a client that leaves early finds them by the id of the task.
 */
import { Readable } from "node:stream";

import { fastifyMultipart } from "@fastify/multipart";
import type { FastifyInstance, FastifyReply } from "fastify";

import { AppError } from "../../lib/errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import type { Log } from "../../lib/log.ts";
import type { Clock } from "../../lib/time.ts";
import { presentModel } from "../../models/present.ts";
import { digestBody } from "../idempotency.ts";
import { parseBody } from "../json-body.ts";
import { dropBody } from "../request.ts";
import { loadNamedModel } from "./names.ts";
import { assertFormSize, formLimits, readForm } from "./openai-form.ts";
import type { OpenAiForm } from "./openai-form.ts";
import { digestForm, placePictures } from "./openai-pictures.ts";
import {
  errorEvent,
  isRefusal,
  presentResult,
  toProblem,
  writeEvents,
  writeResult,
} from "./openai-reply.ts";
import type { EventKind, OpenAiRefusal } from "./openai-reply.ts";
import { parseJsonPictures, parseOpenAiRequest, splitPictures } from "./openai-request.ts";
import type { OpenAiRequest } from "./openai-request.ts";
import { awaitTasks, startTasks } from "./run.ts";
import type { DialectDeps, Exchange, Started } from "./run.ts";

export type OpenAiDeps = DialectDeps & { clock: Clock; log: Log };

const prefix = "/openai/v1";
const formMediaType = "application/json or multipart/form-data";

type ModelRoute = { Params: { id: string } };

export function registerOpenAi(app: FastifyInstance, deps: OpenAiDeps): void {
  const { identify, limit } = deps.auth;
  app.get(`${prefix}/models`, { onRequest: [identify, limit] }, () => ({
    object: "list",
    data: deps.catalogue.list().map((model) => presentModel(model)),
  }));
  app.get<ModelRoute>(`${prefix}/models/:id`, { onRequest: [identify, limit] }, (request) =>
    presentModel(loadNamedModel(deps.catalogue, request.params.id)),
  );
  app.post(`${prefix}/images/generations`, { onRequest: [identify] }, (request, reply) =>
    answer(deps, { request, reply }, "image_generation"),
  );
  // A scope of its own: no other route of the dialect takes a form.
  void app.register(async (scope) => {
    await scope.register(fastifyMultipart, formLimits);
    const sizes = async (request: Exchange["request"]): Promise<void> =>
      assertFormSize(request, deps.bodyBytesMax);
    const config = { mediaType: formMediaType };
    scope.post(
      `${prefix}/images/edits`,
      { onRequest: [identify, sizes], config },
      (request, reply) => answer(deps, { request, reply }, "image_edit"),
    );
  });
}

async function answer(
  deps: OpenAiDeps,
  exchange: Exchange,
  kind: EventKind,
): Promise<FastifyReply | void> {
  const { asked, started } = await start(deps, exchange, kind);
  dropBody(exchange.request);
  if (asked.isStream) return streamResult(deps, exchange, { asked, started, kind });
  const { taskIds } = started;
  const ended = await awaitTasks(deps, exchange, { taskIds, isStream: false });
  const result = await presentResult(deps, { asked, started, ended });
  if (isRefusal(result)) return refuse(exchange.reply, result);
  return exchange.reply
    .header("content-type", "application/json; charset=utf-8")
    .send(Readable.from(writeResult(deps, result, asked.delivery), { objectMode: false }));
}

type Begun = { asked: Pick<OpenAiRequest, "delivery" | "isStream" | "echo">; started: Started };

/** Apart from the wait, which would keep the pictures of the request in memory. */
async function start(deps: OpenAiDeps, exchange: Exchange, kind: EventKind): Promise<Begun> {
  const { request } = exchange;
  const isForm = kind === "image_edit" && request.isMultipart();
  const form = isForm ? await readForm(request, deps.bodyBytesMax) : null;
  const given = form?.fields ?? parseBody(request);
  const asked = parseOpenAiRequest(deps.catalogue, given);
  const pictures =
    kind === "image_edit" ? await readPictures(deps, exchange, { asked, given, form }) : {};
  const bodies = splitPictures(asked.model, asked.n).map((n) => ({
    ...asked.body,
    ...pictures,
    ...(n === null ? {} : { n }),
  }));
  const route = `POST ${prefix}/images/${kind === "image_edit" ? "edits" : "generations"}`;
  const digest = form === null ? digestBody(given) : digestForm(form);
  const started = await startTasks(deps, exchange, { route, digest, bodies });
  const { delivery, isStream, echo } = asked;
  return { asked: { delivery, isStream, echo }, started };
}

type Edit = { asked: OpenAiRequest; given: JsonObject; form: OpenAiForm | null };

async function readPictures(
  deps: OpenAiDeps,
  { request }: Exchange,
  { asked, given, form }: Edit,
): Promise<JsonObject> {
  const { images, mask } =
    form === null
      ? parseJsonPictures(given)
      : await placePictures(deps, { request, model: asked.model, form });
  if (images.length === 0) {
    throw new AppError("missing_parameter", "image is required: the picture to edit", {
      param: "image",
    });
  }
  return { image_urls: images, ...(mask === null ? {} : { mask_url: mask }) };
}

function refuse(reply: FastifyReply, { status, error }: OpenAiRefusal): FastifyReply {
  // The gateway has tried what could be tried; the official clients would pay for the same again.
  return reply.code(status).header("x-should-retry", "false").send({ error });
}

/** The stream begins at once, so that the connection is not silent while the pictures are made. */
async function streamResult(
  deps: OpenAiDeps,
  exchange: Exchange,
  { asked, started, kind }: Begun & { kind: EventKind },
): Promise<void> {
  const stream = deps.streams.open(exchange.reply, () => undefined);
  try {
    const { taskIds } = started;
    const ended = await awaitTasks(deps, exchange, { taskIds, isStream: true });
    const result = await presentResult(deps, { asked, started, ended });
    if (isRefusal(result)) stream.send(errorEvent(result));
    else await stream.sendText(writeEvents(deps, result, kind));
  } catch (error) {
    deps.log.error({ err: error, requestId: exchange.request.id }, "a stream of pictures failed");
    stream.send(errorEvent(toProblem(error)));
  } finally {
    stream.end();
  }
}
