/**
 * The gateway as `serve` composes it, with fail points around its commits and its sends. It does what its
 * parent tells it, and ends with it.
 */
import { flushCompileCache } from "node:module";

import { createApp } from "../../src/app.ts";
import { parseConfig } from "../../src/config.ts";
import { openInstallation } from "../../src/installation.ts";
import { createFailPoints, endangerCommits, endangerSends } from "./fail-points.ts";
import type { Order, Told } from "./life.ts";

const points = createFailPoints();
const opened = await openInstallation(parseConfig(process.env));
const db = endangerCommits(points, opened.db);
const app = createApp({
  ...opened,
  db,
  // On SQLite both are the same.
  engineDb: db,
  openEgress: (allow) => endangerSends(points, opened.openEgress(allow)),
});

function tell(told: Told): void {
  process.send?.(told);
}

process.on("message", (order: Order) => {
  const { passages } = points;
  if ("dieAt" in order) points.arm(order.dieAt);
  tell({ kind: "passages", passages });
});
process.on("disconnect", () => process.exit(1));
process.on("SIGTERM", () => {
  void app.stop().then(() => process.exit(0));
});

const origin = await app.start();
// A process that is killed writes no cache, and every start would be a slow one.
flushCompileCache();
tell({ kind: "ready", origin });
