/** The engine: everything that moves tasks, with the parts it stands on. */
import { createChannels, createSandboxChannel } from "../channels/channels.ts";
import { createPictureProcesses } from "../images/processes.ts";
import type { Installation } from "../installation.ts";
import { createEgress, systemResolver } from "../lib/egress.ts";
import { createGate } from "../lib/gate.ts";
import { createSandbox } from "../providers/sandbox.ts";
import { createRescue } from "../tasks/rescue.ts";
import { createResultTtl } from "../tasks/result-ttl.ts";
import { createSweeper } from "../tasks/sweep.ts";
import { sandboxUsageOf } from "../tasks/usage.ts";
import { createWatch } from "../tasks/watch.ts";
import { createWorker } from "../tasks/worker.ts";

export type Engine = ReturnType<typeof createEngine>;

export function createEngine(installation: Installation) {
  const { config, clock, random, ids, log, db, storage, catalogue } = installation;
  const { results, tasks } = config;
  const pictures = createPictureProcesses({ clock, log, ...config.images });
  const egress = createEgress({ allow: config.egress.allow, resolve: systemResolver, clock });
  const sandbox = createSandbox({
    draw: (drawing) => pictures.draw(drawing),
    usageOf: (job) => sandboxUsageOf(catalogue, job),
  });
  const channels = createChannels([createSandboxChannel(sandbox)]);
  const resultTtlMs = createResultTtl(results, catalogue);
  const shared = { db, clock, random, ids, log, storage, pictures, egress, channels, catalogue };
  const requestBytes = createGate(128 * 2 ** 20);
  const deps = { ...shared, watch: createWatch(), resultTtlMs, requestBytes };
  const worker = createWorker(deps, { tasksMax: tasks.workerTasksMax });
  const rescue = createRescue(deps);
  const sweeper = createSweeper({ ...deps, retentionMs: tasks.retentionMs });
  return {
    deps,
    start: async () => {
      await rescue.start();
      await worker.start();
      sweeper.start();
    },
    /** Finishes what is under way and gives the rest back. */
    stop: async () => {
      await worker.stop();
      await rescue.stop();
      await sweeper.stop();
      await pictures.close();
      await egress.close();
    },
  };
}
