/**
 * An upstream for tests of the engine: it does what a test tells it to, and remembers every call. It
 * implements the adapter contract and knows nothing of the engine behind it.
 */
import { deflateSync } from "node:zlib";

import type { Channel } from "../../src/channels/channel.ts";
import { ProviderError } from "../../src/providers/adapter.ts";
import type {
  Adapter,
  Call,
  FailureKind,
  Job,
  JobHandle,
  Picture,
  ProviderErrorOptions,
  Step,
  Usage,
} from "../../src/providers/adapter.ts";
import { pngChunk, pngHeader } from "./picture-bytes.ts";

export type Answer = {
  /** True when only the test, a signal or nothing at all ends the call. */
  hangs?: boolean;
  give(job: Job, call: Call, handle: JobHandle | null): Promise<Step> | Step;
};

export type VendorCall = {
  verb: "submit" | "poll" | "cancel" | "forget";
  attemptId: string;
  slots: readonly number[];
  handle: JobHandle | null;
  prompt: string;
  /** Unix milliseconds, as the engine told them. */
  at: number;
};

export type VendorOptions = Partial<
  Omit<Channel, "name" | "adapter" | "upstreamModel"> &
    Pick<Adapter, "picturesMax" | "resend" | "readsReferencesOn">
> & {
  name?: string;
  /** True for a vendor that can be asked to stop. */
  canCancel?: boolean;
  /** Given to a vendor that keeps finished work until it is told not to: what it does then. */
  forget?: { hangs?: boolean; work(call: Call): Promise<void> };
  /** What calls get that were given no answer of their own; pictures, if not said. */
  submit?: Answer;
  poll?: Answer;
};

export type Vendor = {
  channel: Channel;
  /** Every call so far, in the order they were begun. */
  readonly calls: readonly VendorCall[];
  /** The next calls get these answers, in their order; later ones the vendor's own. */
  onSubmit(...answers: readonly Answer[]): void;
  onPoll(...answers: readonly Answer[]): void;
  /** What calls get that were given no answer of their own, from now on. */
  always(answers: { submit?: Answer; poll?: Answer }): void;
  /** Attempt ids of the submits so far, in order. */
  readonly submitted: readonly string[];
  countOf(verb: VendorCall["verb"]): number;
  /** Resolves once `count` calls of this verb have begun. */
  untilCalled(verb: VendorCall["verb"], count: number): Promise<void>;
  /** Wraps each call that ends by itself; the engine under test sets it. */
  track: <T>(work: () => Promise<T>) => Promise<T>;
};

export function createVendor(options: VendorOptions = {}): Vendor {
  const calls: VendorCall[] = [];
  const queued: Record<"submit" | "poll", Answer[]> = { submit: [], poll: [] };
  const usual = { submit: options.submit ?? delivered(), poll: options.poll ?? delivered() };
  const watchers = new Set<() => void>();
  const countOf = (verb: VendorCall["verb"]): number =>
    calls.filter((call) => call.verb === verb).length;

  function note(call: VendorCall): void {
    calls.push(call);
    for (const watcher of watchers) watcher();
  }

  async function stop(handle: JobHandle, { attemptId, now: at }: Call): Promise<void> {
    note({ verb: "cancel", attemptId, slots: [], handle, prompt: "", at });
  }

  async function forget(handle: JobHandle, call: Call): Promise<void> {
    const { attemptId, now: at } = call;
    note({ verb: "forget", attemptId, slots: [], handle, prompt: "", at });
    const work = async (): Promise<void> => options.forget?.work(call);
    await (options.forget?.hangs === true ? work() : vendor.track(work));
  }

  function answer(
    verb: "submit" | "poll",
    job: Job,
    call: Call,
    handle: JobHandle | null,
  ): Promise<Step> {
    const { attemptId, now: at } = call;
    note({ verb, attemptId, slots: job.slots, handle, prompt: job.prompt, at });
    const given = queued[verb].shift() ?? usual[verb];
    const work = async (): Promise<Step> => given.give(job, call, handle);
    return given.hangs === true ? work() : vendor.track(work);
  }

  const vendor: Vendor = {
    channel: createChannel(options, {
      name: "scripted",
      picturesMax: options.picturesMax ?? 1,
      resend: options.resend ?? "never",
      readsReferencesOn: options.readsReferencesOn ?? "submit",
      submit: (job, call) => answer("submit", job, call, null),
      poll: (job, handle, call) => answer("poll", job, call, handle),
      ...(options.canCancel === true ? { cancel: stop } : {}),
      ...(options.forget === undefined ? {} : { forget }),
    }),
    calls,
    onSubmit: (...answers) => void queued.submit.push(...answers),
    onPoll: (...answers) => void queued.poll.push(...answers),
    always: (answers) => void Object.assign(usual, answers),
    get submitted() {
      return calls.filter(({ verb }) => verb === "submit").map(({ attemptId }) => attemptId);
    },
    countOf,
    untilCalled: (verb, count) =>
      new Promise((resolve) => {
        const check = (): void => {
          if (countOf(verb) < count) return;
          watchers.delete(check);
          resolve();
        };
        watchers.add(check);
        check();
      }),
    track: (work) => work(),
  };
  return vendor;
}

function createChannel(options: VendorOptions, adapter: Adapter): Channel {
  return {
    name: options.name ?? "vendor",
    adapter,
    mode: options.mode ?? "live",
    tiers: options.tiers ?? ["standard", "official"],
    upstreamModel: (model) => `up-${model}`,
    priority: options.priority ?? 0,
    weight: options.weight ?? 1,
    timeoutMs: options.timeoutMs ?? 600_000,
    costRatioPpm: options.costRatioPpm ?? 1_000_000,
    caps: options.caps ?? new Map(),
    unknownOutcome: options.unknownOutcome ?? "fail",
    isDisabled: options.isDisabled ?? false,
    fault: options.fault ?? null,
  };
}

/** Done: one picture a slot, or the given ones. */
export function delivered(given?: readonly Picture[], usage: Usage = {}): Answer {
  return {
    give: (job) => ({
      status: "done",
      pictures: given ?? job.slots.map((slot) => picture(slot)),
      usage,
    }),
  };
}

/** Taken: work that is to be polled for, known to the vendor by its attempt. */
export function running(pollAfterMs = 1_000): Answer {
  return { give: (_job, call) => ({ status: "running", handle: handleOf(call), pollAfterMs }) };
}

export function handleOf(call: { attemptId: string }): JobHandle {
  return { work: `work of ${call.attemptId}` };
}

export function failing(
  kind: FailureKind,
  options: ProviderErrorOptions & { message?: string } = {},
): Answer {
  return {
    give: () => {
      throw new ProviderError(kind, options.message ?? `the vendor says ${kind}`, options);
    },
  };
}

/** An adapter with a mistake in it. */
export function mistaken(): Answer {
  return {
    give: () => {
      throw new TypeError("the adapter has a mistake");
    },
  };
}

/** No answer until the call is called off; then the usual failure of such a call. */
export function silent(): Answer {
  return {
    hangs: true,
    give: (_job, { signal }) =>
      new Promise((_resolve, reject) => {
        const stop = (): void => reject(new ProviderError("lost", "the call was called off"));
        if (signal.aborted) stop();
        signal.addEventListener("abort", stop, { once: true });
      }),
  };
}

/** No answer at all, whatever the signal says. */
export function deaf(): Answer {
  return { hangs: true, give: () => new Promise<never>(() => {}) };
}

/** Looks at what `look` looks at while the call is under way, then answers. */
export function watched(look: (job: Job, call: Call) => Promise<void>, answer: Answer): Answer {
  return {
    give: async (job, call, handle) => {
      await look(job, call);
      return answer.give(job, call, handle);
    },
  };
}

export type HeldAnswer = Answer & { release(answer: Answer): void };

/** Answers when the test says so. */
export function held(): HeldAnswer {
  const decided = Promise.withResolvers<Answer>();
  return {
    hangs: true,
    give: async (job, call, handle) => (await decided.promise).give(job, call, handle),
    release: decided.resolve,
  };
}

/** A real PNG of 4 × 4 pixels; every slot has its own colour. */
export function picture(slot = 0): Picture {
  return { kind: "bytes", bytes: createTinyPng(slot) };
}

export function brokenPicture(): Picture {
  return { kind: "bytes", bytes: Buffer.from("no picture at all") };
}

export function failedPicture(kind: FailureKind, options: ProviderErrorOptions = {}): Picture {
  return { kind: "failed", failure: new ProviderError(kind, `this picture: ${kind}`, options) };
}

function createTinyPng(slot: number): Buffer {
  const side = 4;
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(side * 3, 40 * (slot + 1))]);
  const pixels = deflateSync(Buffer.concat(Array.from({ length: side }, () => row)));
  return Buffer.concat([
    pngHeader({ width: side, height: side }),
    pngChunk("IDAT", pixels),
    pngChunk("IEND", Buffer.alloc(0)),
  ]);
}
