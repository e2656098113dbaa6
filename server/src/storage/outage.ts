import type { Log } from "../lib/log.ts";
import { secondMs } from "../lib/time.ts";
import type { Clock } from "../lib/time.ts";
import type { Storage } from "./storage.ts";

/**
 * What this process knows of a store that takes nothing: one small write a second asks for all who wait,
 * instead of every one of them trying with all it has.
 */
export type Outage = {
  /** True from a write that failed until one has succeeded, a check included. */
  readonly isOn: boolean;
  /** Tells that a write has failed. */
  begin(): void;
  /** Tells that a write has succeeded. */
  end(): void;
  /** Resolves when writes are worth trying: at once when no outage is on, and when `signal` aborts. */
  untilOver(signal: AbortSignal): Promise<void>;
};

export type OutageDeps = { storage: Pick<Storage, "check">; clock: Clock; log: Log };

const checkEveryMs = secondMs;

export function createOutage({ storage, clock, log }: OutageDeps): Outage {
  const waiting = new Set<() => void>();
  let isOn = false;
  /** Calls the checks off; null while nobody waits for them. */
  let checks: AbortController | null = null;

  function end(): void {
    if (!isOn) return;
    isOn = false;
    log.warn({ waiting: waiting.size }, "the storage takes writes again");
    for (const wake of waiting) wake();
  }

  async function checkOn(signal: AbortSignal): Promise<void> {
    for (;;) {
      await clock.sleep(checkEveryMs, signal);
      if (signal.aborted) return;
      try {
        await storage.check();
        end();
      } catch (error) {
        log.debug({ err: error }, "the storage still fails");
      }
    }
  }

  function join(wake: () => void): void {
    waiting.add(wake);
    if (checks !== null) return;
    checks = new AbortController();
    void checkOn(checks.signal);
  }

  function leave(wake: () => void): void {
    waiting.delete(wake);
    if (waiting.size > 0) return;
    checks?.abort();
    checks = null;
  }

  return {
    get isOn() {
      return isOn;
    },
    begin: () => {
      isOn = true;
    },
    end,
    untilOver: async (signal) => {
      if (!isOn || signal.aborted) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      const wake = (): void => resolve();
      signal.addEventListener("abort", wake, { once: true });
      join(wake);
      await promise;
      signal.removeEventListener("abort", wake);
      leave(wake);
    },
  };
}
