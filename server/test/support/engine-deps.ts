/** What the task engine of a test is made of: real parts, but for the vendors and the clock. */
import type { KeySettings } from "../../src/accounts/key-settings.ts";
import { createBreakers } from "../../src/channels/breaker.ts";
import { createChannels } from "../../src/channels/channels.ts";
import { createConnector } from "../../src/channels/connect.ts";
import { lockFolder } from "../../src/db/folder-lock.ts";
import type { Mode } from "../../src/db/schema.ts";
import type { PictureProcesses } from "../../src/images/picture.ts";
import type { Egress } from "../../src/lib/egress.ts";
import { must } from "../../src/lib/errors.ts";
import { createGate } from "../../src/lib/gate.ts";
import { createIds } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import { systemRandom } from "../../src/lib/random.ts";
import type { Random } from "../../src/lib/random.ts";
import { dayMs } from "../../src/lib/time.ts";
import type { Clock } from "../../src/lib/time.ts";
import { createVault } from "../../src/lib/vault.ts";
import { createCatalogue } from "../../src/models/catalogue.ts";
import { createLinks } from "../../src/storage/links.ts";
import type { Links } from "../../src/storage/links.ts";
import { createOutage } from "../../src/storage/outage.ts";
import { createSpool } from "../../src/storage/spool.ts";
import type { Storage } from "../../src/storage/storage.ts";
import type { EngineDeps } from "../../src/tasks/engine.ts";
import { createTaskEvents } from "../../src/tasks/events.ts";
import type { Overload } from "../../src/tasks/overload.ts";
import { createWatch } from "../../src/tasks/watch.ts";
import { countSyncs, trackAll, trackDatabase, trackEgress } from "./activity.ts";
import type { Activity, SyncCounts } from "./activity.ts";
import type { TestClock } from "./clock.ts";
import type { TestDatabase } from "./databases.ts";
import type { Vendor } from "./vendor.ts";

export type EngineOptions = {
  vendors?: readonly Vendor[];
  /** Of the key that submits. */
  mode?: Mode;
  key?: Partial<KeySettings>;
  /** Micro-USD on the live book. */
  funds?: number;
  deadlineMs?: number;
  retentionMs?: number;
  random?: Random;
  /** What refuses submits; one that never does without it. */
  overload?: Pick<Overload, "assertAccepting" | "checkBacklog">;
  /** Bounds the reference bytes in memory. */
  requestBytesMax?: number;
  /** Where pictures are kept; a folder without it. Closed by the test. */
  storage?: Storage;
  /** Bounds the pictures on their way into the storage. */
  storeBytesMax?: number;
  /** Bounds the pictures that wait for the storage, in files and in memory. */
  spoolBytesMax?: number;
  spoolMemoryBytesMax?: number;
  pictures?: PictureProcesses;
};

type DepsParts = {
  test: TestDatabase;
  activity: Activity;
  storage: Storage;
  egress: Egress;
  vendors: readonly Vendor[];
  options: EngineOptions;
  spoolFolder: string;
};

export function createDeps(parts: DepsParts): { deps: EngineDeps } & SyncCounts {
  const { test, activity, storage, egress, vendors, options } = parts;
  const random = options.random ?? systemRandom;
  const synced = countSyncs(trackDatabase(activity, test.db));
  const ids = createIds(test.clock, random);
  const watch = createWatch();
  const catalogue = createCatalogue();
  const deps: EngineDeps = {
    db: synced.db,
    clock: test.clock,
    random,
    ids,
    log: createLog("silent"),
    storage: trackAll(activity, storage),
    pictures: trackAll(activity, must(options.pictures, "picture processes")),
    egress: trackEgress(activity, egress),
    channels: createChannels({
      db: synced.db,
      clock: test.clock,
      log: createLog("silent"),
      vault: createVault({ key: Buffer.alloc(32, 9), random }),
      connector: createConnector({ openEgress: () => egress, allow: [], models: [] }),
      builtIn: vendors.map(({ channel }) => channel),
    }),
    breakers: createBreakers({ clock: test.clock }),
    catalogue,
    watch,
    resultTtlMs: () => dayMs,
    events: createTaskEvents({
      ids,
      watch,
      catalogue,
      links: createTestLinks(test.clock),
      publicUrl: () => ourOrigin,
      nudge: () => undefined,
    }),
    requestBytes: createGate(options.requestBytesMax ?? 128 * 2 ** 20),
    ...createIntake(parts, test.clock),
  };
  return { deps, commits: synced.commits, unsynced: synced.unsynced };
}

type IntakeParts = Pick<DepsParts, "activity" | "storage" | "options" | "spoolFolder">;

/** What a process has of its own between vendors and the storage. */
export function createIntake(
  { activity, storage, options, spoolFolder }: IntakeParts,
  clock: Clock,
) {
  const log = createLog("silent");
  const spool = createSpool({
    folder: spoolFolder,
    bytesMax: options.spoolBytesMax ?? 2 ** 30,
    memoryBytesMax: options.spoolMemoryBytesMax ?? 0,
    random: systemRandom,
    log,
    readDiskRoom: () => Promise.resolve(null),
    lock: lockFolder,
  });
  return {
    storeBytes: createGate(options.storeBytesMax ?? 128 * 2 ** 20),
    spool: trackAll(activity, spool),
    outage: createOutage({ storage: trackAll(activity, storage), clock, log }),
  };
}

export const ourOrigin = "http://darkroom.test";

export function createTestLinks(clock: TestClock): Links {
  return createLinks({ secret: Buffer.alloc(32, 9), clock });
}
