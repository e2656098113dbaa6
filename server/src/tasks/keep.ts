/** Takes a vendor's finished picture into storage, as patiently as paid work deserves. */
import type { Channel } from "../channels/channel.ts";
import { DownloadError, storeOutput } from "../images/outputs.ts";
import type { OutputPromise, StoredOutput } from "../images/outputs.ts";
import { PictureError } from "../images/picture.ts";
import { EgressError } from "../lib/egress.ts";
import { jitter } from "../lib/random.ts";
import { ProviderError } from "../providers/adapter.ts";
import type { Picture } from "../providers/adapter.ts";
import { Fenced, outlast, pause } from "./engine.ts";
import type { EngineDeps, Run } from "./engine.ts";

/** `expired`: the vendor's link leads nowhere any more. */
export type Kept = StoredOutput | ProviderError | "expired";

export type KeepInput = {
  picture: Picture;
  channel: Channel;
  promise: OutputPromise | null;
  /** True where whoever holds the task next can ask for the picture again. */
  isRepeatable: boolean;
};

/** Downloads of one link, the first included. */
const downloadsMax = 3;
const downloadPauseMs = 1_000;

/** Answers to a link that has been taken down. */
const expiredStatuses: readonly number[] = [403, 404, 410];

/**
 * Stores a picture, waiting out a store that fails: a paid picture is not given up before the deadline.
 * Throws `Fenced` when the run is called off meanwhile.
 */
export async function keepPicture(
  deps: EngineDeps,
  run: Run,
  { picture, channel, promise, isRepeatable }: KeepInput,
): Promise<Kept> {
  if (picture.kind === "failed") return picture.failure;
  const { pictures, storage, random } = deps;
  const parts = { pictures, storage, random, egress: channel.egress ?? deps.egress };
  const allowedHosts = channel.adapter.resultHosts ?? null;
  // A host that is silent must not hold up a stop; a link that nobody could ask for again is waited for.
  const signal = isRepeatable ? run.signal : undefined;
  const options = { allowedHosts, promise, signal };
  for (let downloads = 1; ; downloads += 1) {
    try {
      return await outlast(deps, run, () => storeOutput(parts, picture, options));
    } catch (error) {
      if (error instanceof EgressError && error.kind === "aborted") throw new Fenced(run.task.id);
      if (isExpired(error)) return "expired";
      if (!isOfPicture(error)) throw error;
      if (downloads >= downloadsMax || !isPassing(error)) return unusable(error);
    }
    await pause(deps, run, jitter(random, downloadPauseMs * downloads, 0.5));
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
