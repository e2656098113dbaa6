/** One claimed task, driven until it ends, is parked, or is no longer this worker's. */
import type { Channel } from "../channels/channel.ts";
import { must } from "../lib/errors.ts";
import type { Storage } from "../storage/storage.ts";
import { runAttempt } from "./attempt.ts";
import { commitOrphan } from "./attempt-end.ts";
import { beginAttempts } from "./begin.ts";
import type { Begun } from "./begin.ts";
import { commitStep, Fenced, outlast } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { OwnFailure } from "./failure.ts";
import { endingPorts, endSlots } from "./finish.ts";
import { createJob, createPromise } from "./job.ts";
import { planTask } from "./plan.ts";
import type { Step } from "./plan.ts";
import { parkTask } from "./queue-store.ts";
import { prepareReferences, ReferenceProblem } from "./references.ts";
import type { TaskReferences } from "./references.ts";
import { loadAttempts } from "./attempt-store.ts";
import { lookForRoutes } from "./routing.ts";
import { loadSlots } from "./slot-store.ts";
import { findTask } from "./store.ts";
import { createWorks } from "./works.ts";
import type { Works } from "./works.ts";
import type { TaskError } from "./errors.ts";
import type { Attempt } from "./task.ts";

/** A longer wait gives the task back to the queue; a shorter one is slept in memory. */
const parkAfterMs = 10_000;

/** Throws `Fenced` when the task is lost to this worker. */
export async function runTask(deps: EngineDeps, run: Run): Promise<void> {
  const references = await findReferences(deps, run);
  if (references === null) return;
  const works = createWorks();
  /** Since when nothing is under way, in unix milliseconds. */
  let idleSince: number | null = null;
  try {
    while (!run.signal.aborted) {
      // Before the rows are read: what ends meanwhile may not be in them yet.
      const { busy, changed } = await works.look();
      const { openSlots, attempts } = await loadState(deps, run);
      const plan = async (): Promise<Step[]> => {
        const choose = await lookForRoutes(deps, run.task);
        return planTask({ openSlots, attempts, busy, now: deps.clock.now(), choose });
      };
      let steps = await plan();
      if (steps.some((step) => step.do === "give_up")) {
        // An operator may have brought a channel back since the last look at the rows.
        await deps.channels.refresh();
        steps = await plan();
      }
      const begun = steps.filter((step) => step.do !== "wait");
      for (const step of begun) {
        works.begin(slotsOf(step), advance(deps, run, { references, attempts, works }, step));
      }
      const until = retryTime(steps);
      if (busy.size + begun.length > 0) {
        idleSince = null;
        await nextEvent(deps, run, changed, until);
        continue;
      }
      if (until === null) return;
      idleSince ??= deps.clock.now();
      run.onStep();
      // A place that does not come free is waited for in the queue, where others are not held up by it.
      if (until - idleSince > parkAfterMs) return await park(deps, run, until);
      await nextEvent(deps, run, null, until);
    }
  } finally {
    await works.end();
  }
}

function slotsOf(step: Step): readonly number[] {
  return step.do === "resume" ? step.attempt.slots : step.slots;
}

/** When the first of the waiting slots may be tried again. */
function retryTime(steps: readonly Step[]): number | null {
  const times = steps.flatMap((step) => (step.do === "wait" ? [step.until] : []));
  return times.length === 0 ? null : Math.min(...times);
}

/**
 * Waits for a piece of work to end, for a slot's retry, or, with a slot that waits, for a place that comes
 * free: a slow slot does not hold up the others.
 */
async function nextEvent(
  { clock, watch }: EngineDeps,
  run: Run,
  changed: Promise<void> | null,
  until: number | null,
): Promise<void> {
  if (until === null) {
    await changed;
    return;
  }
  const enough = new AbortController();
  const unwatch = watch.onPlaceFreed(() => enough.abort());
  const sleep = clock.sleep(until - clock.now(), AbortSignal.any([run.signal, enough.signal]));
  await (changed === null ? sleep : Promise.race([changed, sleep]));
  enough.abort();
  unwatch();
}

/** The task's references, or null when they are unusable and the task has been ended for it. */
async function findReferences(deps: EngineDeps, run: Run): Promise<TaskReferences | null> {
  try {
    return await prepareReferences(deps, run);
  } catch (error) {
    if (!(error instanceof ReferenceProblem)) throw error;
    deps.log.info({ task: run.task.id, err: error }, "a reference could not be used");
    const { openSlots } = await loadState(deps, run);
    await failSlots(deps, run, openSlots, error.taskError);
    return null;
  }
}

async function loadState(
  deps: EngineDeps,
  run: Run,
): Promise<{ openSlots: number[]; attempts: Attempt[] }> {
  const { accountId, id } = run.task;
  run.task = must(await findTask(deps.db.read, accountId, id), `task ${id}`);
  const slots = await loadSlots(deps.db.read, run.task);
  const attempts = await loadAttempts(deps.db.read, accountId, id);
  return {
    openSlots: slots.filter(({ state }) => state === "open").map(({ slot }) => slot),
    attempts,
  };
}

type Context = { references: TaskReferences; attempts: readonly Attempt[]; works: Works };

async function advance(
  deps: EngineDeps,
  run: Run,
  context: Context,
  step: Exclude<Step, { do: "wait" }>,
): Promise<void> {
  if (step.do === "resume") {
    const { attempt } = step;
    const channel = deps.channels.find(attempt.channel);
    const begun = { attempt, channel, permit: null };
    return continueAttempt(deps, run, context, begun);
  }
  if (run.task.cancelRequestedAt !== null) {
    return failSlots(deps, run, step.slots, { code: "cancelled" });
  }
  if (step.do === "give_up") {
    const error = step.attempt?.failure?.error ?? { code: "provider_unavailable" };
    return failSlots(deps, run, step.slots, error);
  }
  for (const begun of await beginAttempts(deps, run, step.route, step.slots)) {
    const piece = continueAttempt(deps, run, context, begun);
    context.works.begin(begun.attempt.slots, piece);
  }
}

async function continueAttempt(
  deps: EngineDeps,
  run: Run,
  context: Context,
  { attempt, channel, permit }: Begun | { attempt: Attempt; channel: Channel | null; permit: null },
): Promise<void> {
  const earlier = context.attempts.filter(
    ({ id, slots }) => id < attempt.id && slots.some((slot) => attempt.slots.includes(slot)),
  );
  if (channel === null) return commitOrphan(deps, run, { attempt, earlier });
  const { channel: name, upstreamModel } = attempt;
  const breaker = permit ?? deps.breakers.watch({ channel: name, upstreamModel });
  try {
    await runAttempt(deps, run, {
      attempt,
      channel,
      job: createJob(
        { ...deps, storage: waitForReads(deps, run) },
        run.task,
        attempt,
        context.references,
      ),
      promise: createPromise(deps, run.task, context.references),
      earlier,
      resumed: permit === null,
      permit: breaker,
    });
  } finally {
    breaker.answer("silent");
  }
}

/**
 * References as they are read while a request is built: a store that is away is waited for, because the attempt
 * is committed as sent, and nobody could tell later that nothing has left.
 */
function waitForReads(deps: EngineDeps, run: Run): Pick<Storage, "read"> {
  return {
    read: async (name) => {
      try {
        return await outlast(deps, run, () => deps.storage.read(name));
      } catch (error) {
        if (!(error instanceof Fenced)) throw error;
        throw new OwnFailure("unavailable", "the submit was called off before it was sent");
      }
    },
  };
}

/** Fails those of the slots that are still open: a cancellation may have ended some of them meanwhile. */
async function failSlots(
  deps: EngineDeps,
  run: Run,
  slots: readonly number[],
  error: TaskError,
): Promise<void> {
  const { task } = run;
  await commitStep(deps, run, async (tx) => {
    const present = await loadSlots(tx, task);
    const open = present.filter(({ slot, state }) => state === "open" && slots.includes(slot));
    if (open.length === 0) return;
    await endSlots(tx, {
      task,
      ends: open.map(({ slot }) => ({ slot, state: "failed", error })),
      now: deps.clock.now(),
      ...endingPorts(deps),
    });
  });
}

async function park(deps: EngineDeps, run: Run, until: number): Promise<void> {
  await commitStep(deps, run, (tx) => parkTask(tx, run.task, until));
}
