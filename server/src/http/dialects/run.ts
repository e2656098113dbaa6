/**
 * What every dialect does once it has read a request: submit by the verb of the API's own route, wait for
 * the end, and find the bytes. A client that leaves takes nothing with it: its tasks run on.
 */
import type { FastifyReply, FastifyRequest } from "fastify";

import type { Task, TaskImage } from "../../../../client/src/tasks.ts";
import type { Upload, UploadInput } from "../../images/uploads.ts";
import { AppError, must } from "../../lib/errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import { minuteMs } from "../../lib/time.ts";
import type { Catalogue } from "../../models/catalogue.ts";
import type { Warning } from "../../models/model.ts";
import type { Links } from "../../storage/links.ts";
import type { Storage } from "../../storage/storage.ts";
import type { SubmitTask } from "../../tasks/submit.ts";
import type { Auth } from "../auth.ts";
import type { EventStreams } from "../event-streams.ts";
import { admitSubmit } from "../generations.ts";
import { parseIdempotencyKey, replayedHeader } from "../idempotency.ts";
import { callerOf } from "../request.ts";
import type { WaitForTask } from "../tasks.ts";
import { departureOf } from "../waiting.ts";

export type DialectDeps = {
  auth: Auth;
  submitTask: SubmitTask;
  /** Goes on while the server drains: its callers would pay again. */
  waitForEnd: WaitForTask;
  saveUpload: (input: UploadInput) => Promise<Upload>;
  catalogue: Pick<Catalogue, "find" | "load" | "list">;
  storage: Pick<Storage, "read" | "stat">;
  links: Pick<Links, "recognise">;
  streams: EventStreams;
  publicUrl: () => string;
  /** From submit to the latest end of a task, in milliseconds. */
  deadlineMs: number;
  /** How long a request waits while its client hears nothing, in milliseconds. */
  dialectWaitMs: number;
  /** Largest body of a request, in bytes; for forms the sum of their parts. */
  bodyBytesMax: number;
};

export type Wanted = {
  /** Method and pattern: part of the scope of an idempotency key. */
  route: string;
  /** Of the request as the client wrote it. */
  digest: string;
  /** One for each task; mostly one. */
  bodies: readonly JsonObject[];
};

export type Started = { taskIds: readonly string[]; warnings: readonly Warning[] };

/**
 * Makes the tasks of a request. Where some are refused, the others count; throws the refusal when there
 * is no task at all.
 */
export async function startTasks(
  deps: Pick<DialectDeps, "auth" | "submitTask">,
  { request, reply }: Exchange,
  { route, digest, bodies }: Wanted,
): Promise<Started> {
  const caller = callerOf(request);
  const key = parseIdempotencyKey(request.headers);
  const submits = bodies.map((body, part) =>
    deps.submitTask({
      caller,
      body,
      // A key stands for one task, so that each part of a request needs a scope of its own.
      idempotency:
        key === null ? null : { route: part === 0 ? route : `${route} ${part + 1}`, key, digest },
      admit: () => admitSubmit(deps.auth, { caller, body, reply }),
    }),
  );
  const results = await Promise.allSettled(submits);
  const made = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  if (made.length === 0) {
    const refusal = results.find((result) => result.status === "rejected");
    throw must(refusal, "a refusal").reason;
  }
  if (made.some(({ replayed }) => replayed)) reply.header(replayedHeader, "true");
  return {
    taskIds: made.map(({ taskId }) => taskId),
    warnings: made[0]?.warnings ?? [],
  };
}

export type Exchange = { request: FastifyRequest; reply: FastifyReply };

/** A task that has ended, or null for one that had not when the wait was over. */
export type Ended = Task | null;

/** A task ends by its deadline; what remains is the time to write that down. */
const graceMs = minuteMs;

/**
 * Waits for the tasks to end, in the order of `taskIds`: on a stream, which keeps its client awake, up to
 * their deadline. A silent client would give up earlier than that, and its own retry would pay again.
 */
export async function awaitTasks(
  deps: Pick<DialectDeps, "waitForEnd" | "deadlineMs" | "dialectWaitMs">,
  { request, reply }: Exchange,
  { taskIds, isStream }: { taskIds: readonly string[]; isStream: boolean },
): Promise<Ended[]> {
  const caller = callerOf(request);
  const untilEndMs = deps.deadlineMs + graceMs;
  const waitMs = isStream ? untilEndMs : Math.min(untilEndMs, deps.dialectWaitMs);
  const options = { waitMs, signal: departureOf(reply) };
  return Promise.all(
    taskIds.map(async (taskId) => {
      const view = await deps.waitForEnd({ caller, taskId, language: "en" }, options);
      // The reader's own words: what it renders is the wire type.
      return view?.ended === true ? (JSON.parse(view.json) as Task) : null;
    }),
  );
}

export type StoredPicture = { object: string; bytes: number; image: TaskImage };

/** Where the pictures of ended tasks are stored. Throws `file_expired` for one that is not kept any longer. */
export async function findPictures(
  { links, publicUrl, storage }: Pick<DialectDeps, "links" | "publicUrl" | "storage">,
  tasks: readonly Task[],
): Promise<StoredPicture[]> {
  const images = tasks.flatMap(({ result }) => result?.images ?? []);
  return Promise.all(
    images.map(async (image) => {
      const link = must(links.recognise(image.url[0] ?? "", [publicUrl()]), "a link of our own");
      const found = await storage.stat(link.object);
      if (found === null) throw pictureExpired();
      return { object: link.object, bytes: found.bytes, image };
    }),
  );
}

/** Divisible by three, so that pieces of base64 can be put together. */
const pieceBytes = 3 * 65_536;

/** A stored picture as base64, in pieces. */
export async function* readBase64(
  { storage }: Pick<DialectDeps, "storage">,
  { object }: StoredPicture,
): AsyncGenerator<string> {
  const bytes = await storage.read(object);
  if (bytes === null) throw pictureExpired();
  for (let start = 0; start < bytes.length; start += pieceBytes) {
    yield bytes.toString("base64", start, Math.min(start + pieceBytes, bytes.length));
  }
}

function pictureExpired(): AppError {
  return new AppError(
    "file_expired",
    "the pictures of this task are no longer kept; make the request again without its idempotency key",
  );
}
