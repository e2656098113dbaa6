/** What `/readyz` looks at, and the server of a worker, which answers nothing else. */
import type { FastifyInstance } from "fastify";

import { loadOverrides } from "../billing/prices.ts";
import { assertWritable } from "../db/writable.ts";
import { registerHealth } from "../http/health.ts";
import { registerMetrics } from "../http/metrics.ts";
import { createServer } from "../http/server.ts";
import type { Installation } from "../installation.ts";
import type { Engine } from "./engine.ts";
import type { HttpState } from "./http.ts";
import { composeMetrics } from "./metrics.ts";

export function composeReadiness({ db, storage }: Installation) {
  return {
    readinessChecks: {
      database: async () => {
        await loadOverrides(db.read);
        await assertWritable(db);
      },
    },
    // Without it submits and polls are served as always, and finished pictures wait in the spool.
    reportedChecks: { storage: () => storage.check() },
  };
}

/** Serves `/healthz`, `/readyz` and `/metrics`; not yet listening. */
export function createHealthServer(
  installation: Installation,
  { work }: Pick<Engine, "work">,
  state: HttpState,
): FastifyInstance {
  const { config, clock, ids, log, version } = installation;
  const { bodyBytesMax } = config.http;
  const isDraining = (): boolean => state.draining.aborted;
  const http = createServer({ ids, log, bodyBytesMax, isDraining });
  const readiness = composeReadiness(installation);
  const isLeaving = (): boolean => state.isLeaving;
  registerHealth(http, { clock, log, version, isDraining: isLeaving, ...readiness });
  registerMetrics(http, composeMetrics(http, installation, work));
  return http;
}
