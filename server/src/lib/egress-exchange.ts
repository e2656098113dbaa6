import { EgressError } from "./egress-error.ts";
import type { EgressErrorKind } from "./egress-error.ts";
import type { Clock } from "./time.ts";

/**
 * One exchange with a peer, redirects included: its time limits, and whether its request has left.
 * Every limit ends in `signal`, whose reason is the `EgressError` to throw.
 */
export type Exchange = {
  readonly signal: AbortSignal;
  /** Notes that bytes may leave from now on; there is no way back. */
  markSent(): void;
  /** Starts a stage of at most `limitMs`, in place of the one before. */
  enter(limitMs: number, what: string): void;
  /** Ends the stage; the limit of the whole exchange runs on. */
  leave(): void;
  /** Releases the timers and the caller's signal. Cheap to call twice. */
  end(): void;
  /** An error that knows whether the request left. */
  fail(kind: EgressErrorKind, message: string, cause?: unknown): EgressError;
  /** What `error`, thrown anywhere in the exchange, means. */
  describe(error: unknown): EgressError;
};

export type ExchangeOptions = {
  clock: Clock;
  timeoutMs: number;
  /** The caller's. */
  signal: AbortSignal | undefined;
};

export function createExchange({ clock, timeoutMs, signal }: ExchangeOptions): Exchange {
  const ending = new AbortController();
  let sent = false;
  let cancelStage = nothing;

  const fail = (kind: EgressErrorKind, message: string, cause?: unknown): EgressError =>
    new EgressError(kind, message, { sent, cause });
  const giveUp = (): void => ending.abort(fail("aborted", "was called off", signal?.reason));
  const runOut = (what: string, ms: number) => (): void =>
    ending.abort(fail("timeout", `${what} within ${ms} ms`));
  const leave = (): void => {
    cancelStage();
    cancelStage = nothing;
  };

  const cancelWhole = clock.after(timeoutMs, runOut("no complete reply", timeoutMs));
  signal?.addEventListener("abort", giveUp, { once: true });
  if (signal?.aborted === true) giveUp();

  return {
    signal: ending.signal,
    markSent: () => {
      sent = true;
    },
    enter: (limitMs, what) => {
      leave();
      cancelStage = clock.after(limitMs, runOut(what, limitMs));
    },
    leave,
    end: () => {
      leave();
      cancelWhole();
      signal?.removeEventListener("abort", giveUp);
    },
    fail,
    describe: (error) => {
      const reason: unknown = ending.signal.aborted ? ending.signal.reason : error;
      if (!(reason instanceof EgressError))
        return fail(findKind(error, sent), describeCause(error), error);
      // A refusal of a redirect does not know that the request before it has left.
      return reason.sent === sent ? reason : fail(reason.kind, reason.message, reason);
    },
  };
}

function nothing(): void {}

function findKind(error: unknown, sent: boolean): EgressErrorKind {
  const codes = listCodes(error);
  if (codes.includes("ERR_IP_BLOCKED")) return "blocked";
  if (codes.includes("UND_ERR_CONNECT_TIMEOUT")) return "timeout";
  if (codes.includes("UND_ERR_HEADERS_OVERFLOW")) return "too_large";
  return sent ? "broken" : "unreachable";
}

/** Trying several addresses ends in one `AggregateError`; what went wrong is in its parts. */
function listCodes(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const parts: unknown[] = error instanceof AggregateError ? error.errors : [];
  const code = "code" in error && typeof error.code === "string" ? [error.code] : [];
  return [...code, ...parts.flatMap(listCodes)];
}

function describeCause(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return [...new Set(listCodes(error)), message].filter((part) => part !== "").join(": ");
}
