import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type { SubmitReply, VersionedSubmitReply } from "../../../client/src/submit.ts";
import type { Caller } from "../accounts/caller.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { secondMs } from "../lib/time.ts";
import type { Language } from "../models/model.ts";
import { outcomeWords } from "../models/outcome-words.ts";
import type { Submitted, SubmitTask } from "../tasks/submit.ts";
import type { Auth } from "./auth.ts";
import { digestBody, parseIdempotencyKey, replayedHeader } from "./idempotency.ts";
import { parseBody } from "./json-body.ts";
import { callerOf, dropBody } from "./request.ts";
import { parseLanguage } from "./schemas.ts";
import type { WaitForTask } from "./tasks.ts";
import { departureOf, findPreferredWait } from "./waiting.ts";

export type GenerationsDeps = {
  auth: Auth;
  submitTask: SubmitTask;
  waitForTask: WaitForTask;
  /** Origin, with a path or not, under which callers reach the server; no slash at its end. */
  publicUrl: () => string;
};

const path = "/v1/images/generations";

export function registerGenerations(app: FastifyInstance, deps: GenerationsDeps): void {
  app.post(path, { onRequest: [deps.auth.identify] }, (request, reply) =>
    submit(deps, request, reply),
  );
}

async function submit(
  deps: GenerationsDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<SubmitReply | VersionedSubmitReply | FastifyReply> {
  const { submitting, language } = begin(deps, request, reply);
  const submitted = await submitting;
  if (submitted.replayed) reply.header(replayedHeader, "true");
  const waitSeconds = findPreferredWait(request.headers["prefer"]);
  if (waitSeconds !== null) {
    dropBody(request);
    const { taskId } = submitted;
    const wait = { request, reply, taskId, language: parseLanguage(language), waitSeconds };
    const finished = await awaitTask(deps, wait);
    if (finished !== null) return finished;
  }
  if (request.contract === "default") return presentSubmit(submitted);
  reply.code(202);
  return presentVersionedSubmit(submitted, request.id, deps.publicUrl());
}

/** Apart from the wait, which would keep the body in memory. */
function begin(
  deps: GenerationsDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): { submitting: Promise<Submitted>; language: unknown } {
  const caller = callerOf(request);
  const key = parseIdempotencyKey(request.headers);
  const body = parseBody(request);
  const submitting = deps.submitTask({
    caller,
    body,
    idempotency: key === null ? null : { route: `POST ${path}`, key, digest: digestBody(body) },
    admit: () => admitSubmit(deps.auth, { caller, body, reply }),
  });
  return { submitting, language: body["language"] };
}

type Waiting = {
  request: FastifyRequest;
  reply: FastifyReply;
  taskId: string;
  language: Language;
  waitSeconds: number;
};

/** The finished task in the shape of a poll, or null when time is up first. */
async function awaitTask(
  deps: GenerationsDeps,
  { request, reply, taskId, language, waitSeconds }: Waiting,
): Promise<FastifyReply | null> {
  reply.header("preference-applied", `wait=${waitSeconds}`);
  const view = await deps.waitForTask(
    { caller: callerOf(request), taskId, language },
    { waitMs: waitSeconds * secondMs, signal: departureOf(reply) },
  );
  if (view === null || !view.ended) return null;
  const json =
    request.contract === "default"
      ? `{"code":200,"data":${view.json}}`
      : `{"code":200,"request_id":"${request.id}",` +
        `"data":{"object":"generation.result",${view.json.slice(1)}}`;
  return reply.header("content-type", "application/json; charset=utf-8").send(json);
}

function presentSubmit({ taskId, warnings }: Submitted): SubmitReply {
  return {
    code: 200,
    data: [{ status: "submitted", task_id: taskId }],
    ...(warnings.length === 0 ? {} : { warnings }),
  };
}

function presentVersionedSubmit(
  { taskId, warnings }: Submitted,
  requestId: string,
  publicUrl: string,
): VersionedSubmitReply {
  return {
    code: 202,
    request_id: requestId,
    data: {
      object: "generation.task",
      id: taskId,
      status: "submitted",
      poll_url: `${publicUrl}/v1/tasks/${taskId}`,
    },
    ...(warnings.length === 0 ? {} : { warnings }),
  };
}

/** Spends one request of the caller's allowance. Throws what the caller is to be told. */
export function admitSubmit(
  auth: Auth,
  { caller, body, reply }: { caller: Caller; body: JsonObject; reply: FastifyReply },
): void {
  auth.spend(caller, reply);
  assertNotSimulated(caller, body);
}

/** A test key's `[[submit:402|429|503]]` asks for a refusal, so that integrators can see each one. */
function assertNotSimulated(caller: Caller, body: JsonObject): void {
  const prompt = body["prompt"];
  if (caller.mode !== "test" || typeof prompt !== "string") return;
  switch (outcomeWords(prompt).submit) {
    case 402:
      throw new AppError("insufficient_balance", simulated("the balance is short"));
    case 429:
      throw new AppError("rate_limited", simulated("too many requests"));
    case 503:
      throw new AppError("unavailable", simulated("the service is not available"));
    case null:
  }
}

function simulated(what: string): string {
  return `${what}; the test prompt asked for this refusal, and no task was made`;
}
