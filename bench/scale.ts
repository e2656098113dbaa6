/**
 * The gateway on PostgreSQL: `npm run bench -- scale`. `BENCH_WAITING` and `BENCH_FINISHED` set
 * how long the queue and how large the tables become, `BENCH_PARTS` (submits,claims,cost,workers) what is
 * measured.
 */
import { benchClaims } from "./scale/claims.ts";
import { benchCost } from "./scale/cost.ts";
import { startSite } from "./scale/site.ts";
import type { Site } from "./scale/site.ts";
import { benchSubmits } from "./scale/submits.ts";
import { benchWorkers } from "./scale/workers.ts";
import { printTable } from "./table.ts";
import { startTimedVendor } from "./timed-vendor.ts";

const waiting = Number(process.env["BENCH_WAITING"] ?? 1_000_000);
const finished = Number(process.env["BENCH_FINISHED"] ?? 500_000);
const quickMs = 50;
const slowMs = 5_000;

const measured = ["what", "measured", "bar"];

const parts: Record<string, { vendorMs: number; run: (site: Site) => Promise<void> }> = {
  submits: {
    vendorMs: quickMs,
    run: async (site) => printTable(measured, await benchSubmits(site)),
  },
  claims: {
    vendorMs: quickMs,
    run: async (site) => printTable(measured, await benchClaims(site, { waiting })),
  },
  cost: {
    vendorMs: quickMs,
    run: async (site) => {
      const { rows, growth } = await benchCost(site, [0, finished / 10, finished]);
      printTable(
        [
          "finished tasks kept",
          "gateway CPU ms a task",
          "PostgreSQL CPU ms",
          "WAL bytes",
          "statements",
        ],
        rows,
      );
      process.stdout.write(`\nCPU of the last against the first: ${growth.toFixed(2)}\n`);
    },
  },
  workers: {
    vendorMs: slowMs,
    run: async (site) => printTable(measured, (await benchWorkers(site)).rows),
  },
};

/** Each part has a database server of its own. */
export async function benchScale(): Promise<void> {
  const wanted = process.env["BENCH_PARTS"]?.split(",") ?? Object.keys(parts);
  for (const name of wanted) {
    const part = parts[name];
    if (part === undefined)
      throw new Error(`no part ${name}; use ${Object.keys(parts).join(", ")}`);
    const vendor = await startTimedVendor(part.vendorMs);
    const site = await startSite(vendor.baseUrl);
    try {
      await part.run(site);
    } finally {
      await site.stop();
      vendor.stop();
    }
  }
}
