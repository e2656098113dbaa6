/** One claimed task, driven until it ends, is parked, or is no longer this worker's. */
import type { Route } from "../channels/route.ts";
import type { Tier } from "../models/model.ts";
import { must } from "../lib/errors.ts";
import { runAttempt } from "./attempt.ts";
import { commitStep } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { endSlots } from "./finish.ts";
import { createJob } from "./job.ts";
import { planTask } from "./plan.ts";
import type { Step } from "./plan.ts";
import { parkTask } from "./queue-store.ts";
import { prepareReferences, ReferenceProblem } from "./references.ts";
import type { TaskReferences } from "./references.ts";
import { insertAttempts, loadAttempts } from "./attempt-store.ts";
import { loadSlots } from "./slot-store.ts";
import { findTask, startTask } from "./store.ts";
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
  try {
    while (!run.signal.aborted) {
      // Before the rows are read: what ends meanwhile may not be in them yet.
      const { busy, changed } = await works.look();
      const { openSlots, attempts } = await loadState(deps, run);
      const steps = planTask({
        openSlots,
        attempts,
        busy,
        now: deps.clock.now(),
        hasOther: (tried) => chooseRoute(deps, run, tried) !== null,
      });
      const begun = steps.filter((step) => step.do !== "wait");
      for (const step of begun) {
        works.begin(slotsOf(step), advance(deps, run, { references, attempts, works }, step));
      }
      const until = retryTime(steps);
      if (busy.size + begun.length > 0) await nextEvent(deps, run, changed, until);
      else if (until === null || !(await waitUntil(deps, run, until))) return;
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

/** Waits for a piece of work to end, or for a slot's retry: a slow slot does not hold up the others. */
async function nextEvent(
  { clock }: EngineDeps,
  run: Run,
  changed: Promise<void>,
  until: number | null,
): Promise<void> {
  if (until === null) return changed;
  const enough = new AbortController();
  const signal = AbortSignal.any([run.signal, enough.signal]);
  await Promise.race([changed, clock.sleep(until - clock.now(), signal)]);
  enough.abort();
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
  const slots = await loadSlots(deps.db.read, accountId, id);
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
    return continueAttempt(deps, run, context, { attempt: step.attempt, resumed: true });
  }
  if (run.task.cancelRequestedAt !== null) {
    return failSlots(deps, run, step.slots, { code: "cancelled" });
  }
  if (step.do === "give_up") {
    return failSlots(
      deps,
      run,
      step.slots,
      step.attempt.failure?.error ?? { code: "internal_error" },
    );
  }
  const route = chooseRoute(deps, run, step.tried);
  if (route === null) return failSlots(deps, run, step.slots, { code: "provider_unavailable" });
  for (const attempt of await beginAttempts(deps, run, route, step.slots)) {
    const piece = continueAttempt(deps, run, context, { attempt, resumed: false });
    context.works.begin(attempt.slots, piece);
  }
}

/** Commits attempts as sent, each for as many slots as the upstream makes in one call. None after a cancellation. */
async function beginAttempts(
  deps: EngineDeps,
  run: Run,
  { channel, upstreamModel }: Route,
  slots: readonly number[],
): Promise<Attempt[]> {
  const size = channel.adapter.picturesMax;
  const chunks = Array.from({ length: Math.ceil(slots.length / size) }, (_, index) =>
    slots.slice(index * size, (index + 1) * size),
  );
  const now = deps.clock.now();
  const attempts = chunks.map((chunk): Attempt => ({
    id: deps.ids("attempt"),
    slots: chunk,
    channel: channel.name,
    upstreamModel,
    state: "sent",
    handle: null,
    failure: null,
    sentAt: now,
  }));
  return commitStep(deps, run, async (tx) => {
    if (!(await startTask(tx, run.task.accountId, run.task.id))) return [];
    await insertAttempts(tx, run.task, attempts);
    return attempts;
  });
}

async function continueAttempt(
  deps: EngineDeps,
  run: Run,
  context: Context,
  { attempt, resumed }: { attempt: Attempt; resumed: boolean },
): Promise<void> {
  const channel = must(deps.channels.find(attempt.channel), `channel ${attempt.channel}`);
  const earlier = context.attempts.filter(
    ({ id, slots }) => id < attempt.id && slots.some((slot) => attempt.slots.includes(slot)),
  );
  await runAttempt(deps, run, {
    attempt,
    channel,
    tier: preferredTier(run, channel.tiers),
    job: createJob(deps, run.task, attempt, context.references),
    tries: earlier.length + 1,
    resumed,
  });
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
    const present = await loadSlots(tx, task.accountId, task.id);
    const open = present.filter(({ slot, state }) => state === "open" && slots.includes(slot));
    if (open.length === 0) return;
    await endSlots(tx, {
      task,
      ends: open.map(({ slot }) => ({ slot, state: "failed", error })),
      now: deps.clock.now(),
      resultTtlMs: deps.resultTtlMs,
    });
  });
}

/** Waits in memory, or parks the task and returns false. */
async function waitUntil(deps: EngineDeps, run: Run, until: number): Promise<boolean> {
  const ms = until - deps.clock.now();
  if (ms > parkAfterMs) {
    await commitStep(deps, run, (tx) => parkTask(tx, run.task.accountId, run.task.id, until));
    return false;
  }
  await deps.clock.sleep(ms, run.signal);
  return !run.signal.aborted;
}

function chooseRoute(deps: EngineDeps, { task }: Run, tried: readonly string[]): Route | null {
  return deps.channels.choose(
    { model: task.request.model, mode: task.mode, tiers: tiersOf(task.price), tried },
    deps.random.fraction(),
  );
}

/** The tiers that a task's frozen price covers, the standard one first. */
function tiersOf(price: Run["task"]["price"]): Tier[] {
  return (["standard", "official"] as const).filter((tier) => price.tiers[tier] !== undefined);
}

function preferredTier({ task }: Run, offered: readonly Tier[]): Tier {
  return must(
    tiersOf(task.price).find((tier) => offered.includes(tier)),
    `a tier that both ${task.id} and its channel have`,
  );
}
