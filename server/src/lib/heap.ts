import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Gives memory back to the system that a burst of work has left behind: after a start some 30 MB, which V8
 * would keep for the next burst. Stops the process for a few hundredths of a second.
 */
export function releaseMemory(): void {
  setFlagsFromString("--expose-gc");
  // The flag puts this function into every context that is made from now on.
  const collect = runInNewContext("gc") as (options: Record<string, string>) => void;
  setFlagsFromString("--no-expose-gc");
  // "last-resort" is what V8 does before it runs out of memory: it also gives its pools of free pages back.
  collect({ type: "major", execution: "sync", flavor: "last-resort" });
}
