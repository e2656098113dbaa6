import { createGate } from "../../src/lib/gate.ts";
import type { Log } from "../../src/lib/log.ts";
import type { Random } from "../../src/lib/random.ts";
import type { Clock } from "../../src/lib/time.ts";
import { createOutage } from "../../src/storage/outage.ts";
import { createSpool } from "../../src/storage/spool.ts";
import type { Storage } from "../../src/storage/storage.ts";
import type { EngineDeps } from "../../src/tasks/engine.ts";

export type MemoryIntakeDeps = { storage: Storage; clock: Clock; random: Random; log: Log };

/**
 * What an engine has between its vendors and the storage, without files, whose real time a simulation does not
 * wait for. What `spoolBytesMax` does not hold is let go of.
 */
export function createMemoryIntake(
  { storage, clock, random, log }: MemoryIntakeDeps,
  spoolBytesMax: number,
): Pick<EngineDeps, "storeBytes" | "spool" | "outage"> {
  return {
    storeBytes: createGate(128 * 2 ** 20),
    spool: createSpool({
      folder: "unused",
      bytesMax: 0,
      memoryBytesMax: spoolBytesMax,
      random,
      log,
      readDiskRoom: () => Promise.resolve(null),
      lock: () => ({ release: () => undefined }),
    }),
    outage: createOutage({ storage, clock, log }),
  };
}
