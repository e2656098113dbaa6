/** The committed end of an attempt: its outputs, its money, its place, and the slots that end with it. */
import { bookCosts } from "../billing/costs.ts";
import { insertOutputs } from "../images/store.ts";
import { redact } from "../lib/log.ts";
import { captureEach } from "../models/price.ts";
import type { Delivered } from "../models/model.ts";
import { ProviderError } from "../providers/adapter.ts";
import type { Picture, Usage } from "../providers/adapter.ts";
import type { AttemptInput } from "./attempt.ts";
import { costOfDone, costOfUnknown } from "./attempt-cost.ts";
import { endAttempt } from "./attempt-store.ts";
import { discardObjects } from "./body-references.ts";
import { commitStep, Fenced, outlast } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { decide, OwnFailure, pauseBeforeRetry } from "./failure.ts";
import type { Decision } from "./failure.ts";
import { endingPorts, endSlots } from "./finish.ts";
import { isStored } from "./keep.ts";
import type { Kept } from "./keep.ts";
import { reportOutcome } from "./outcome-report.ts";
import { releasePlace } from "./places.ts";
import type { AttemptFailure, SlotEnd } from "./task.ts";

type Told = Pick<Picture, "kind">;

export type Delivery = AttemptInput & {
  /** As the vendor told of them, and what became of each. */
  pictures: readonly Told[];
  outputs: readonly Kept[];
  usage: Usage;
};

/** Ends an attempt that the vendor answered. A picture that may be tried again leaves its slot open. */
export async function commitPictures(
  deps: EngineDeps,
  run: Run,
  delivery: Delivery,
): Promise<void> {
  const { attempt, outputs, usage, pictures } = delivery;
  const { task } = run;
  const now = deps.clock.now();
  const failures = outputs.filter((output) => output instanceof ProviderError);
  const decisions = new Map(failures.map((one) => [one, decideAt(task.deadlineAt, now, one)]));
  const ends = attempt.slots.flatMap((slot, index): SlotEnd[] =>
    endOf(run, delivery, { slot, output: outputs[index], decisions }),
  );
  const stored = attempt.slots.flatMap((slot, index) => {
    const output = outputs[index];
    if (!isStored(output)) return [];
    return [{ accountId: task.accountId, taskId: task.id, slot, output, now }];
  });
  const failure = worstRetry(deps, delivery, decisions, now);
  const handedOver = pictures.filter(({ kind }) => kind !== "failed").length;
  const made = { usage, handedOver, delivered: stored.length, now };
  const cost = costOfDone(deps.channels, task, attempt, made);
  const end = { id: attempt.id, state: "done", failure, usage, cost: cost.amount, now } as const;
  try {
    await outlast(deps, run, () =>
      commitStep(deps, run, async (tx) => {
        await insertOutputs(tx, stored);
        await endAttempt(tx, task, end);
        await bookCosts(tx, [cost]);
        if (ends.length > 0) {
          await endSlots(tx, { task, ends, now, ...endingPorts(deps) });
        }
        await releasePlace(tx, task, attempt);
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
  if (attempt.placeUntil !== null) deps.watch.placeFreed();
  await reportOutcome(deps, attempt, failures);
}

type Decisions = ReadonlyMap<ProviderError, Decision>;

/** None for a picture that may be tried again. */
function endOf(
  { task }: Run,
  { attempt, usage, pictures }: Delivery,
  { slot, output, decisions }: { slot: number; output: Kept | undefined; decisions: Decisions },
): SlotEnd[] {
  if (output instanceof ProviderError) {
    const { again, error } = decisions.get(output) ?? decide(output);
    return again === "never" ? [{ slot, state: "failed", error: { code: error } }] : [];
  }
  if (!isStored(output)) return [{ slot, state: "failed", error: { code: "no_image" } }];
  const captured = captureEach(task.price, {
    ...deliveredEach(usage, shareOf(pictures, attempt.slots.indexOf(slot))),
    tier: attempt.tier,
  });
  return [{ slot, state: "done", captured }];
}

/** What the attempt's row says when pictures of it are to be tried again: what keeps them away longest. */
function worstRetry(
  deps: EngineDeps,
  { earlier }: Delivery,
  decisions: Decisions,
  now: number,
): AttemptFailure | null {
  const retries = [...decisions].filter(([, { again }]) => again !== "never");
  const [worst] = retries.toSorted(
    ([a, x], [b, y]) =>
      Number(y.again === "elsewhere") - Number(x.again === "elsewhere") ||
      (b.retryAfterMs ?? 0) - (a.retryAfterMs ?? 0),
  );
  if (worst === undefined) return null;
  const [error, decision] = worst;
  return describeFailure(deps, error, { decision, tries: earlier.length + 1, now });
}

const sharedFigures = [
  "inputTokens",
  "inputTextTokens",
  "inputImageTokens",
  "outputImageTokens",
] as const;

type Share = { index: number; of: number };

/** Among the pictures that the vendor handed over, whatever they turned out to be. */
function shareOf(pictures: readonly Told[], at: number): Share {
  const isMade = ({ kind }: Told): boolean => kind !== "failed";
  return {
    index: pictures.slice(0, at).filter(isMade).length,
    of: pictures.filter(isMade).length,
  };
}

/**
 * The vendor's report covers all pictures that it handed over: each delivered one is charged its own
 * share, and all shares add up to the report.
 */
function deliveredEach(usage: Usage, { index, of }: Share): Omit<Delivered, "tier"> {
  const delivered: Omit<Delivered, "tier"> = {};
  for (const figure of sharedFigures) {
    const total = usage[figure];
    if (total === undefined) continue;
    delivered[figure] = Math.floor((total * (index + 1)) / of) - Math.floor((total * index) / of);
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

/** Where the channel allows it, one outcome that nobody knows is followed by one further try. */
function withRetryOnce(decision: Decision, error: ProviderError, input: Ending, now: number) {
  const mayRetry =
    decision.attempt === "unknown" &&
    error.taskError === undefined &&
    now < input.deadlineAt &&
    input.channel?.unknownOutcome === "retry_once" &&
    !input.earlier.some(({ state }) => state === "unknown");
  return mayRetry ? ({ ...decision, again: "anywhere" } as const) : decision;
}

type Ending = Pick<AttemptInput, "earlier"> & {
  channel: AttemptInput["channel"] | null;
  deadlineAt: number;
};

/** Ends an attempt that delivered nothing; its slots end with it where nothing further is tried. */
export async function commitFailure(
  deps: EngineDeps,
  run: Run,
  {
    attempt,
    earlier,
    channel,
  }: Pick<AttemptInput, "attempt" | "earlier"> & Pick<Ending, "channel">,
  error: ProviderError,
): Promise<void> {
  const { task } = run;
  const now = deps.clock.now();
  const ending = { earlier, channel, deadlineAt: task.deadlineAt };
  const decision = withRetryOnce(decideAt(task.deadlineAt, now, error), error, ending, now);
  const failure = describeFailure(deps, error, { decision, tries: earlier.length + 1, now });
  const isUnknown = decision.attempt === "unknown";
  const cost = isUnknown ? costOfUnknown(deps.channels, task, attempt, now) : null;
  await commitStep(deps, run, async (tx) => {
    await endAttempt(tx, task, {
      id: attempt.id,
      state: decision.attempt,
      failure,
      usage: {},
      cost: cost?.amount ?? 0,
      now,
    });
    if (cost !== null) await bookCosts(tx, [cost]);
    if (decision.again === "never") {
      await endSlots(tx, {
        task,
        ends: attempt.slots.map((slot) => ({ slot, state: "failed", error: failure.error })),
        now,
        ...endingPorts(deps),
      });
    }
    if (!isUnknown) await releasePlace(tx, task, attempt);
  });
  if (!isUnknown && attempt.placeUntil !== null) deps.watch.placeFreed();
  if (!(error instanceof OwnFailure)) await reportOutcome(deps, attempt, [error]);
}

/** Ends an attempt whose channel has gone: nobody is left to ask what became of it. */
export function commitOrphan(
  deps: EngineDeps,
  run: Run,
  { attempt, earlier }: Pick<AttemptInput, "attempt" | "earlier">,
): Promise<void> {
  const error = new OwnFailure("lost", `the channel "${attempt.channel}" does not exist any more`);
  return commitFailure(deps, run, { attempt, earlier, channel: null }, error);
}

function describeFailure(
  { random }: EngineDeps,
  { kind, message, retryAfterMs }: ProviderError,
  { decision, tries, now }: { decision: Decision; tries: number; now: number },
): AttemptFailure {
  return {
    kind,
    message: redact(message, 500),
    again: decision.again,
    error: { code: decision.error },
    retryAt: now + pauseBeforeRetry(tries, random.fraction(), retryAfterMs),
  };
}
