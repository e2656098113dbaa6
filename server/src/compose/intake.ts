import { lockFolder } from "../db/folder-lock.ts";
import type { Installation } from "../installation.ts";
import { readDiskRoom } from "../lib/disk-room.ts";
import { createGate } from "../lib/gate.ts";
import { createOutage } from "../storage/outage.ts";
import { createSpool } from "../storage/spool.ts";

/** What a process has of its own between the vendors and the storage. */
export function createIntake({ config, clock, random, log, storage }: Installation) {
  return {
    storeBytes: createGate(128 * 2 ** 20),
    spool: createSpool({ ...config.data.spool, random, log, readDiskRoom, lock: lockFolder }),
    outage: createOutage({ storage, clock, log }),
  };
}
