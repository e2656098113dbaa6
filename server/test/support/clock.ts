import { setImmediate as nextTurn } from "node:timers/promises";

import type { Clock } from "../../src/lib/time.ts";

/** A clock whose time moves only when a test says so. */
export type TestClock = Clock & {
  /**
   * Moves time by `ms` and runs what falls due on the way, in order, each at its own time. After each, the
   * code it woke gets its turns of the event loop, so that the timers it sets in turn are seen too.
   */
  advance(ms: number): Promise<void>;
  /** Sleeps and calls that wait for their time. */
  readonly waiting: number;
  /** Resolves when at least `count` sleeps and calls wait: the code under test has reached its pause. */
  untilWaiting(count: number): Promise<void>;
};

type Timer = { dueMs: number; fire(): void };

/** 2026-01-01T00:00:00Z. */
const startMsDefault = 1_767_225_600_000;

/** `turns` of the event loop: in these, what a timer has woken comes to rest. */
export function createTestClock(startMs = startMsDefault, { turns = 1 } = {}): TestClock {
  let elapsedMs = 0;
  const timers = new Set<Timer>();
  const watchers = new Set<{ count: number; resolve(): void }>();

  function add(delayMs: number, run: () => void): Timer {
    const timer = {
      // In whole milliseconds, so that every time that is read is one.
      dueMs: elapsedMs + Math.max(0, Math.ceil(delayMs)),
      fire: () => {
        timers.delete(timer);
        run();
      },
    };
    timers.add(timer);
    for (const watcher of watchers) {
      if (timers.size >= watcher.count) {
        watchers.delete(watcher);
        watcher.resolve();
      }
    }
    return timer;
  }

  async function rest(): Promise<void> {
    for (let turn = 0; turn < turns; turn += 1) await nextTurn();
  }

  /** Timers of equal time fire in the order they were set, which a set keeps. */
  function findNext(untilMs: number): Timer | null {
    let next: Timer | null = null;
    for (const timer of timers) {
      if (timer.dueMs <= untilMs && (next === null || timer.dueMs < next.dueMs)) next = timer;
    }
    return next;
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
    advance: async (ms) => {
      const untilMs = elapsedMs + ms;
      await rest();
      for (let timer = findNext(untilMs); timer !== null; timer = findNext(untilMs)) {
        elapsedMs = Math.max(elapsedMs, timer.dueMs);
        timer.fire();
        await rest();
      }
      elapsedMs = untilMs;
    },
    get waiting() {
      return timers.size;
    },
    untilWaiting: (count) =>
      new Promise((resolve) => {
        if (timers.size >= count) resolve();
        else watchers.add({ count, resolve });
      }),
  };
}
