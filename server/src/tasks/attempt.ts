/**
 * One attempt at an upstream, from its committed beginning to its committed end. The order is the
 * promise: the attempt is durable before the first byte leaves, the handle before the first poll, the
 * picture's bytes before the row that names them.
 */
import type { Permit, Verdict } from "../channels/breaker.ts";
import type { Channel } from "../channels/channel.ts";
import type { OutputPromise } from "../images/outputs.ts";
import { ProviderError } from "../providers/adapter.ts";
import type {
  Adapter,
  Call,
  FailureKind,
  Job,
  Picture,
  Step,
  Usage,
} from "../providers/adapter.ts";
import { commitFailure, commitPictures } from "./attempt-end.ts";
import { saveHandle } from "./attempt-store.ts";
import { commitStep, Fenced, outlast, pause } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { OwnFailure } from "./failure.ts";
import { forgetWork } from "./forget.ts";
import { patienceMs } from "./keep.ts";
import type { Handed } from "./keep.ts";
import { keepAll } from "./keep-all.ts";
import type { Attempt } from "./task.ts";

export type AttemptInput = {
  attempt: Attempt;
  channel: Channel;
  job: Job;
  promise: OutputPromise | null;
  /** The attempts that its slots have had before, oldest first. */
  earlier: readonly Attempt[];
  /** True when the attempt was found in the database rather than begun by this run. */
  resumed: boolean;
  /** Of the channel's breaker, which is told how the attempt went. */
  permit: Permit;
};

type Finished = Extract<Step, { status: "done" }>;

const pollPauseMaxMs = 30_000;
/** What is drawn within a poll takes the picture's memory too; what vendors send is weighed when it comes. */
const drawnBytes = 8 * 2 ** 20;
/** For the poll that asks once more when an attempt's time is up. */
const lastPollMs = 30_000;

/** What an attempt came to; the pictures' bytes are nowhere else. */
type Handover = { pictures: readonly Handed[]; usage: Usage; verdict: Verdict };

/** Drives an attempt to its end and commits it. Throws `Fenced` when the run has lost its task. */
export async function runAttempt(deps: EngineDeps, run: Run, input: AttemptInput): Promise<void> {
  const { attempt, channel, promise, permit } = input;
  let handover: Handover;
  try {
    handover = await obtain(deps, run, input);
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    permit.answer(verdictOf(error));
    await commitFailure(deps, run, input, error);
    return;
  }
  const { pictures, usage, verdict } = handover;
  permit.answer(verdict);
  const outputs = await keepAll(deps, run, {
    pictures,
    channel,
    promise,
    isRepeatable: attempt.handle !== null,
    askOnceMore: (bounded) => askOnceMore(deps, bounded, input),
  });
  await commitPictures(deps, run, { ...input, pictures, outputs, usage });
  await forgetWork(deps, { ...input, pictures, outputs });
}

/** Apart from what waits for the store: the bytes of an answer are not to wait with it. */
async function obtain(deps: EngineDeps, run: Run, input: AttemptInput): Promise<Handover> {
  return handOver(await drive(deps, run, input));
}

function handOver({ pictures, usage }: Finished): Handover {
  const handed = pictures.map((picture): Handed => ({ kind: picture.kind, picture }));
  return { pictures: handed, usage, verdict: verdictOfAll(pictures) };
}

/**
 * The pictures once more, by a poll, where the vendor does that; null when it has nothing. A poll that is lost is
 * made again: the pictures are paid for.
 */
async function askOnceMore(
  deps: EngineDeps,
  run: Run,
  input: AttemptInput,
): Promise<readonly Handed[] | null> {
  if (input.channel.adapter.poll === undefined) return null;
  const giveUpAt = deps.clock.now() + patienceMs;
  for (let misses = 0; ; misses += 1) {
    try {
      const endsAt = deps.clock.now() + lastPollMs;
      const step = await call(deps, run, input, { verb: "poll", endsAt });
      return step.status === "done" ? handOver(step).pictures : null;
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      if (!isPassing(error) || deps.clock.now() >= giveUpAt) return null;
    }
    await pause(deps, run, Math.min(pollPauseMaxMs, 1_000 * 2 ** misses));
  }
}

/** Failures after which a breaker counts against the upstream; the others are answers. */
const brokenKinds: readonly FailureKind[] = ["unavailable", "lost", "vanished", "garbled"];

function verdictOf(failure: ProviderError): Verdict {
  if (failure instanceof OwnFailure) return "silent";
  return brokenKinds.includes(failure.kind) ? "failed" : "answered";
}

/** One good picture, or one real answer, is enough of an answer. */
function verdictOfAll(pictures: readonly Picture[]): Verdict {
  const verdicts = pictures.map((picture) =>
    picture.kind === "failed" ? verdictOf(picture.failure) : "answered",
  );
  return verdicts.length > 0 && verdicts.every((one) => one === "failed") ? "failed" : "answered";
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
    throw new OwnFailure("lost", "the worker died between the send and the answer");
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
    return await deps.requestBytes.run(
      run.task.accountId,
      weightOf(adapter, verb, job),
      async () => {
        // Where it may be sent again under its id, whoever holds the task next does so: a stop is not a try.
        if (run.signal.aborted && adapter.resend === "safe") throw new Fenced(run.task.id);
        if (signal.aborted || run.signal.aborted || !run.isTrusted()) {
          throw new OwnFailure("unavailable", `the ${verb} was called off before it was sent`);
        }
        const context: Call = { attemptId: attempt.id, now: deps.clock.now(), signal };
        return verb === "poll" && adapter.poll !== undefined && attempt.handle !== null
          ? adapter.poll(job, attempt.handle, context)
          : adapter.submit(job, context);
      },
    );
  } catch (error) {
    if (verb === "poll" && run.signal.aborted) throw new Fenced(run.task.id);
    throw error;
  } finally {
    calledOff();
  }
}

/** Bytes of our own that a call holds in memory: a request's pictures stay there until it is answered. */
function weightOf(adapter: Adapter, verb: "submit" | "poll", job: Job): number {
  if (adapter.readsReferencesOn !== verb) return 0;
  const pictures = job.mask === null ? job.references : [...job.references, job.mask];
  const references = pictures.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return verb === "poll" ? references + drawnBytes : references;
}
