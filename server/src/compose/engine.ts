/** The engine: everything that moves tasks, with the parts it stands on. */
import { createBreakers } from "../channels/breaker.ts";
import { createSandboxChannel } from "../channels/channels.ts";
import { countVerdicts } from "../channels/verdict-counts.ts";
import { createPictureProcesses } from "../images/processes.ts";
import type { Installation, Role } from "../installation.ts";
import { createGate } from "../lib/gate.ts";
import { createSandbox } from "../providers/sandbox.ts";
import { createNode } from "../tasks/node.ts";
import { createRescue } from "../tasks/rescue.ts";
import { createResultTtl } from "../tasks/result-ttl.ts";
import { sandboxUsageOf } from "../tasks/usage.ts";
import { createWorker } from "../tasks/worker.ts";
import { composeChannels } from "./channels.ts";
import { createIntake } from "./intake.ts";
import { createLinking } from "./links.ts";
import { createSweeps } from "./sweeps.ts";
import { composeWatch } from "./watch.ts";
import { createWebhooks } from "./webhooks.ts";

export type Engine = ReturnType<typeof createEngine>;

export function createEngine(
  opened: Installation,
  state: { listening: string },
  role: Role = "all",
) {
  const installation = { ...opened, db: opened.engineDb };
  const { config, clock, random, ids, log, db, storage, catalogue } = installation;
  const { results, tasks } = config;
  const pictures = createPictureProcesses({ clock, log, ...config.images });
  const egress = installation.openEgress(config.egress.allow);
  const sandbox = createSandbox({
    draw: (drawing) => pictures.draw(drawing),
    usageOf: (job) => sandboxUsageOf(catalogue, job),
  });
  const runsTasks = role !== "api";
  const builtIn = [createSandboxChannel(sandbox)];
  const upstreams = composeChannels(installation, builtIn, { appliesEnvironment: runsTasks });
  const { channels } = upstreams;
  const resultTtlMs = createResultTtl(results, catalogue);
  const { breakers, readCounts } = countVerdicts(createBreakers({ clock }));
  const upward = { egress, channels, breakers };
  const shared = { db, clock, random, ids, log, storage, pictures, ...upward, catalogue };
  const requestBytes = createGate(128 * 2 ** 20);
  const intake = createIntake(installation);
  const wakeUps = composeWatch(installation);
  const { watch } = wakeUps;
  const node = createNode({ db, clock, ids, log }, { isApi: role !== "worker" });
  const linking = createLinking(installation, state);
  const webhooks = createWebhooks(installation, { ...linking, egress, watch });
  const ending = { resultTtlMs, events: webhooks.events };
  const deps = { ...shared, ...linking, ...ending, ...intake, watch, requestBytes };
  const worker = createWorker(deps, { tasksMax: tasks.workerTasksMax });
  const rescue = createRescue(deps);
  const sweeps = createSweeps(installation);
  return {
    deps,
    webhooks: webhooks.verbs,
    liveApiNodes: node.liveApiNodes,
    work: {
      tasksInHand: () => worker.tasksInHand,
      readVerdicts: readCounts,
      spooledBytes: () => intake.spool.bytes,
    },
    start: async () => {
      await node.start();
      await wakeUps.start();
      await upstreams.start();
      if (!runsTasks) return;
      await intake.spool.sweep();
      await rescue.start();
      await worker.start();
      sweeps.start();
      webhooks.start();
    },
    /** Finishes what is under way and gives the rest back. */
    stop: async () => {
      const parts = runsTasks ? [worker, rescue, sweeps, webhooks] : [];
      for (const part of [...parts, upstreams, wakeUps, node]) {
        // While the database is away a part cannot give back what it has; the others take it over.
        await part.stop().catch((error: unknown) => log.error({ err: error }, "a stop failed"));
      }
      await intake.spool.close();
      await pictures.close();
      await egress.close();
    },
  };
}
