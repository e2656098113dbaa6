/** The composition root of a server: an installation in, running parts out. */
import { join } from "node:path";

import { loadCaptured, loadUsage } from "./accounts/key-usage.ts";
import { createRequestLimits } from "./accounts/limits.ts";
import { createBalances } from "./billing/balance.ts";
import { loadOverrides } from "./billing/prices.ts";
import { createChannels, createSandboxChannel } from "./channels/channels.ts";
import { lockFolder } from "./db/folder-lock.ts";
import { createAuth } from "./http/auth.ts";
import { registerRoutes } from "./http/routes.ts";
import { callInProcess, closeServer, listen } from "./http/listen.ts";
import type { ApiRequest } from "./http/listen.ts";
import { createServer } from "./http/server.ts";
import { createPictureProcesses } from "./images/processes.ts";
import { saveUpload } from "./images/uploads.ts";
import type { Installation } from "./installation.ts";
import { createEgress, systemResolver } from "./lib/egress.ts";
import { createGate } from "./lib/gate.ts";
import { createSandbox } from "./providers/sandbox.ts";
import { createLinks } from "./storage/links.ts";
import { cancelTask } from "./tasks/cancel.ts";
import { createReader } from "./tasks/read.ts";
import { createRescue } from "./tasks/rescue.ts";
import { createResultTtl } from "./tasks/result-ttl.ts";
import { createSubmitter } from "./tasks/submit.ts";
import { createSweeper } from "./tasks/sweep.ts";
import { sandboxUsageOf } from "./tasks/usage.ts";
import { createWatch } from "./tasks/watch.ts";
import { createWorker } from "./tasks/worker.ts";

export type App = {
  /** Takes the data folder, starts the engine, listens; resolves with the address under which it is reached. */
  start(): Promise<string>;
  /** Stops accepting, finishes what is under way, gives the rest back, closes everything. */
  stop(): Promise<void>;
  /** One request through the whole API, without a socket; resolves with the parsed body. */
  call(request: ApiRequest): Promise<unknown>;
};

type Address = { listening: string; public(): string };

export function createApp(installation: Installation): App {
  const { config } = installation;
  const address: Address = {
    listening: "",
    public: () => config.http.publicUrl ?? address.listening,
  };
  let draining = false;
  const engine = createEngine(installation);
  const http = createHttp(installation, engine, { address, isDraining: () => draining });
  let release = (): void => {};
  let starting: Promise<string> | null = null;
  async function begin(): Promise<string> {
    release = lockFolder(join(config.data.folder, "server.lock")).release;
    await installation.storage.sweepTemporaryFiles();
    await engine.rescue.start();
    await engine.worker.start();
    engine.sweeper.start();
    address.listening = await listen(http, config.http);
    return address.listening;
  }
  return {
    start: () => (starting = begin()),
    stop: async () => {
      draining = true;
      // A part that is stopped before it has begun would begin afterwards.
      await starting?.catch(() => undefined);
      await closeServer(http, installation.clock);
      await engine.worker.stop();
      await engine.rescue.stop();
      await engine.sweeper.stop();
      await engine.deps.pictures.close();
      await engine.deps.egress.close();
      await installation.close().finally(() => release());
    },
    call: (request) => callInProcess(http, request),
  };
}

/** Everything that moves tasks. */
function createEngine(installation: Installation) {
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
  return {
    deps,
    worker: createWorker(deps, { tasksMax: tasks.workerTasksMax }),
    rescue: createRescue(deps),
    sweeper: createSweeper({ ...deps, retentionMs: tasks.retentionMs }),
  };
}

/** The HTTP server with its routes, not yet listening. */
function createHttp(
  installation: Installation,
  { deps }: ReturnType<typeof createEngine>,
  { address, isDraining }: { address: Address; isDraining: () => boolean },
) {
  const { config, clock, ids, log, db, storage, catalogue, keys, secrets, version } = installation;
  const { idempotencyTtlMs, deadlineMs, retentionMs } = config.tasks;
  const publicUrl = (): string => address.public();
  const links = createLinks({ secret: secrets.derive("links"), clock });
  const requestLimits = createRequestLimits({ clock });
  const auth = createAuth({ keys, requestLimits });
  const linkBases = (): string[] => [publicUrl(), address.listening];
  const linked = { ...deps, links, linkBases, publicUrl };
  const submitTask = createSubmitter({ ...linked, deadlineMs, idempotencyTtlMs });
  const readTask = createReader({ ...linked, retentionMs });
  const balances = createBalances({ read: db.read, loadUsage, loadCaptured });
  const http = createServer({ ids, log, bodyBytesMax: config.http.bodyBytesMax, isDraining });
  return registerRoutes(http, {
    auth,
    balances,
    clock,
    idempotencyTtlMs,
    isDraining,
    links,
    log,
    publicUrl,
    storage,
    catalogue,
    loadPrices: () => loadOverrides(db.read),
    version,
    submitTask,
    readTask: ({ caller, taskId, language }) => readTask({ ...caller, taskId, language }),
    cancelTask: async ({ caller, taskId, language }) => {
      // What a poll no longer shows cannot be cancelled either.
      if ((await readTask({ ...caller, taskId, language })) === null) return null;
      await cancelTask(deps, { ...caller, taskId });
      return readTask({ ...caller, taskId, language });
    },
    saveUpload: (input) => saveUpload({ ...linked, ...config.uploads }, input),
    readinessChecks: {
      database: async () => void (await loadOverrides(db.read)),
      storage: () => storage.check(),
    },
  });
}
