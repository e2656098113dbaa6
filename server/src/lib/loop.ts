import type { Clock } from "./time.ts";

/** A background duty that repeats: claiming, rescuing, sweeping. */
export type Loop = {
  start(): void;
  /** Runs the next turn at once instead of after its pause; cheap to call often. */
  nudge(): void;
  /** Resolves when the turn under way is over; no further turn starts. May be called twice. */
  stop(): Promise<void>;
};

export type LoopOptions = {
  clock: Clock;
  /** Pause between turns; a turn that returns a number overrides it once. */
  everyMs: number;
  /** One turn. It is told when to give up, and never runs twice at the same time. */
  turn(signal: AbortSignal): Promise<number | void>;
  /** A turn that throws is reported here, and the loop goes on after its pause. */
  onError(error: unknown): void;
};

export function createLoop(options: LoopOptions): Loop {
  const ending = new AbortController();
  let nudged = false;
  let wake = (): void => {};
  let running: Promise<void> | null = null;

  async function pause(ms: number): Promise<void> {
    if (nudged || ending.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const cancel = options.clock.after(ms, resolve);
      wake = () => {
        cancel();
        resolve();
      };
    });
  }

  async function run(): Promise<void> {
    while (!ending.signal.aborted) {
      nudged = false;
      let next = options.everyMs;
      try {
        next = (await options.turn(ending.signal)) ?? next;
      } catch (error) {
        options.onError(error);
      }
      await pause(next);
    }
  }

  return {
    start: () => {
      running ??= run();
    },
    nudge: () => {
      nudged = true;
      wake();
    },
    stop: async () => {
      ending.abort();
      wake();
      await running;
    },
  };
}
