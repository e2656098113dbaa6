/** Workers of a test engine, each with what a process has of its own. */
import type { EngineDeps } from "../../src/tasks/engine.ts";
import { createRescue } from "../../src/tasks/rescue.ts";
import type { Rescue } from "../../src/tasks/rescue.ts";
import { createWatch } from "../../src/tasks/watch.ts";
import { createWorker } from "../../src/tasks/worker.ts";
import type { Worker } from "../../src/tasks/worker.ts";
import type { Activity } from "./activity.ts";
import type { TestDatabase } from "./databases.ts";
import { createIntake } from "./engine-deps.ts";
import type { EngineOptions } from "./engine-deps.ts";
import { createMortalClock, createMortalDatabase } from "./mortal.ts";

/** A worker with its rescue, as one process would run them. */
export type Life = {
  deps: EngineDeps;
  worker: Worker;
  rescue: Rescue;
  /** Ends as a process that is killed does: nothing more is written, sent, slept or cleaned up. */
  crash(): void;
  /** Takes the database away from this process, or gives it back. */
  cutOff(isCutOff: boolean): void;
  stop(): Promise<void>;
};

/** Of an engine, what each of its processes is made from. */
export type LifeParts = {
  options: EngineOptions;
  test: TestDatabase;
  activity: Activity;
  deps: EngineDeps;
  lives: Set<Life>;
  spoolFolder: string;
};

type Begin = { tasksMax?: number; another?: boolean };

export async function startLife(
  parts: LifeParts,
  { tasksMax = 100, another = false }: Begin,
): Promise<Life> {
  const mortal = { isDead: false, isCutOff: false };
  const clock = createMortalClock(parts.test.clock, mortal);
  const { spool, ...intake } = createIntake({ ...parts, storage: parts.deps.storage }, clock);
  await spool.sweep();
  const deps: EngineDeps = {
    ...parts.deps,
    ...intake,
    spool,
    clock,
    db: createMortalDatabase(parts.deps.db, mortal),
    watch: another ? createWatch() : parts.deps.watch,
  };
  const worker = createWorker(deps, { tasksMax });
  const rescue = createRescue(deps);
  const life: Life = {
    deps,
    worker,
    rescue,
    crash: () => {
      mortal.isDead = true;
    },
    cutOff: (isCutOff) => {
      mortal.isCutOff = isCutOff;
    },
    stop: async () => {
      await worker.stop();
      await rescue.stop();
      await spool.close();
    },
  };
  parts.lives.add(life);
  // At its start on SQLite a rescue takes over every worker it finds: one process, one rescue.
  if (!another) await rescue.start();
  await worker.start();
  return life;
}
