/**
 * Upstreams that do everything a vendor has been seen to do, as the dice say, and keep a log of their own
 * of what they bill. The log is what the gateway's books are held against; nothing of it is told to the
 * gateway but through replies, and replies get lost.
 */
import { createHash } from "node:crypto";

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
import type { TestClock } from "../support/clock.ts";
import { brokenPicture, picture } from "../support/vendor.ts";
import { createLinks } from "./links.ts";
import type { Links } from "./links.ts";
import type { Server, Weather } from "./network.ts";

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
  /** True for vendors that hand over links; those of one with jobs expire, and a poll gives new ones. */
  hasLinks: boolean;
};

export type SimulatedVendor = VendorTraits & {
  adapter: Adapter;
  /** Where its links lead. */
  server: Server;
  /** Attempt ids as they arrived, repeats included. */
  readonly submits: string[];
  /** Attempt ids of the work that was asked about. */
  readonly polled: Set<string>;
  /** Those whose work it would not tell of any more, although it was done. */
  readonly forgotten: Set<string>;
  readonly bills: Bill[];
  /** By attempt: the slots whose pictures are whole. */
  readonly wellMade: Map<string, ReadonlySet<number>>;
  /** By attempt: the digests of the references that came with each submit. */
  readonly sources: Map<string, string[]>;
  /** Share of submits that end well, from 0 to 1; the dice of a run change it. */
  health: number;
};

/** What work comes to: decided when it arrives, billed when it is done. */
type Work = {
  attemptId: string;
  doneAtMs: number;
  slots: readonly number[];
  pictures: readonly Picture[];
  amount: number;
  isCancelled: boolean;
};

export type VendorDeps = {
  clock: TestClock;
  dice: Dice;
  weather: Weather;
  note(event: string): void;
};

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

/** What the functions of one vendor share. */
type State = VendorDeps & {
  traits: VendorTraits;
  works: Map<string, Work>;
  links: Links;
  log: Pick<
    SimulatedVendor,
    "submits" | "polled" | "forgotten" | "bills" | "wellMade" | "sources" | "health"
  >;
};

export function createSimulatedVendor(traits: VendorTraits, deps: VendorDeps): SimulatedVendor {
  const links = createLinks({ ...deps, name: traits.name, expire: traits.hasJobs });
  const log: State["log"] = {
    submits: [],
    polled: new Set(),
    forgotten: new Set(),
    bills: [],
    wellMade: new Map(),
    sources: new Map(),
    health: 0.8,
  };
  const state: State = { ...deps, traits, works: new Map(), links, log };
  const adapter: Adapter = {
    name: traits.name,
    picturesMax: traits.picturesMax,
    resend: traits.resend,
    readsReferencesOn: "submit",
    submit: (job, call) => submit(state, job, call),
    ...(traits.hasJobs ? { poll: (_job, handle, call) => poll(state, handle, call) } : {}),
    ...(traits.canCancel ? { cancel: (handle, call) => cancel(state, handle, call) } : {}),
  };
  return Object.assign(log, traits, { adapter, server: links.server });
}

async function submit(state: State, job: Job, call: Call): Promise<Step> {
  const { clock, dice, traits, works, log } = state;
  const { attemptId } = call;
  const references = await Promise.all(job.references.map((one) => one.read()));
  log.submits.push(attemptId);
  log.sources.set(attemptId, [...(log.sources.get(attemptId) ?? []), digestOf(references)]);
  state.note(`${traits.name} is sent ${attemptId}`);
  if (!dice.isLucky(log.health) && !works.has(attemptId)) {
    await wait(state, call, dice.between(1, 3_000));
    if (dice.isLucky(0.25)) throw new ProviderError("lost", "the request may have got lost");
    throw refusal(dice);
  }
  const work = accept(state, job, call);
  // A reply that never comes, about work that is done and billed all the same.
  if (dice.isLucky(0.06)) await wait(state, call, Number.MAX_SAFE_INTEGER);
  if (traits.hasJobs) {
    await wait(state, call, dice.between(1, 2_000));
    return { status: "running", handle: handleOf(work), pollAfterMs: dice.between(100, 4_000) };
  }
  await wait(state, call, work.doneAtMs - clock.monotonic());
  if (dice.isLucky(0.04)) throw new ProviderError("garbled", "the reply was cut short");
  return finish(state, work);
}

function accept(state: State, job: Job, { attemptId }: Call): Work {
  const { clock, dice, traits, works, log } = state;
  const known = works.get(attemptId);
  if (known !== undefined && traits.resend === "safe") return known;
  const pictures = job.slots.map((slot) => drawPicture(dice, slot));
  const billed = job.slots.filter((_slot, index) => pictures[index]?.kind !== "failed");
  const whole = job.slots.filter((_slot, index) => isWhole(pictures[index]));
  log.wellMade.set(attemptId, new Set(whole));
  const work: Work = {
    attemptId,
    doneAtMs: clock.monotonic() + makingMs(dice),
    slots: job.slots,
    pictures,
    amount: billed.length * dice.between(1_000, 40_000),
    isCancelled: false,
  };
  works.set(attemptId, work);
  clock.after(work.doneAtMs - clock.monotonic(), () => {
    if (work.isCancelled || billed.length === 0) return;
    log.bills.push({ attemptId, slots: billed, amount: work.amount });
    state.note(`${traits.name} bills ${attemptId} for ${work.amount}`);
  });
  return work;
}

async function poll(state: State, handle: JobHandle, call: Call): Promise<Step> {
  const { clock, dice, weather, works, log } = state;
  log.polled.add(call.attemptId);
  await wait(state, call, dice.between(1, 500));
  if (dice.isLucky(0.1)) throw new ProviderError(dice.pick(pollFailures), "not this time");
  if (!weather.isCalm && dice.isLucky(0.01)) {
    log.forgotten.add(call.attemptId);
    throw new ProviderError(dice.pick(rareFinal), "nobody knows it");
  }
  const work = works.get(handle["id"] as string);
  if (work === undefined || work.isCancelled) throw new ProviderError("vanished", "no such job");
  if (clock.monotonic() < work.doneAtMs) {
    return { status: "running", handle, pollAfterMs: dice.between(100, 4_000) };
  }
  return finish(state, work);
}

async function cancel(state: State, handle: JobHandle, call: Call): Promise<void> {
  const { clock, works } = state;
  await wait(state, call, 50);
  const work = works.get(handle["id"] as string);
  if (work !== undefined && clock.monotonic() < work.doneAtMs) work.isCancelled = true;
}

/** The gateway may call a call off at any moment; the vendor goes on with what it has accepted. */
async function wait({ clock }: State, { signal }: Call, ms: number): Promise<void> {
  await clock.sleep(ms, signal);
  if (signal.aborted) throw new ProviderError("lost", "the call was called off");
}

function finish({ traits, links }: State, { attemptId, slots, pictures, amount }: Work): Step {
  const handed = traits.hasLinks
    ? pictures.map((one, index) => links.linkTo(one, `${attemptId}/${slots[index]}`))
    : pictures;
  return { status: "done", pictures: handed, usage: { cost: amount } };
}

function handleOf({ attemptId }: Work): JobHandle {
  return { id: attemptId };
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

/** What is drawn here is a PNG, or it is broken. */
function isWhole(one: Picture | undefined): boolean {
  return one?.kind === "bytes" && Buffer.from(one.bytes).includes("IEND");
}

export function digestOf(pictures: readonly Uint8Array[]): string {
  const digest = createHash("sha256");
  for (const bytes of pictures) digest.update(createHash("sha256").update(bytes).digest());
  return digest.digest("hex");
}
