import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

import type { SubmitReply, VersionedSubmitReply } from "../../../client/src/types.ts";
import type { Caller } from "../accounts/caller.ts";
import { AppError } from "../lib/errors.ts";
import type { JsonObject } from "../lib/json.ts";
import type { Warning } from "../models/model.ts";
import { outcomeWords } from "../models/outcome-words.ts";
import type { Auth } from "./auth.ts";
import { digestBody, parseIdempotencyKey, replayedHeader } from "./idempotency.ts";
import { parseBody } from "./json-body.ts";
import { callerOf } from "./request.ts";

export type SubmitInput = {
  caller: Caller;
  /** As parsed; the verb validates it against the model's contract. */
  body: JsonObject;
  /** `route` is part of the scope of a key; `digest` is equal for bodies that mean the same. */
  idempotency: { route: string; key: string; digest: string } | null;
  requestId: string;
  /**
   * Spends one request of the key's allowance. To be called once, after the idempotency look-up has
   * found nothing and before anything else. Throws what the caller is to be told.
   */
  admit: () => void;
};

export type Submitted = {
  taskId: string;
  warnings: readonly Warning[];
  /** True when the task was made by an earlier request with the same idempotency key. */
  replayed: boolean;
};

/**
 * Accepts a task, or throws `AppError` when there will be none. Resolves when the task survives a
 * power loss. Order: idempotency look-up, `admit`, the key's permissions, validation, channel, price,
 * one transaction.
 */
export type SubmitTask = (input: SubmitInput) => Promise<Submitted>;

export type GenerationsDeps = {
  auth: Auth;
  submitTask: SubmitTask;
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
): Promise<SubmitReply | VersionedSubmitReply> {
  const caller = callerOf(request);
  const key = parseIdempotencyKey(request.headers);
  const body = parseBody(request);
  const submitted = await deps.submitTask({
    caller,
    body,
    idempotency: key === null ? null : { route: `POST ${path}`, key, digest: digestBody(body) },
    requestId: request.id,
    admit: () => {
      deps.auth.spend(caller);
      assertNotSimulated(caller, body);
    },
  });
  if (submitted.replayed) reply.header(replayedHeader, "true");
  if (request.contract === "default") return presentSubmit(submitted);
  reply.code(202);
  return presentVersionedSubmit(submitted, request.id, deps.publicUrl());
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
