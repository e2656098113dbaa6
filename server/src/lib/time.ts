/**
 * The only place that reads a clock or sets a timer. Everything else receives a `Clock`, so that a
 * test owns time and nothing in a test sleeps.
 */
export type Clock = {
  /** Wall-clock time in unix milliseconds. */
  now(): number;
  /** Milliseconds that only ever grow; for durations and leases, never for dates. */
  monotonic(): number;
  /** Resolves after `ms`, or at once (without an error) when `signal` aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `run` once after `ms`; the returned function calls it off. Does not keep the process alive. */
  after(ms: number, run: () => void): () => void;
};

/** A clock whose wall-clock time can be set right; durations and timers stay the machine's own. */
export type AdjustableClock = Clock & {
  /** Moves `now()` by `ms`, forwards or back. */
  adjustBy(ms: number): void;
};

/** `clock`, which can be moved to what another machine says the time is. */
export function createAdjustableClock(clock: Clock): AdjustableClock {
  let offsetMs = 0;
  return {
    ...clock,
    now: () => clock.now() + offsetMs,
    adjustBy: (ms) => {
      offsetMs += ms;
    },
  };
}

/** Longest delay `setTimeout` honours (2^31 - 1 ms); above it Node fires at once. */
const timerMsMax = 2_147_483_647;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: sleepOnTimer,
  after: (ms, run) => {
    const timer = setTimeout(run, clampDelay(ms));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

function sleepOnTimer(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(done, clampDelay(ms));
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done, { once: true });
  });
}

function clampDelay(ms: number): number {
  return Math.min(Math.max(0, ms), timerMsMax);
}

export const secondMs = 1_000;
export const minuteMs = 60 * secondMs;
export const hourMs = 60 * minuteMs;
export const dayMs = 24 * hourMs;

/** Unix seconds, rounded down: the form in which the API shows every time. */
export function toUnixSeconds(ms: number): number {
  return Math.floor(ms / 1_000);
}

/** True for a name that the runtime knows as a time zone. */
export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat("en-CA", { timeZone: name }).resolvedOptions() !== null;
  } catch {
    return false;
  }
}
