import { monitorEventLoopDelay } from "node:perf_hooks";

/** How late this process's event loop is with what is due. */
export type EventLoopDelay = {
  /**
   * Since the last call, in milliseconds: the median unless another percentile is named, in which a
   * single long pause does not show and a busy loop does.
   */
  read(percentile?: number): number;
  stop(): void;
};

const everyMs = 20;
const nanosecondsPerMs = 1e6;

export function watchEventLoopDelay(): EventLoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: everyMs });
  histogram.enable();
  return {
    read: (percentile = 50) => {
      const tickMs = histogram.percentile(percentile) / nanosecondsPerMs;
      histogram.reset();
      // It measures from one of its ticks to the next.
      return Math.max(0, tickMs - everyMs);
    },
    stop: () => void histogram.disable(),
  };
}
