/**
 * Takes a vendor's finished picture into storage, as patiently as paid work deserves. While the store takes
 * nothing the bytes wait in the spool and nowhere else: nothing that waits here refers to them.
 */
import type { Channel } from "../channels/channel.ts";
import { checkOutput, DownloadError, storeOutput, takeOutput } from "../images/outputs.ts";
import type { OutputPromise, OutputSource, StoredOutput } from "../images/outputs.ts";
import { PictureError } from "../images/picture.ts";
import { EgressError } from "../lib/egress.ts";
import { AppError, assert } from "../lib/errors.ts";
import { jitter } from "../lib/random.ts";
import { minuteMs } from "../lib/time.ts";
import { ProviderError } from "../providers/adapter.ts";
import type { Picture } from "../providers/adapter.ts";
import type { Spooled } from "../storage/spool.ts";
import { StorageError } from "../storage/storage.ts";
import { Fenced, pause } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";
import { OwnFailure } from "./failure.ts";

/** A picture as the vendor gave it; its bytes are here until they are taken. */
export type Handed = { readonly kind: Picture["kind"]; picture: Picture | null };

/**
 * `expired`: the vendor's link leads nowhere any more. `dropped`: there was no room to wait in, and the vendor
 * can be asked for the picture again.
 */
export type Kept = StoredOutput | ProviderError | "expired" | "dropped";

export function isStored(output: Kept | undefined): output is StoredOutput {
  return typeof output === "object" && !(output instanceof ProviderError);
}

export type KeepInput = {
  handed: Handed;
  channel: Channel;
  promise: OutputPromise | null;
  /** True where whoever holds the task next can ask for the picture again. */
  isRepeatable: boolean;
};

/**
 * How long a host, or a vendor that is asked for a fresh link, may fail in passing before a picture that is paid
 * for is given up: longer than a restart takes, shorter than links live.
 */
export const patienceMs = 2 * minuteMs;
const downloadPauseMs = 1_000;
const downloadPauseMaxMs = 15_000;
/** After a refusal of the store, doubled by each further one. */
const storePauseMs = 1_000;
const storePauseMaxMs = 30_000;

/** Answers to a link that has been taken down. */
const expiredStatuses: readonly number[] = [403, 404, 410];

/**
 * Stores a picture, waiting out a store that fails: a paid picture is not given up before the deadline, nor
 * downloaded a second time. Throws `Fenced` when the run is called off meanwhile.
 */
export async function keepPicture(deps: EngineDeps, run: Run, input: KeepInput): Promise<Kept> {
  const failure = failureOf(input.handed);
  if (failure !== null) return failure;
  let failures = 0;
  let failingSince: number | null = null;
  for (let drops = 1; ;) {
    try {
      const kept = await takeAndStore(deps, run, input);
      if (kept !== null) return kept;
      if (input.handed.kind === "bytes") return input.isRepeatable ? "dropped" : noRoom();
      await waitForStore(deps, run, drops);
      drops += 1;
      failingSince = null;
    } catch (error) {
      if (error instanceof EgressError && error.kind === "aborted") throw new Fenced(run.task.id);
      if (isExpired(error)) return "expired";
      if (!isOfPicture(error)) throw error;
      failingSince ??= deps.clock.now();
      const isWorthIt = isPassing(error) && deps.clock.now() - failingSince < patienceMs;
      if (!isWorthIt) return unusable(error);
      const pauseMs = Math.min(downloadPauseMaxMs, downloadPauseMs * 2 ** failures);
      failures += 1;
      await pause(deps, run, jitter(deps.random, pauseMs, 0.5));
    }
  }
}

/** Apart from what waits: a name for the picture there would keep its bytes in memory. */
function failureOf({ picture }: Handed): ProviderError | null {
  return picture?.kind === "failed" ? picture.failure : null;
}

/** Waits until the store is worth trying, and the longer the more often it has refused. Throws `Fenced`. */
export async function waitForStore(
  deps: Pick<EngineDeps, "clock" | "random" | "outage">,
  run: Run,
  refusals: number,
): Promise<void> {
  if (refusals > 0) {
    const pauseMs = Math.min(storePauseMaxMs, storePauseMs * 2 ** (refusals - 1));
    await pause(deps, run, jitter(deps.random, pauseMs, 0.5));
  }
  await deps.outage.untilOver(run.signal);
  if (run.signal.aborted) throw new Fenced(run.task.id);
}

/** What is told of a picture that had to be let go of, as of one whose worker died. */
export function noRoom(): ProviderError {
  return new OwnFailure("lost", "the storage took nothing, and there was no room to wait in");
}

/** What is told of a picture that waited for the store until the task's deadline. */
export function outOfTime(): ProviderError {
  const options = { taskError: "generation_timeout" } as const;
  return new OwnFailure("lost", "the storage took nothing until the deadline", options);
}

/** Null when there was no room for the bytes to wait in. */
async function takeAndStore(
  deps: EngineDeps,
  run: Run,
  input: KeepInput,
): Promise<StoredOutput | null> {
  const taken = await take(deps, run, input);
  if (taken === null || "object" in taken) return taken;
  try {
    return await storeSpooled(deps, run, taken, input.promise);
  } finally {
    await deps.spool.remove(taken);
  }
}

/** Has the bytes in memory, and has let go of them when it resolves. */
function take(
  deps: EngineDeps,
  run: Run,
  { handed, channel, promise, isRepeatable }: KeepInput,
): Promise<StoredOutput | Spooled | null> {
  const parts = { egress: channel.egress ?? deps.egress, memory: deps.storage };
  const allowedHosts = channel.adapter.resultHosts ?? null;
  // A host that is silent must not hold up a stop; a link that nobody could ask for again is waited for.
  const signal = isRepeatable ? run.signal : undefined;
  return takeOutput(parts, takeSource(handed), { allowedHosts, signal }, (bytes) =>
    storeOrSpool(deps, run, bytes, promise),
  );
}

function takeSource(handed: Handed): OutputSource {
  const { picture } = handed;
  assert(picture !== null && picture.kind !== "failed", "bytes are taken once");
  if (picture.kind === "bytes") handed.picture = null;
  return picture;
}

async function storeOrSpool(
  deps: EngineDeps,
  run: Run,
  bytes: Uint8Array,
  promise: OutputPromise | null,
): Promise<StoredOutput | Spooled | null> {
  checkOutput(bytes);
  const { outage, spool, storeBytes } = deps;
  // More than the store takes at present does not wait in memory.
  if (!outage.isOn && storeBytes.hasRoom(bytes.byteLength)) {
    const stored = await storeBytes.run(run.task.accountId, bytes.byteLength, () =>
      tryToStore(deps, run, bytes, promise),
    );
    if (stored !== "refused") return stored;
  }
  return spool.write(bytes);
}

async function tryToStore(
  deps: EngineDeps,
  run: Run,
  bytes: Uint8Array,
  promise: OutputPromise | null,
): Promise<StoredOutput | "refused"> {
  try {
    const stored = await storeOutput(deps, bytes, promise);
    deps.outage.end();
    return stored;
  } catch (error) {
    // Our own parts are overloaded.
    if (error instanceof AppError) return "refused";
    if (!(error instanceof StorageError)) throw error;
    deps.log.error({ err: error, task: run.task.id }, "the storage failed; trying again");
    deps.outage.begin();
    return "refused";
  }
}

/** Null when the bytes are lost. */
async function storeSpooled(
  deps: EngineDeps,
  run: Run,
  spooled: Spooled,
  promise: OutputPromise | null,
): Promise<StoredOutput | null> {
  const { outage, spool, storeBytes } = deps;
  for (let refusals = 0; ;) {
    await waitForStore(deps, run, refusals);
    const { accountId } = run.task;
    const stored = await storeBytes.run(accountId, spooled.byteLength, async () => {
      // In the line the next outage may have begun, and the task may have ended.
      if (outage.isOn || run.signal.aborted) return "not tried";
      const bytes = await spool.read(spooled);
      return bytes === null ? null : tryToStore(deps, run, bytes, promise);
    });
    if (stored === "refused") refusals += 1;
    else if (stored !== "not tried") return stored;
  }
}

type OfPicture = PictureError | EgressError | DownloadError;

function isOfPicture(error: unknown): error is OfPicture {
  return (
    error instanceof PictureError || error instanceof EgressError || error instanceof DownloadError
  );
}

function isExpired(error: unknown): boolean {
  return error instanceof DownloadError && expiredStatuses.includes(error.status);
}

/** The network or the host failed, which says nothing about the picture. */
function isPassing(error: OfPicture): boolean {
  if (error instanceof DownloadError) return error.status >= 500 || error.status === 429;
  if (!(error instanceof EgressError)) return false;
  return error.kind === "unreachable" || error.kind === "timeout" || error.kind === "broken";
}

function unusable(error: OfPicture): ProviderError {
  return new ProviderError("garbled", error.message, { taskError: "no_image", cause: error });
}
