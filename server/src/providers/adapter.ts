/**
 * The contract between the task engine and an upstream image API. An adapter maps one wire protocol
 * and remembers nothing: it never waits, loops, retries, prices, stores or downloads. The engine
 * saves the handle before anything else happens, polls with it, and fetches outputs through the guard.
 */
import type { JsonObject } from "../lib/json.ts";
import type { TaskErrorCode } from "../models/task-errors.ts";

/** One picture a caller gave us, already checked and stored by us. */
export type ReferencePicture = {
  contentType: "image/jpeg" | "image/png" | "image/webp";
  width: number;
  height: number;
  byteLength: number;
  /** Reads the stored bytes; called only while a request to the vendor is being built. */
  read(): Promise<Uint8Array>;
};

/** What an attempt asks of the vendor. Rebuilt from the database at every call, so it survives a restart. */
export type Job = {
  /** Public model id, and the name under which the channel knows it. */
  model: string;
  upstreamModel: string;
  prompt: string;
  /** Validated and with defaults filled in: exactly what `models/` produced. */
  parameters: JsonObject;
  /** Slot numbers of the task this attempt makes pictures for; one picture each. */
  slots: readonly number[];
  /** Pixels and format the model's contract promises for this request. */
  width: number;
  height: number;
  format: PictureFormat;
  references: readonly ReferencePicture[];
  mask: ReferencePicture | null;
  /** True under test keys: the only tasks in which the sandbox's outcome words mean anything. */
  test: boolean;
};

export type PictureFormat = "png" | "jpeg" | "webp";

/** The upstream's own reference to running work: stored as JSON, given back later, perhaps to another process. */
export type JobHandle = JsonObject;

/** What one call may use. */
export type Call = {
  /** Idempotency key where the upstream takes one. */
  attemptId: string;
  /** Unix milliseconds; the adapter has no clock of its own. */
  now: number;
  signal: AbortSignal;
};

/** One picture, for the slot at the same place in `Job.slots`; null where the upstream made none. */
export type Picture =
  | { kind: "bytes"; bytes: Uint8Array }
  | { kind: "url"; url: string; headers?: Record<string, string> }
  | { kind: "failed"; failure: ProviderError };

/** What the upstream reported about the work as a whole. Absent figures are absent, never zero. */
export type Usage = {
  inputTokens?: number;
  outputTokens?: number;
  inputTextTokens?: number;
  inputImageTokens?: number;
  outputImageTokens?: number;
  /** What the vendor charges us, in micro-USD. */
  cost?: number;
  /** The quality that the upstream says it used, where it can choose. */
  quality?: string;
};

export type Step =
  | { status: "running"; handle: JobHandle; pollAfterMs: number; progress?: number }
  | { status: "done"; pictures: readonly Picture[]; usage: Usage };

/** One upstream image API. Made by a factory from settings. */
export type Adapter = {
  /** Stable name, as in configuration, logs and SQL. */
  readonly name: string;
  /** Pictures one attempt can make; the engine splits a task of n slots accordingly. */
  readonly picturesMax: number;
  /** `safe`: the upstream deduplicates on the attempt id, so a submit may be repeated after a crash. */
  readonly resend: "safe" | "never";
  /** The call that reads the references' bytes; the engine bounds how many are in memory. */
  readonly readsReferencesOn: "submit" | "poll";
  /**
   * The only hosts that pictures told of by URL may be fetched from; `*.example.com` means everything
   * below it. Left out where any public host is fine.
   */
  readonly resultHosts?: readonly string[];
  /** Starts the work. Whatever must outlive this call is in the returned step. */
  submit(job: Job, call: Call): Promise<Step>;
  /** Asks about work that `submit` left running. Left out when the upstream answers at once. */
  poll?(job: Job, handle: JobHandle, call: Call): Promise<Step>;
  /** Asks the upstream to stop; best effort. Left out when the upstream cannot. */
  cancel?(handle: JobHandle, call: Call): Promise<void>;
  /**
   * Has the upstream delete what it keeps of finished work, whose pictures we have; best effort. Left out
   * when the upstream keeps nothing or deletes nothing.
   */
  forget?(handle: JobHandle, call: Call): Promise<void>;
  /** Asks whether the upstream is there and takes our key, at no cost. What is wrong is told, not thrown. */
  check?(call: Call): Promise<Health>;
};

/** What a free health call found; `detail` is one sentence for the operator. */
export type Health = {
  ok: boolean;
  detail: string;
  /** Names of the models that the upstream says it has. */
  upstreamModels?: readonly string[];
};

/** Why an upstream did not deliver. `tasks/failure.ts` decides what the engine does about each kind. */
export const failureKinds = [
  /** The content was refused. */
  "refused",
  /** The upstream rejects what we sent. */
  "bad_request",
  /** Our key is not accepted there. */
  "unauthorized",
  /** Our account there has no money or quota left. */
  "exhausted",
  "rate_limited",
  /** The channel cannot do this for anybody: it knows the model by no such name, or takes no such references. */
  "unserved",
  /** Refused before any work began, or a server error that made nothing. */
  "unavailable",
  /** Sent, and no answer came back: it may have been made and billed. */
  "lost",
  /** The upstream no longer knows the handle. */
  "vanished",
  /** The answer was not understood. */
  "garbled",
] as const;

export type FailureKind = (typeof failureKinds)[number];

export type ProviderErrorOptions = {
  /** For `rate_limited` and `unavailable`: when to ask again. */
  retryAfterMs?: number;
  /** The task error the caller is shown, where the kind alone does not say it. */
  taskError?: TaskErrorCode;
  cause?: unknown;
};

/** Thrown by adapters. The message is for operators; callers get our own texts. */
export class ProviderError extends Error {
  readonly kind: FailureKind;
  readonly retryAfterMs: number | undefined;
  readonly taskError: TaskErrorCode | undefined;

  constructor(kind: FailureKind, message: string, options: ProviderErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ProviderError";
    this.kind = kind;
    this.retryAfterMs = options.retryAfterMs;
    this.taskError = options.taskError;
  }
}
