/**
 * One attempt at an upstream, from its committed beginning to its committed end. The order is the
 * promise: the attempt is durable before the first byte leaves, the handle before the first poll, the
 * picture's bytes before the row that names them.
 */
import type { Channel } from "../channels/channel.ts";
import { storeOutput } from "../images/outputs.ts";
import type { StoredOutput } from "../images/outputs.ts";
import { PictureError } from "../images/picture.ts";
import { insertOutputs } from "../images/store.ts";
import { EgressError } from "../lib/egress.ts";
import { redact } from "../lib/log.ts";
import { captureEach } from "../models/price.ts";
import type { Delivered, Tier } from "../models/model.ts";
import { ProviderError } from "../providers/adapter.ts";
import type { Call, Job, Picture, Step, Usage } from "../providers/adapter.ts";
import { discardObjects } from "./body-references.ts";
import { commitStep, Fenced, outlast, pause } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { decide, pauseBeforeRetry } from "./failure.ts";
import type { Decision } from "./failure.ts";
import { endSlots } from "./finish.ts";
import { endAttempt, saveHandle } from "./attempt-store.ts";
import type { Attempt, SlotEnd } from "./task.ts";

export type AttemptInput = {
  attempt: Attempt;
  channel: Channel;
  tier: Tier;
  job: Job;
  /** Tries that the slots have used, this one included. */
  tries: number;
  /** True when the attempt was found in the database rather than begun by this run. */
  resumed: boolean;
};

type Finished = Extract<Step, { status: "done" }>;

const pollPauseMaxMs = 30_000;
/** What a call that makes pictures takes in memory besides its references: the picture itself. */
const callBytes = 8 * 2 ** 20;
/** For the poll that asks once more when an attempt's time is up. */
const lastPollMs = 30_000;

/** Drives an attempt to its end and commits it. Throws `Fenced` when the run has lost its task. */
export async function runAttempt(deps: EngineDeps, run: Run, input: AttemptInput): Promise<void> {
  let finished: Finished;
  try {
    finished = await drive(deps, run, input);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    await commitFailure(deps, run, input, error);
    return;
  }
  const outputs = await Promise.all(
    finished.pictures.map((picture) => keepPicture(deps, run, picture)),
  );
  await commitPictures(deps, run, { ...input, outputs, usage: finished.usage });
}

async function drive(deps: EngineDeps, run: Run, input: AttemptInput): Promise<Finished> {
  const { attempt, channel, resumed } = input;
  // What is sent again begins anew; what is asked for again has had its time since it was sent.
  const begunAt = resumed && attempt.handle === null ? deps.clock.now() : attempt.sentAt;
  const endsAt = begunAt + channel.timeoutMs;
  let step = await firstStep(deps, run, input, endsAt);
  for (let misses = 0; step.status === "running";) {
    const { handle, pollAfterMs } = step;
    if (JSON.stringify(handle) !== JSON.stringify(attempt.handle)) {
      // Held on to while the database is busy: without its handle, paid work could not be asked for again.
      await outlast(deps, run, () =>
        commitStep(deps, run, (tx) => saveHandle(tx, run.task, attempt.id, handle)),
      );
      attempt.handle = handle;
    }
    const waitMs = misses === 0 ? pollAfterMs : Math.min(pollPauseMaxMs, 1_000 * 2 ** misses);
    await pause(deps, run, Math.max(0, Math.min(waitMs, endsAt - deps.clock.now())));
    // Also when its time is up, the work is asked for once more: it may have been done for long.
    const now = deps.clock.now();
    const isLast = now >= endsAt;
    try {
      const verb = "poll";
      step = await call(deps, run, input, { verb, endsAt: isLast ? now + lastPollMs : endsAt });
      misses = 0;
    } catch (error) {
      // Asking again is free: only a final answer ends the attempt.
      if (!(error instanceof ProviderError) || !isPassing(error)) throw error;
      misses += 1;
    }
    if (isLast && step.status === "running") {
      throw new ProviderError("lost", `no result within ${channel.timeoutMs} ms`);
    }
  }
  return step;
}

function isPassing(error: ProviderError): boolean {
  if (error.taskError !== undefined) return false;
  return error.kind === "lost" || error.kind === "unavailable" || error.kind === "rate_limited";
}

async function firstStep(
  deps: EngineDeps,
  run: Run,
  input: AttemptInput,
  endsAt: number,
): Promise<Step> {
  const { attempt, channel, resumed } = input;
  if (attempt.handle !== null) return { status: "running", handle: attempt.handle, pollAfterMs: 0 };
  if (resumed && channel.adapter.resend === "never") {
    throw new ProviderError("lost", "the worker died between the send and the answer");
  }
  return call(deps, run, input, { verb: "submit", endsAt });
}

/** One call of the adapter, called off at `endsAt` and at the task's deadline. */
async function call(
  deps: EngineDeps,
  run: Run,
  { attempt, channel, job }: AttemptInput,
  { verb, endsAt }: { verb: "submit" | "poll"; endsAt: number },
): Promise<Step> {
  const { adapter } = channel;
  const expired = new AbortController();
  const callOffMs = Math.min(endsAt, run.task.deadlineAt) - deps.clock.now();
  const calledOff = deps.clock.after(callOffMs, () => expired.abort());
  // A submit is never abandoned because the worker stops: its answer may be a paid picture.
  const signal = verb === "submit" ? expired.signal : AbortSignal.any([expired.signal, run.signal]);
  try {
    const reads = adapter.readsReferencesOn === verb ? callBytes + referenceBytes(job) : 0;
    return await deps.requestBytes.run(run.task.accountId, reads, async () => {
      // Where it may be sent again under its id, whoever holds the task next does so: a stop is not a try.
      if (run.signal.aborted && adapter.resend === "safe") throw new Fenced(run.task.id);
      if (signal.aborted || run.signal.aborted || !run.isTrusted()) {
        throw new ProviderError("unavailable", `the ${verb} was called off before it was sent`);
      }
      const context: Call = { attemptId: attempt.id, now: deps.clock.now(), signal };
      return verb === "poll" && adapter.poll !== undefined && attempt.handle !== null
        ? adapter.poll(job, attempt.handle, context)
        : adapter.submit(job, context);
    });
  } catch (error) {
    if (verb === "poll" && run.signal.aborted) throw new Fenced(run.task.id);
    throw error;
  } finally {
    calledOff();
  }
}

function referenceBytes(job: Job): number {
  const pictures = job.mask === null ? job.references : [...job.references, job.mask];
  return pictures.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

type Kept = StoredOutput | ProviderError;

/** Stores a picture, waiting out a store that fails: a paid picture is not given up before the deadline. */
async function keepPicture(deps: EngineDeps, run: Run, given: Picture): Promise<Kept> {
  if (given.kind === "failed") return given.failure;
  try {
    return await outlast(deps, run, () => storeOutput(deps, given));
  } catch (error) {
    if (!(error instanceof PictureError || error instanceof EgressError)) throw error;
    return new ProviderError("garbled", error.message, { taskError: "no_image", cause: error });
  }
}

type Delivery = AttemptInput & { outputs: readonly Kept[]; usage: Usage };

async function commitPictures(deps: EngineDeps, run: Run, delivery: Delivery): Promise<void> {
  const { attempt, outputs, usage } = delivery;
  const { task } = run;
  const now = deps.clock.now();
  const ends = attempt.slots.map((slot, index) => endOf(run, delivery, slot, outputs[index]));
  const stored = attempt.slots.flatMap((slot, index) => {
    const output = outputs[index];
    if (output === undefined || output instanceof ProviderError) return [];
    return [{ accountId: task.accountId, taskId: task.id, slot, output, now }];
  });
  try {
    await outlast(deps, run, () =>
      commitStep(deps, run, async (tx) => {
        await insertOutputs(tx, stored);
        await endAttempt(tx, task, { id: attempt.id, state: "done", failure: null, usage, now });
        await endSlots(tx, { task, ends, now, resultTtlMs: deps.resultTtlMs });
      }),
    );
  } catch (error) {
    // The task has ended without them, or another worker will fetch them again.
    if (error instanceof Fenced) {
      await discardObjects(
        deps,
        stored.map(({ output }) => output),
      );
    }
    throw error;
  }
}

function endOf(
  { task }: Run,
  { tier, usage, outputs }: Delivery,
  slot: number,
  output: Kept | undefined,
): SlotEnd {
  if (output === undefined) return { slot, state: "failed", error: { code: "no_image" } };
  if (output instanceof ProviderError) {
    return { slot, state: "failed", error: { code: decide(output).error } };
  }
  const delivered = outputs.filter((kept) => !(kept instanceof ProviderError)).length;
  const captured = captureEach(task.price, deliveredEach(tier, usage, delivered));
  return { slot, state: "done", captured };
}

const sharedFigures = [
  "inputTokens",
  "inputTextTokens",
  "inputImageTokens",
  "outputImageTokens",
] as const;

/** The vendor's report covers all pictures of an attempt; each delivered one is charged its share. */
function deliveredEach(tier: Tier, usage: Usage, pictures: number): Delivered {
  const delivered: Delivered = { tier };
  for (const figure of sharedFigures) {
    const total = usage[figure];
    if (total !== undefined) delivered[figure] = Math.ceil(total / pictures);
  }
  if (usage.quality !== undefined) delivered.quality = usage.quality;
  return delivered;
}

/** What is called off at the deadline failed by it, whatever the adapter made of that. */
function decideAt(deadlineAt: number, now: number, error: ProviderError): Decision {
  const decision = decide(error);
  if (now < deadlineAt) return decision;
  return { ...decision, again: "never", error: "generation_timeout" };
}

async function commitFailure(
  deps: EngineDeps,
  run: Run,
  { attempt, tries }: AttemptInput,
  error: ProviderError,
): Promise<void> {
  const now = deps.clock.now();
  const decision = decideAt(run.task.deadlineAt, now, error);
  const failure = {
    kind: error.kind,
    message: redact(error.message, 500),
    again: decision.again,
    error: { code: decision.error },
    retryAt: now + pauseBeforeRetry(tries, deps.random.fraction(), error.retryAfterMs),
  };
  await commitStep(deps, run, async (tx) => {
    const { task } = run;
    await endAttempt(tx, task, {
      id: attempt.id,
      state: decision.attempt,
      failure,
      usage: {},
      now,
    });
    if (decision.again !== "never") return;
    await endSlots(tx, {
      task,
      ends: attempt.slots.map((slot) => ({ slot, state: "failed", error: failure.error })),
      now,
      resultTtlMs: deps.resultTtlMs,
    });
  });
}
