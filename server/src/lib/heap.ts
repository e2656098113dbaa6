import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Gives memory back to the system that a burst of work has left behind: after a start some 30 MB, which V8
 * would keep for the next burst. Stops the process for a few hundredths of a second.
 */
export function releaseMemory(): void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  // "last-resort" is what V8 does before it runs out of memory: it also gives its pools of free pages back.
  if (typeof collect === "function") {
    collect({ type: "major", execution: "sync", flavor: "last-resort" });
  }
}
