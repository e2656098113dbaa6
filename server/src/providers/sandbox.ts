/**
 * The provider behind test keys: pictures drawn here, priced and failed as asked. Like a vendor it
 * takes work, lets it be polled and then delivers, so that the engine's whole path is exercised; unlike
 * one it keeps nothing. A picture is a pure function of model, parameters, prompt, references and
 * slot, so a repeated call gives the same bytes.
 */
import { createHash } from "node:crypto";

import { AppError } from "../lib/errors.ts";
import { canonicalJson } from "../lib/json.ts";
import type { JsonObject } from "../lib/json.ts";
import { outcomeWords } from "../models/outcome-words.ts";
import { taskErrorCodes } from "../models/task-errors.ts";
import type { OutcomeWords } from "../models/outcome-words.ts";
import type { TaskErrorCode } from "../models/task-errors.ts";
import { ProviderError } from "./adapter.ts";
import type {
  Adapter,
  Call,
  FailureKind,
  Job,
  JobHandle,
  Picture,
  Step,
  Usage,
} from "./adapter.ts";

/** What the sandbox wants drawn; the shape of a `Drawing` of `images/`. */
export type SandboxDrawing = {
  width: number;
  height: number;
  format: Job["format"];
  compression: number | null;
  transparent: boolean;
  seed: string;
  title: string;
  caption: string;
  insets: readonly Uint8Array[];
  base: { picture: Uint8Array; mask: Uint8Array } | null;
};

export type SandboxDeps = {
  draw(drawing: SandboxDrawing): Promise<Uint8Array>;
  /** What the sandbox reports for a job, so that models billed by token have something to bill. */
  usageOf(job: Job): Usage;
  /** How long a picture takes when its prompt does not say; 300 ms by default. */
  durationMs?: number;
};

const durationMsDefault = 300;
/** A slow task is asked for now and then, as a vendor would be. */
const pollAfterMsMax = 30_000;
const retryAfterMsDefault = 1_000;

export function createSandbox(deps: SandboxDeps): Adapter {
  return {
    name: "sandbox",
    picturesMax: 1,
    resend: "safe",
    readsReferencesOn: "poll",
    submit: (job, call) => begin(deps, job, call),
    poll: (job, handle, call) => answer(deps, job, { handle, call }),
  };
}

/** What the handle carries: everything about the work that is not in the job. */
type Order = {
  startedAt: number;
  readyAt: number;
  fail: TaskErrorCode | null;
  partial: number | null;
};

async function begin(deps: SandboxDeps, job: Job, call: Call): Promise<Step> {
  assertWanted(call);
  const { slowMs, fail, partial } = wordsOf(job);
  const durationMs = slowMs ?? deps.durationMs ?? durationMsDefault;
  const order: Order = { startedAt: call.now, readyAt: call.now + durationMs, fail, partial };
  return runningStep(order, call.now);
}

async function answer(
  deps: SandboxDeps,
  job: Job,
  { handle, call }: { handle: JobHandle; call: Call },
): Promise<Step> {
  assertWanted(call);
  const order = parseHandle(handle);
  if (call.now < order.readyAt) return runningStep(order, call.now);
  const pictures: Picture[] = [];
  for (const slot of job.slots) pictures.push(await makePicture(deps, job, { slot, order, call }));
  return { status: "done", pictures, usage: deps.usageOf(job) };
}

function runningStep(order: Order, now: number): Step {
  const { startedAt, readyAt } = order;
  const share = (now - startedAt) / Math.max(1, readyAt - startedAt);
  return {
    status: "running",
    handle: order,
    pollAfterMs: Math.min(pollAfterMsMax, readyAt - now),
    progress: Math.min(99, Math.max(0, Math.floor(share * 100))),
  };
}

async function makePicture(
  deps: SandboxDeps,
  job: Job,
  { slot, order, call }: { slot: number; order: Order; call: Call },
): Promise<Picture> {
  if (order.fail !== null) return failedPicture(order.fail);
  if (order.partial !== null && slot >= order.partial) return failedPicture("no_image");
  const drawing = await describeDrawing(job, slot);
  const bytes = await untilAborted(callDraw(deps, drawing), call.signal);
  return { kind: "bytes", bytes };
}

/** The kinds are those that never count against the channel: a caller's wish is not a fault of it. */
const failureKinds: Record<TaskErrorCode, FailureKind> = {
  content_policy_violation: "refused",
  invalid_reference_image: "bad_request",
  invalid_mask: "bad_request",
  provider_rejected: "bad_request",
  provider_unavailable: "refused",
  generation_timeout: "refused",
  no_image: "refused",
  outcome_unknown: "vanished",
  cancelled: "refused",
  internal_error: "refused",
};

function failedPicture(code: TaskErrorCode): Picture {
  const message = `the prompt asked for the outcome ${code}`;
  const failure = new ProviderError(failureKinds[code], message, { taskError: code });
  return { kind: "failed", failure };
}

/** Live prompts are never searched for words: the text in brackets may be what the picture is about. */
function wordsOf(job: Job): OutcomeWords {
  if (job.test) return outcomeWords(job.prompt);
  return { fail: null, slowMs: null, partial: null, submit: null, prompt: job.prompt };
}

async function describeDrawing(job: Job, slot: number): Promise<SandboxDrawing> {
  const references = await Promise.all(job.references.map((reference) => reference.read()));
  const mask = (await job.mask?.read()) ?? null;
  const { width, height, format, parameters } = job;
  const { prompt } = wordsOf(job);
  const [base] = references;
  const isEdit = mask !== null && base !== undefined;
  const compression = parameters["output_compression"];
  return {
    width,
    height,
    format,
    compression: typeof compression === "number" && format !== "png" ? compression : null,
    transparent: parameters["background"] === "transparent" && format !== "jpeg",
    seed: seedOf({
      model: job.model,
      parameters,
      prompt,
      slot,
      references: references.map(digestOf),
      mask: mask === null ? null : digestOf(mask),
    }),
    title: prompt,
    caption: `${job.model} · ${width}×${height} · picture ${slot + 1}`,
    insets: isEdit ? references.slice(1) : references,
    base: isEdit ? { picture: base, mask } : null,
  };
}

function seedOf(facts: JsonObject): string {
  return digestOf(Buffer.from(canonicalJson(facts)));
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Too many pictures at once, or a process lost under way: asking again later costs nothing. */
async function callDraw(deps: SandboxDeps, drawing: SandboxDrawing): Promise<Uint8Array> {
  try {
    return await deps.draw(drawing);
  } catch (error) {
    const message = `the picture could not be drawn: ${error instanceof Error ? error.message : "?"}`;
    if (error instanceof AppError) {
      const retryAfterMs = (error.retryAfterSeconds ?? 0) * 1_000 || retryAfterMsDefault;
      throw new ProviderError("unavailable", message, { retryAfterMs, cause: error });
    }
    throw new ProviderError("garbled", message, { taskError: "internal_error", cause: error });
  }
}

function assertWanted(call: Call): void {
  if (call.signal.aborted) throw calledOff(call.signal);
}

/** Nothing is lost when a call is called off: the next one begins at the same place. */
function calledOff(signal: AbortSignal): ProviderError {
  return new ProviderError("unavailable", "the call was called off", { cause: signal.reason });
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(calledOff(signal));
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function parseHandle(handle: JobHandle): Order {
  const { startedAt, readyAt, fail, partial } = handle;
  if (typeof startedAt !== "number" || typeof readyAt !== "number") {
    throw new ProviderError("vanished", "the handle is not one of the sandbox");
  }
  return {
    startedAt,
    readyAt,
    fail: taskErrorCodes.find((code) => code === fail) ?? null,
    partial: typeof partial === "number" ? partial : null,
  };
}
