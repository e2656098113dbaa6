/** The API: every route with the verbs behind it. */
import { loadCaptured, loadUsage } from "../accounts/key-usage.ts";
import { createRequestLimits } from "../accounts/limits.ts";
import { createBalances } from "../billing/balance.ts";
import { loadOverrides } from "../billing/prices.ts";
import { createAuth } from "../http/auth.ts";
import { registerRoutes } from "../http/routes.ts";
import { createServer } from "../http/server.ts";
import { saveUpload } from "../images/uploads.ts";
import type { Installation } from "../installation.ts";
import { createLinks } from "../storage/links.ts";
import { cancelTask } from "../tasks/cancel.ts";
import { createReader } from "../tasks/read.ts";
import { createSubmitter } from "../tasks/submit.ts";
import type { Engine } from "./engine.ts";

export type HttpState = {
  /** Where the server listens; empty until it does. */
  listening: string;
  isDraining: boolean;
};

/** The HTTP server with its routes, not yet listening. */
export function createHttp(installation: Installation, { deps }: Engine, state: HttpState) {
  const { config, clock, ids, log, db, storage, catalogue, keys, secrets, version } = installation;
  const { idempotencyTtlMs, deadlineMs, retentionMs } = config.tasks;
  const publicUrl = (): string => config.http.publicUrl ?? state.listening;
  const isDraining = (): boolean => state.isDraining;
  const links = createLinks({ secret: secrets.derive("links"), clock });
  const requestLimits = createRequestLimits({ clock });
  const auth = createAuth({ keys, requestLimits });
  const linkBases = (): string[] => [publicUrl(), state.listening];
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
