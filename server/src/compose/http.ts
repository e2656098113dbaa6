/** The API: every route with the verbs behind it. */
import { loadCaptured, loadUsage } from "../accounts/key-usage.ts";
import { createBalances } from "../billing/balance.ts";
import { loadOverrides } from "../billing/prices.ts";
import { createUsageReports } from "../billing/usage-report.ts";
import type { LongCalls } from "../http/listen.ts";
import { createPublicPrices } from "../http/pricing.ts";
import { registerRoutes } from "../http/routes.ts";
import { createServer } from "../http/server.ts";
import { saveUpload } from "../images/uploads.ts";
import type { Installation } from "../installation.ts";
import { cancelTask } from "../tasks/cancel.ts";
import { estimateTask } from "../tasks/estimate.ts";
import { createLister, readMany } from "../tasks/list.ts";
import { createReader } from "../tasks/read.ts";
import { createSubmitter } from "../tasks/submit.ts";
import { composeAdmission } from "./admission.ts";
import type { Engine } from "./engine.ts";
import { composeWaiting } from "./waiting.ts";
import { composeReadiness } from "./health.ts";
import { composeMetrics } from "./metrics.ts";

export type HttpState = {
  /** Where the server listens; empty until it does. */
  listening: string;
  /** The server has been told to stop: `/readyz` says so, and requests are still taken. */
  isLeaving: boolean;
  /** Aborted when nothing new is taken any more, and nobody is to wait but the calls of dialects. */
  draining: AbortSignal;
  /** Set by the API. */
  dialectCalls: LongCalls | undefined;
};

/** The HTTP server with its routes, not yet listening. */
export function createHttp(
  installation: Installation,
  { deps: engineDeps, webhooks, liveApiNodes, work }: Engine,
  state: HttpState,
) {
  const { config, clock, ids, log, db, storage, catalogue, version } = installation;
  const { idempotencyTtlMs, deadlineMs, retentionMs } = config.tasks;
  const isDraining = (): boolean => state.draining.aborted;
  const isLeaving = (): boolean => state.isLeaving;
  const deps = { ...engineDeps, db };
  const { links, publicUrl } = deps;
  const { requestLimits, auth, overload, watchLoad } = composeAdmission(installation, liveApiNodes);
  const linkBases = (): string[] => [publicUrl(), state.listening];
  const linked = { ...deps, linkBases };
  const submitTask = createSubmitter({ ...linked, overload, deadlineMs, idempotencyTtlMs });
  const readTask = createReader({ ...linked, retentionMs });
  const listTasks = createLister({ db, readTask });
  const balances = createBalances({ read: db.read, loadUsage, loadCaptured });
  const { bodyBytesMax, trustedProxies } = config.http;
  const http = createServer({ ids, log, bodyBytesMax, trustedProxies, isDraining, isLeaving });
  watchLoad(http);
  const loadPrices = () => loadOverrides(db.read);
  return registerRoutes(http, {
    auth,
    requestLimits,
    reportUsage: createUsageReports({ read: db.read, clock }),
    timeZone: config.usage.timeZone,
    balances,
    clock,
    idempotencyTtlMs,
    isDraining: isLeaving,
    links,
    log,
    publicUrl,
    storage,
    catalogue,
    loadPrices,
    publicPrices: createPublicPrices({ clock, loadPrices }),
    estimateTask: (input) => estimateTask(linked, input),
    version,
    submitTask,
    readTask: ({ caller: { accountId, mode }, taskId, language }) =>
      readTask({ accountId, mode, taskId, language }),
    listTasks: ({ caller: { accountId, mode }, ...input }) =>
      listTasks({ accountId, mode, ...input }),
    readTasks: ({ caller, language, taskIds }) =>
      readMany(readTask, { ...caller, language }, taskIds),
    ...composeWaiting({ ...deps, readTask }, state),
    deadlineMs,
    bodyBytesMax,
    dialectWaitMs: config.http.dialectWaitMs,
    cancelTask: async ({ caller, taskId, language }) => {
      // What a poll no longer shows cannot be cancelled either.
      if ((await readTask({ ...caller, taskId, language })) === null) return null;
      await cancelTask(deps, { ...caller, taskId });
      return readTask({ ...caller, taskId, language });
    },
    ...webhooks,
    saveUpload: (input) => {
      overload.assertAccepting();
      return saveUpload({ ...linked, ...config.uploads }, input);
    },
    ...composeReadiness(installation),
    ...composeMetrics(http, installation, work),
  });
}
