/**
 * Everything that can go wrong, and what to do about each. A test key plays all of it by words in the
 * prompt; under a live key the same words are a text like any other.
 *
 *   DARKROOM_KEY=sk-test-… node errors.ts
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

type TaskError = { code: string; message: string };
type Task = {
  id: string;
  status: "pending" | "processing" | "completed" | "failed" | "cancelled";
  cost: number;
  result?: { images: { url: [string] }[]; errors?: (TaskError & { index: number })[] };
  error?: TaskError;
};
type ErrorBody = { error: { reason: string; message: string; param?: string }; request_id: string };

const { DARKROOM_URL: gateway = "http://127.0.0.1:8787", DARKROOM_KEY: key } = process.env;
if (key === undefined) throw new Error("DARKROOM_KEY is not set; give it an API key");

const triesMax = 2;

/** A refused request. No task was made, and nothing was charged. */
class Refusal extends Error {
  status: number;
  reason: string;

  constructor(status: number, { error, request_id: requestId }: ErrorBody) {
    super(`${error.message} (${requestId})`);
    this.status = status;
    this.reason = error.reason;
  }
}

/** Repeats what may pass: no reply at all, 429, 500, 503. All with one key, so at most one task is made. */
async function call<Data>(path: string, body?: object, token = key): Promise<Data> {
  const idempotencyKey = randomUUID();
  for (let tries = 1; ; tries += 1) {
    const reply = await fetch(gateway + path, {
      method: body === undefined ? "GET" : "POST",
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined
          ? {}
          : { "content-type": "application/json", "idempotency-key": idempotencyKey }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(90_000),
    }).catch((error: unknown) => {
      if (tries === triesMax) throw error;
      return null;
    });
    if (reply?.ok) return ((await reply.json()) as { data: Data }).data;
    if (reply !== null) {
      const refusal = new Refusal(reply.status, (await reply.json()) as ErrorBody);
      const mayPass = [429, 500, 503].includes(reply.status);
      if (!mayPass || tries === triesMax) throw refusal;
    }
    await sleep(1_000 * Number(reply?.headers.get("retry-after") ?? tries));
  }
}

async function makePictures(wishes: object): Promise<Task> {
  const body = { model: "gemini-3.1-flash-image-preview", resolution: "0.5K", ...wishes };
  const [{ task_id: id }] = await call<[{ task_id: string }]>("/v1/images/generations", body);
  for (;;) {
    const task = await call<Task>(`/v1/tasks/${id}?wait=30`);
    if (task.status !== "pending" && task.status !== "processing") return task;
  }
}

/** What a program does about a refused request. The reason decides; the message is for people. */
function adviseOnRefusal({ status, reason }: Refusal): string {
  switch (status) {
    case 401:
    case 403:
      return "give the program another key, or the key other permissions";
    case 402:
      return reason === "spend_cap_reached" ? "raise the key's cap" : "add credit";
    case 429:
    case 503:
      return "put the work back into the queue: it did not pass in time";
    default:
      return "correct the request: repeating it would not help";
  }
}

/** What a program does about a task that has failed. It costs nothing. */
function adviseOnFailure(code: string): string {
  switch (code) {
    case "content_policy_violation":
    case "provider_rejected":
      return "change the prompt: the same one is refused again";
    case "invalid_reference_image":
    case "invalid_mask":
      return "send another picture";
    case "provider_unavailable":
    case "generation_timeout":
    case "internal_error":
      return "submit it again later, as a new task";
    case "no_image":
    case "outcome_unknown":
      return "submit it again once, as a new task";
    default:
      return "nothing: it was asked for";
  }
}

async function report(what: string, work: () => Promise<Task>): Promise<void> {
  try {
    const { status, cost, result, error } = await work();
    console.log(`${what}: ${status}, ${result?.images.length ?? 0} pictures, ${cost} USD`);
    for (const { index, code } of result?.errors ?? []) {
      console.log(`  picture ${index + 1}: ${code}; ${adviseOnFailure(code)}`);
    }
    if (error !== undefined) {
      console.log(`  ${error.code}: ${error.message}`);
      console.log(`  ${adviseOnFailure(error.code)}`);
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    console.log(`${what}: refused with ${error.status} ${error.reason}`);
    console.log(`  ${error.message}`);
    console.log(`  ${adviseOnRefusal(error)}`);
  }
}

await report("a wrong size", () => makePictures({ prompt: "A fox", size: "3:7" }));
await report("a wrong key", () => call<Task>("/v1/balance", undefined, "sk-test-wrong"));
await report("an unknown task", () => call<Task>("/v1/tasks/task_unknown"));
for (const status of [402, 429, 503]) {
  await report(`HTTP ${status}`, () => makePictures({ prompt: `A fox [[submit:${status}]]` }));
}
for (const code of [
  "content_policy_violation",
  "invalid_reference_image",
  "invalid_mask",
  "provider_rejected",
  "provider_unavailable",
  "generation_timeout",
  "no_image",
  "outcome_unknown",
  "internal_error",
]) {
  await report(`the failure ${code}`, () => makePictures({ prompt: `A fox [[fail:${code}]]` }));
}
await report("one picture of two", () => makePictures({ prompt: "A fox [[partial:1]]", n: 2 }));
await report("a task cancelled under way", async () => {
  const body = { model: "flux-2-pro", prompt: "A fox [[slow:1s]]" };
  const [{ task_id: id }] = await call<[{ task_id: string }]>("/v1/images/generations", body);
  // Pending: it ends at once. Processing: no further attempt starts, and what arrives is delivered.
  const asked = await call<Task>(`/v1/tasks/${id}/cancel`, {});
  return asked.status === "cancelled" ? asked : call<Task>(`/v1/tasks/${id}?wait=30`);
});
