/** Results in the words of the OpenAI Images API, whole or as events. */
import type { Task, TaskUsage } from "../../../../client/src/tasks.ts";
import { AppError, must } from "../../lib/errors.ts";
import type { Clock } from "../../lib/time.ts";
import { toUnixSeconds } from "../../lib/time.ts";
import type { ServerEvent } from "../event-streams.ts";
import { openAiFailures, paramOf } from "./openai-problem.ts";
import type { OpenAiFailure, OpenAiProblem } from "./openai-problem.ts";
import type { OpenAiRequest } from "./openai-request.ts";
import type { DialectDeps, Ended, Started, StoredPicture } from "./run.ts";
import { findPictures, readBase64 } from "./run.ts";

export type OpenAiResult = {
  pictures: readonly StoredPicture[];
  /** Members of the reply beside `data`. */
  head: Record<string, unknown>;
};

export type OpenAiRefusal = OpenAiProblem & Pick<OpenAiFailure, "status">;

export type Finished = {
  asked: Pick<OpenAiRequest, "echo">;
  started: Started;
  /** In the order of the started tasks. */
  ended: readonly Ended[];
};

/** What the tasks of a request delivered, or why they delivered nothing. */
export async function presentResult(
  deps: Pick<DialectDeps, "links" | "publicUrl" | "storage"> & { clock: Pick<Clock, "now"> },
  { asked, started, ended }: Finished,
): Promise<OpenAiResult | OpenAiRefusal> {
  const tasks = ended.filter((task) => task !== null);
  const delivered = tasks.filter(({ status }) => status === "completed");
  const [first] = delivered;
  if (first === undefined) return presentFailure(started, tasks);
  const pictures = await findPictures(deps, delivered);
  const usage = sumUsage(delivered);
  const head = {
    created: first.completed ?? toUnixSeconds(deps.clock.now()),
    ...asked.echo,
    ...describePicture(must(pictures[0], "a delivered picture")),
    ...(usage === null ? {} : { usage }),
    task_ids: started.taskIds,
    ...(started.warnings.length === 0 ? {} : { warnings: started.warnings }),
  };
  return { pictures, head };
}

/** As they are, not as they were asked for. */
function describePicture({ image }: StoredPicture): { size: string; output_format: string } {
  return {
    size: `${image.width}x${image.height}`,
    output_format: image.content_type.replace("image/", ""),
  };
}

function presentFailure({ taskIds }: Started, tasks: readonly Task[]): OpenAiRefusal {
  const error = tasks.find((task) => task.error !== undefined)?.error;
  const names = taskIds.join(", ");
  const task = taskIds[0] === undefined ? {} : { task_id: taskIds[0] };
  if (error === undefined) {
    const message =
      `the server stopped waiting before ${names} ended, and the work goes on; ` +
      `read it at GET /v1/tasks/${taskIds[0] ?? ""}`;
    const code = "still_running";
    return { status: 504, error: { message, type: "server_error", param: null, code, ...task } };
  }
  const { status, type, code } = openAiFailures[error.code];
  const message = `${error.message} (${names})`;
  return { status, error: { message, type, param: paramOf(error.param), code, ...task } };
}

function sumUsage(tasks: readonly Task[]): TaskUsage | null {
  const usages = tasks.flatMap(({ usage }) => (usage === undefined ? [] : [usage]));
  const [only, ...others] = usages;
  if (only === undefined || others.length === 0) return only ?? null;
  const sum = (of: (usage: TaskUsage) => number | undefined): number =>
    usages.reduce((total, usage) => total + (of(usage) ?? 0), 0);
  return {
    input_tokens: sum((usage) => usage.input_tokens),
    input_tokens_details: {
      text_tokens: sum((usage) => usage.input_tokens_details?.text_tokens),
      image_tokens: sum((usage) => usage.input_tokens_details?.image_tokens),
    },
    output_tokens: sum((usage) => usage.output_tokens),
    output_tokens_details: {
      text_tokens: sum((usage) => usage.output_tokens_details?.text_tokens),
      image_tokens: sum((usage) => usage.output_tokens_details?.image_tokens),
    },
    total_tokens: sum((usage) => usage.total_tokens),
  };
}

/** The whole reply, in pieces: pictures are read one after the other, as fast as the client takes them. */
export async function* writeResult(
  deps: Pick<DialectDeps, "storage">,
  { pictures, head }: OpenAiResult,
  delivery: OpenAiRequest["delivery"],
): AsyncGenerator<string> {
  yield `${JSON.stringify(head).slice(0, -1)},"data":[`;
  for (const [index, picture] of pictures.entries()) {
    if (index > 0) yield ",";
    if (delivery === "url") {
      yield JSON.stringify({ url: picture.image.url[0] });
      continue;
    }
    yield '{"b64_json":"';
    yield* readBase64(deps, picture);
    yield '"}';
  }
  yield "]}";
}

export type EventKind = "image_generation" | "image_edit";

/** One `completed` event a picture; the tokens of all of them stand in the last. */
export async function* writeEvents(
  deps: Pick<DialectDeps, "storage">,
  { pictures, head }: OpenAiResult,
  kind: EventKind,
): AsyncGenerator<string> {
  const { created, usage, quality, background, task_ids } = head;
  for (const [index, picture] of pictures.entries()) {
    const event = {
      type: `${kind}.completed`,
      created_at: created,
      quality: quality ?? "auto",
      background: background ?? "auto",
      ...describePicture(picture),
      ...(index === pictures.length - 1 ? { usage } : {}),
      task_ids,
    };
    yield `event: ${event.type}\ndata: ${JSON.stringify(event).slice(0, -1)},"b64_json":"`;
    yield* readBase64(deps, picture);
    yield '"}\n\n';
  }
}

/** The event that ends a stream without pictures; the official clients throw its error. */
export function errorEvent({ error }: OpenAiProblem): ServerEvent {
  return { name: "error", data: JSON.stringify({ type: "error", error }) };
}

export function isRefusal(result: OpenAiResult | OpenAiRefusal): result is OpenAiRefusal {
  return "error" in result;
}

/** For what went wrong after the stream had begun. */
export function toProblem(error: unknown): OpenAiProblem {
  const isKnown = error instanceof AppError;
  return {
    error: {
      message: isKnown ? error.message : "something went wrong on the server",
      type: "server_error",
      param: null,
      code: isKnown ? error.reason : "internal_error",
    },
  };
}
