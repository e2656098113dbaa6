import type { FastifyInstance } from "fastify";

import type { BalanceDeps } from "./balance.ts";
import { registerBalance } from "./balance.ts";
import type { FilesDeps } from "./files.ts";
import { registerFiles } from "./files.ts";
import type { GenerationsDeps } from "./generations.ts";
import { registerGenerations } from "./generations.ts";
import type { HealthDeps } from "./health.ts";
import { registerHealth } from "./health.ts";
import type { ModelsDeps } from "./models.ts";
import { registerModels } from "./models.ts";
import type { TasksDeps } from "./tasks.ts";
import { registerTasks } from "./tasks.ts";
import type { UploadsDeps } from "./uploads.ts";
import { registerUploads } from "./uploads.ts";

/** What the routes need together; each takes its own part of it. */
export type RoutesDeps = BalanceDeps &
  FilesDeps &
  GenerationsDeps &
  HealthDeps &
  ModelsDeps &
  TasksDeps &
  UploadsDeps;

/** Every route of the gateway, on a server from `createServer`. */
export function registerRoutes(app: FastifyInstance, deps: RoutesDeps): FastifyInstance {
  registerGenerations(app, deps);
  registerTasks(app, deps);
  registerModels(app, deps);
  registerBalance(app, deps);
  registerUploads(app, deps);
  registerFiles(app, deps);
  registerHealth(app, deps);
  return app;
}
