/**
 * Upstreams that do everything a vendor has been seen to do, as the dice say, and keep a log of their own
 * of what they bill. The log is what the gateway's books are held against; nothing of it is told to the
 * gateway but through replies, and replies get lost.
 */
import { ProviderError } from "../../src/providers/adapter.ts";
import type {
  Adapter,
  Call,
  FailureKind,
  Job,
  JobHandle,
  Picture,
  Step,
} from "../../src/providers/adapter.ts";
import type { Dice } from "../crash/dice.ts";
import { brokenPicture, picture } from "../support/vendor.ts";
import type { SimulatedClock } from "./clock.ts";

/** One thing the vendor wants money for. */
export type Bill = {
  attemptId: string;
  /** The slots of the pictures that are billed. */
  slots: readonly number[];
  /** Micro-USD. */
  amount: number;
};

export type VendorTraits = {
  name: string;
  picturesMax: number;
  resend: Adapter["resend"];
  /** True for vendors that give a handle and are polled; the others answer when they are done. */
  hasJobs: boolean;
  canCancel: boolean;
};

export type SimulatedVendor = VendorTraits & {
  adapter: Adapter;
  /** Attempt ids as they arrived, repeats included. */
  readonly submits: string[];
  /** Attempt ids of the work that was asked about. */
  readonly polled: Set<string>;
  readonly bills: Bill[];
  /** Share of submits that end well, from 0 to 1; the dice of a run change it. */
  health: number;
};

/** What work comes to: decided when it arrives, billed when it is done. */
type Work = {
  attemptId: string;
  doneAtMs: number;
  pictures: readonly Picture[];
  amount: number;
  isCancelled: boolean;
};

type VendorDeps = { clock: SimulatedClock; dice: Dice; note(event: string): void };

/** Said instead of making anything: certain, and never billed. */
const refusals: readonly FailureKind[] = [
  "refused",
  "bad_request",
  "unauthorized",
  "exhausted",
  "rate_limited",
  "unserved",
  "unavailable",
];
/** Said of single pictures, which are then not billed. */
const missing: readonly FailureKind[] = ["refused", "rate_limited", "unavailable", "garbled"];
const pollFailures: readonly FailureKind[] = ["unavailable", "rate_limited", "lost", "lost"];
const rareFinal: readonly FailureKind[] = ["vanished", "garbled"];

export function createSimulatedVendor(traits: VendorTraits, deps: VendorDeps): SimulatedVendor {
  const { clock, dice } = deps;
  const works = new Map<string, Work>();

  function accept(job: Job, { attemptId }: Call): Work {
    const known = works.get(attemptId);
    if (known !== undefined && traits.resend === "safe") return known;
    const pictures = job.slots.map((slot) => drawPicture(dice, slot));
    const billed = job.slots.filter((_slot, index) => pictures[index]?.kind !== "failed");
    const work: Work = {
      attemptId,
      doneAtMs: clock.monotonic() + makingMs(dice),
      pictures,
      amount: billed.length * dice.between(1_000, 40_000),
      isCancelled: false,
    };
    works.set(attemptId, work);
    clock.after(work.doneAtMs - clock.monotonic(), () => {
      if (work.isCancelled || billed.length === 0) return;
      vendor.bills.push({ attemptId, slots: billed, amount: work.amount });
      deps.note(`${traits.name} bills ${attemptId} for ${work.amount}`);
    });
    return work;
  }

  async function submit(job: Job, call: Call): Promise<Step> {
    vendor.submits.push(call.attemptId);
    deps.note(`${traits.name} is sent ${call.attemptId}`);
    if (!dice.isLucky(vendor.health) && !works.has(call.attemptId)) {
      await wait(call, dice.between(1, 3_000));
      if (dice.isLucky(0.25)) throw new ProviderError("lost", "the request may have got lost");
      throw refusal(dice);
    }
    const work = accept(job, call);
    // A reply that never comes, about work that is done and billed all the same.
    if (dice.isLucky(0.06)) await wait(call, Number.MAX_SAFE_INTEGER);
    if (traits.hasJobs) {
      await wait(call, dice.between(1, 2_000));
      return { status: "running", handle: handleOf(work), pollAfterMs: dice.between(100, 4_000) };
    }
    await wait(call, work.doneAtMs - clock.monotonic());
    if (dice.isLucky(0.04)) throw new ProviderError("garbled", "the reply was cut short");
    return finish(work);
  }

  async function poll(_job: Job, handle: JobHandle, call: Call): Promise<Step> {
    vendor.polled.add(call.attemptId);
    await wait(call, dice.between(1, 500));
    if (dice.isLucky(0.1)) throw new ProviderError(dice.pick(pollFailures), "not this time");
    if (dice.isLucky(0.01)) throw new ProviderError(dice.pick(rareFinal), "nobody knows it");
    const work = works.get(handle["id"] as string);
    if (work === undefined || work.isCancelled) throw new ProviderError("vanished", "no such job");
    if (clock.monotonic() < work.doneAtMs) {
      return { status: "running", handle, pollAfterMs: dice.between(100, 4_000) };
    }
    return finish(work);
  }

  async function cancel(handle: JobHandle, call: Call): Promise<void> {
    await wait(call, 50);
    const work = works.get(handle["id"] as string);
    if (work !== undefined && clock.monotonic() < work.doneAtMs) work.isCancelled = true;
  }

  /** The gateway may call a call off at any moment; the vendor goes on with what it has accepted. */
  async function wait({ signal }: Call, ms: number): Promise<void> {
    await clock.sleep(ms, signal);
    if (signal.aborted) throw new ProviderError("lost", "the call was called off");
  }

  const vendor: SimulatedVendor = {
    ...traits,
    adapter: {
      name: traits.name,
      picturesMax: traits.picturesMax,
      resend: traits.resend,
      readsReferencesOn: "submit",
      submit,
      ...(traits.hasJobs ? { poll } : {}),
      ...(traits.canCancel ? { cancel } : {}),
    },
    submits: [],
    polled: new Set(),
    bills: [],
    health: 0.8,
  };
  return vendor;
}

function handleOf({ attemptId }: Work): JobHandle {
  return { id: attemptId };
}

function finish({ pictures, amount }: Work): Step {
  return { status: "done", pictures, usage: { cost: amount } };
}

function refusal(dice: Dice): ProviderError {
  const kind = dice.pick(refusals);
  const mayWait = kind === "rate_limited" || kind === "unavailable";
  const options = mayWait && dice.isLucky(0.3) ? { retryAfterMs: dice.between(500, 30_000) } : {};
  return new ProviderError(kind, `the vendor says ${kind}`, options);
}

/** Mostly seconds; sometimes longer than a channel waits, and longer than a task lives. */
function makingMs(dice: Dice): number {
  if (dice.isLucky(0.04)) return dice.between(60_000, 200_000);
  return dice.isLucky(0.2) ? dice.between(8_000, 50_000) : dice.between(50, 8_000);
}

/** A broken picture is billed; one that the vendor itself says is missing is not. */
function drawPicture(dice: Dice, slot: number): Picture {
  if (dice.isLucky(0.9)) return picture(slot);
  if (dice.isLucky(0.3)) return brokenPicture();
  const failure = new ProviderError(dice.pick(missing), `picture ${slot} was not made`);
  return { kind: "failed", failure };
}
