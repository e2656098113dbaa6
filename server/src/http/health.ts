import type { FastifyInstance, FastifyReply } from "fastify";

import type { HealthReply, ReadinessReply } from "../../../client/src/health.ts";
import type { Log } from "../lib/log.ts";
import type { Clock } from "../lib/time.ts";
import { secondMs } from "../lib/time.ts";

export type HealthDeps = {
  clock: Clock;
  log: Log;
  /** Version of the server, for people. */
  version: string;
  /** True from the moment the server has been told to stop. */
  isDraining: () => boolean;
  /** What must work before requests make sense, by name; a check that rejects has failed. */
  readinessChecks: HealthChecks;
  /**
   * What is told beside it and does not decide: all nodes share it, so that a load balancer would take all of
   * them away, with everything that they can still do.
   */
  reportedChecks: HealthChecks;
};

export type HealthChecks = Readonly<Record<string, () => Promise<void>>>;

const checkTimeoutMs = 2 * secondMs;
/** Anybody may ask, and a check writes to the disk: it is done at most once a second. */
const reuseMs = secondMs;

export function registerHealth(app: FastifyInstance, deps: HealthDeps): void {
  const readiness = createReadiness(deps);

  app.get("/healthz", (): HealthReply => ({ status: "ok" }));

  app.get("/readyz", (_request, reply) => showReadiness(deps, readiness, reply));

  app.get("/", () => ({
    name: "Darkroom",
    version: deps.version,
    submit: "POST /v1/images/generations",
    models: "GET /v1/models",
    health: "GET /readyz",
  }));
}

async function showReadiness(
  deps: HealthDeps,
  readiness: () => Promise<Checks>,
  reply: FastifyReply,
): Promise<ReadinessReply> {
  const accepting = deps.isDraining() ? "failed" : "ok";
  const checks: Checks = { ...(await readiness()), accepting };
  const deciding = [...Object.keys(deps.readinessChecks), "accepting"];
  const isReady = deciding.every((name) => checks[name] === "ok");
  reply.code(isReady ? 200 : 503);
  return { status: isReady ? "ready" : "unavailable", checks };
}

type Checks = Record<string, "ok" | "failed">;

/** Callers that come while a round of checks runs, or just after it, share its result. */
function createReadiness(deps: HealthDeps): () => Promise<Checks> {
  let latest: { startedAt: number; checks: Promise<Checks> } | null = null;
  return () => {
    const now = deps.clock.monotonic();
    if (latest === null || now - latest.startedAt >= reuseMs) {
      latest = { startedAt: now, checks: runChecks(deps) };
    }
    return latest.checks;
  };
}

async function runChecks(deps: HealthDeps): Promise<Checks> {
  const results = await Promise.all(
    Object.entries({ ...deps.readinessChecks, ...deps.reportedChecks }).map(
      async ([name, check]) => [name, await runCheck(deps, name, check)] as const,
    ),
  );
  return Object.fromEntries(results);
}

async function runCheck(
  { clock, log }: HealthDeps,
  name: string,
  check: () => Promise<void>,
): Promise<"ok" | "failed"> {
  const done = new AbortController();
  const late = clock.sleep(checkTimeoutMs, done.signal).then(() => "failed" as const);
  const checked = check().then(
    () => "ok" as const,
    (error: unknown) => {
      log.warn({ err: error, check: name }, "readiness check failed");
      return "failed" as const;
    },
  );
  const state = await Promise.race([checked, late]);
  done.abort();
  return state;
}
