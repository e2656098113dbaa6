import { AppError } from "../lib/errors.ts";
import { EgressError } from "../lib/egress-error.ts";
import type { Egress } from "../lib/egress.ts";
import { createSemaphore } from "../lib/semaphore.ts";
import type { Semaphore } from "../lib/semaphore.ts";
import { secondMs } from "../lib/time.ts";
import { PictureError } from "./picture.ts";

/**
 * A reference that cannot be had. The message is the same for addresses that are blocked, silent,
 * refusing or empty: callers must not learn from it what exists inside the operator's network.
 */
export class ReferenceUnavailable extends Error {
  /** What happened, for operators. */
  readonly detail: string | undefined;

  constructor(
    message = "the picture could not be fetched from its URL",
    options: { detail?: string; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause ?? options.detail });
    this.name = "ReferenceUnavailable";
    this.detail = options.detail;
  }
}

export type FetchOptions = {
  bytesMax: number;
  signal: AbortSignal;
  /** Who asks: one account takes at most half of the places, so that its dead URLs hold up nobody else. */
  account?: string;
};

/** One try. */
const timeoutMs = 20 * secondMs;
const triesMax = 2;
const redirectsMax = 3;
const parallelMax = 16;
const parallelMaxPerAccount = 8;
/** Above what a full worker asks for at once: ten thousand tasks of sixteen references. */
const waitingMax = 200_000;

const headers = { accept: "image/png, image/jpeg, image/webp, */*;q=0.1" };

type Places = { all: Semaphore; byAccount: Map<string, Semaphore> };

/** The places belong to the way out, so there is one set a process. */
const placesByEgress = new WeakMap<Egress, Places>();

/**
 * Fetches a picture from a caller's URL, 20 s a try, a second try after a timeout, and hands its bytes to
 * `use`. The place is kept until `use` is done, so that only as many pictures are in memory. Throws
 * `ReferenceUnavailable`, `PictureError` when it is too large, `EgressError` (`aborted`) when
 * `signal` fires, also while waiting for a place, and `AppError` when too many wait.
 */
export async function fetchReference<T>(
  egress: Egress,
  url: string,
  options: FetchOptions,
  use: (bytes: Uint8Array) => Promise<T>,
): Promise<T> {
  const places = placesByEgress.get(egress) ?? createPlaces();
  placesByEgress.set(egress, places);
  const work = inPlace(places, options.account, async () =>
    use(await fetchWithRetry(egress, url, options)),
  );
  return orAborted(options.signal, work);
}

async function fetchWithRetry(
  egress: Egress,
  url: string,
  options: FetchOptions,
): Promise<Uint8Array> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await fetchOnce(egress, url, options);
    } catch (error) {
      if (!(error instanceof EgressError)) throw error;
      if (error.kind === "timeout" && tries < triesMax) continue;
      throw describe(error, options.bytesMax);
    }
  }
}

async function fetchOnce(
  egress: Egress,
  url: string,
  { bytesMax, signal }: FetchOptions,
): Promise<Uint8Array> {
  const reply = await egress.request(url, { headers, bytesMax, timeoutMs, redirectsMax, signal });
  if (reply.status === 200) return reply.read();
  reply.discard();
  throw new ReferenceUnavailable(undefined, { detail: `answered ${reply.status}` });
}

function describe(error: EgressError, bytesMax: number): Error {
  if (error.kind === "aborted") return error;
  if (error.kind === "too_large") {
    return new PictureError("too_large", `the picture is larger than ${bytesMax / 2 ** 20} MB`);
  }
  const detail = `${error.kind}: ${error.message}`;
  return new ReferenceUnavailable(undefined, { detail, cause: error });
}

function createPlaces(): Places {
  return { all: createPlaceLimit(parallelMax), byAccount: new Map() };
}

function createPlaceLimit(limit: number): Semaphore {
  return createSemaphore({ limit, waitingMax, full: refuseWaiting });
}

function refuseWaiting(): AppError {
  return new AppError("overloaded", "too many pictures wait to be fetched", {
    param: "image_urls",
  });
}

async function inPlace<T>(
  { all, byAccount }: Places,
  account: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (account === undefined) return all.run(work);
  const own = byAccount.get(account) ?? createPlaceLimit(parallelMaxPerAccount);
  byAccount.set(account, own);
  try {
    return await own.run(() => all.run(work));
  } finally {
    if (own.active === 0) byAccount.delete(account);
  }
}

/** Work that waits for its place when the signal fires ends by itself as soon as it gets one. */
async function orAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const giveUp = (): void => aborted.reject(new EgressError("aborted", "was called off"));
  if (signal.aborted) giveUp();
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}
