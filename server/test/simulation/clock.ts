/** Time that moves from one timer to the next, and only after everything the last one woke has come to rest. */
import { setImmediate as nextTurn } from "node:timers/promises";

import type { Clock } from "../../src/lib/time.ts";

export type SimulatedClock = Clock & {
  /** Moves time by `ms`: every timer on the way fires at its own moment, those of one moment in their order. */
  pass(ms: number): Promise<void>;
};

type Timer = { dueMs: number; fire(): void };

/** 2026-01-01T00:00:00Z. */
const startMs = 1_767_225_600_000;
/** Nothing in a simulation waits for a file or a socket: what goes on, goes on in these turns. */
const turnsToRest = 4;

export function createSimulatedClock(): SimulatedClock {
  let elapsedMs = 0;
  const timers = new Set<Timer>();

  function add(delayMs: number, run: () => void): Timer {
    const dueMs = elapsedMs + Math.max(0, Math.round(delayMs));
    const timer = { dueMs, fire: run };
    if (Number.isFinite(dueMs)) timers.add(timer);
    return timer;
  }

  return {
    now: () => startMs + elapsedMs,
    monotonic: () => elapsedMs,
    sleep: (ms, signal) => {
      if (signal?.aborted === true) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = add(ms, done);
        function done(): void {
          timers.delete(timer);
          signal?.removeEventListener("abort", done);
          resolve();
        }
        signal?.addEventListener("abort", done, { once: true });
      });
    },
    after: (ms, run) => {
      const timer = add(ms, run);
      return () => timers.delete(timer);
    },
    pass: async (ms) => {
      const untilMs = elapsedMs + ms;
      await rest();
      for (;;) {
        const nextMs = Math.min(...[...timers].map(({ dueMs }) => dueMs));
        if (nextMs > untilMs) break;
        elapsedMs = Math.max(elapsedMs, nextMs);
        for (const timer of timers) {
          // One that fires may call off another of the same moment.
          if (timer.dueMs > elapsedMs || !timers.delete(timer)) continue;
          timer.fire();
        }
        await rest();
      }
      elapsedMs = untilMs;
    },
  };
}

async function rest(): Promise<void> {
  for (let turn = 0; turn < turnsToRest; turn += 1) await nextTurn();
}
