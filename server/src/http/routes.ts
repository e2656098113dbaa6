import type { FastifyInstance } from "fastify";

import type { BalanceDeps } from "./balance.ts";
import { registerBalance } from "./balance.ts";
import type { DeliveriesDeps } from "./deliveries.ts";
import { registerDeliveries } from "./deliveries.ts";
import type { DocsDeps } from "./docs.ts";
import { registerDocs } from "./docs.ts";
import type { BflDeps } from "./dialects/bfl.ts";
import { registerBfl } from "./dialects/bfl.ts";
import { registerGemini } from "./dialects/gemini.ts";
import type { OpenAiDeps } from "./dialects/openai.ts";
import { registerOpenAi } from "./dialects/openai.ts";
import type { EstimateDeps } from "./estimate.ts";
import { registerEstimate } from "./estimate.ts";
import type { FilesDeps } from "./files.ts";
import { registerFiles } from "./files.ts";
import type { GenerationsDeps } from "./generations.ts";
import { registerGenerations } from "./generations.ts";
import type { HealthDeps } from "./health.ts";
import { registerHealth } from "./health.ts";
import type { MetricsDeps } from "./metrics.ts";
import { registerMetrics } from "./metrics.ts";
import type { ModelsDeps } from "./models.ts";
import { registerModels } from "./models.ts";
import type { PricingDeps } from "./pricing.ts";
import { registerPricing } from "./pricing.ts";
import type { TaskListDeps } from "./task-list.ts";
import { registerTaskList } from "./task-list.ts";
import type { TaskEventsDeps } from "./task-events.ts";
import { registerTaskEvents } from "./task-events.ts";
import type { TasksDeps } from "./tasks.ts";
import { registerTasks } from "./tasks.ts";
import type { UploadsDeps } from "./uploads.ts";
import { registerUploads } from "./uploads.ts";
import type { UsageDeps } from "./usage.ts";
import { registerUsage } from "./usage.ts";
import type { WebhooksDeps } from "./webhooks.ts";
import { registerWebhooks } from "./webhooks.ts";

/** What the routes need together; each takes its own part of it. */
export type RoutesDeps = BalanceDeps &
  BflDeps &
  DeliveriesDeps &
  DocsDeps &
  EstimateDeps &
  FilesDeps &
  GenerationsDeps &
  HealthDeps &
  MetricsDeps &
  ModelsDeps &
  PricingDeps &
  TaskListDeps &
  OpenAiDeps &
  TaskEventsDeps &
  TasksDeps &
  UploadsDeps &
  UsageDeps &
  WebhooksDeps;

/** Every route of the gateway, on a server from `createServer`. */
export function registerRoutes(app: FastifyInstance, deps: RoutesDeps): FastifyInstance {
  registerGenerations(app, deps);
  registerTasks(app, deps);
  registerTaskEvents(app, deps);
  registerTaskList(app, deps);
  registerModels(app, deps);
  registerBalance(app, deps);
  registerUsage(app, deps);
  registerUploads(app, deps);
  registerFiles(app, deps);
  registerWebhooks(app, deps);
  registerDeliveries(app, deps);
  registerOpenAi(app, deps);
  registerGemini(app, deps);
  registerBfl(app, deps);
  registerHealth(app, deps);
  registerMetrics(app, deps);
  registerEstimate(app, deps);
  registerPricing(app, deps);
  registerDocs(app, deps);
  return app;
}
