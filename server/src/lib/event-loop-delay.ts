import { monitorEventLoopDelay } from "node:perf_hooks";

/** How late this process's event loop is with what is due. */
export type EventLoopDelay = {
  /** Median since the last call, in milliseconds: a single long pause does not show, a busy loop does. */
  read(): number;
  stop(): void;
};

const everyMs = 20;
const nanosecondsPerMs = 1e6;

export function watchEventLoopDelay(): EventLoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: everyMs });
  histogram.enable();
  return {
    read: () => {
      const medianMs = histogram.percentile(50) / nanosecondsPerMs;
      histogram.reset();
      // It measures from one of its ticks to the next.
      return Math.max(0, medianMs - everyMs);
    },
    stop: () => void histogram.disable(),
  };
}
