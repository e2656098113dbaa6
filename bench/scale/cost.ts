/** What a task costs, all of it, and whether that grows with what is kept. */
import { readTree } from "../process-tree.ts";
import type { Server } from "../processes.ts";
import { copyTask } from "./fill.ts";
import { readNumber, submit, submitMany, untilDone } from "./site.ts";
import type { Site } from "./site.ts";

const tasks = 1_000;
const warmUpTasks = 300;
const connections = 16;
const rounds = 3;

type Cost = { gatewayMs: number; postgresMs: number; walBytes: number; statements: number };

/** One row a size of the tables. */
export async function benchCost(
  site: Site,
  sizes: readonly number[],
): Promise<{ rows: string[][]; growth: number }> {
  const api = await site.startNode("api");
  const worker = await site.startNode("worker");
  try {
    const model = await submit(site, api);
    await submitMany(site, api, { count: warmUpTasks, connections });
    await untilDone(site);
    const costs: { size: number; cost: Cost }[] = [];
    let filled = 0;
    for (const size of sizes) {
      await copyTask(site.client, model, { count: size - filled, from: filled });
      filled = size;
      await site.client.query("checkpoint");
      costs.push({ size, cost: await measure(site, [api, worker], api) });
    }
    const totals = costs.map(({ cost }) => cost.gatewayMs + cost.postgresMs);
    return {
      rows: costs.map(({ size, cost }) => [
        String(size),
        cost.gatewayMs.toFixed(2),
        cost.postgresMs.toFixed(2),
        cost.walBytes.toFixed(0),
        cost.statements.toFixed(1),
      ]),
      growth: (totals.at(-1) ?? Number.NaN) / (totals[0] ?? Number.NaN),
    };
  } finally {
    await Promise.all([api.stop(), worker.stop()]);
  }
}

/** The cheapest of some rounds: what else the machine does makes a round dearer, never cheaper. */
async function measure(site: Site, nodes: readonly Server[], api: Server): Promise<Cost> {
  const costs: Cost[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const before = await readUse(site, nodes);
    await submitMany(site, api, { count: tasks, connections });
    await untilDone(site, 250);
    const after = await readUse(site, nodes);
    costs.push({
      gatewayMs: (after.gatewayMs - before.gatewayMs) / tasks,
      postgresMs: (after.postgresMs - before.postgresMs) / tasks,
      walBytes: (after.walBytes - before.walBytes) / tasks,
      statements: (after.statements - before.statements) / tasks,
    });
  }
  const least = (field: keyof Cost): number => Math.min(...costs.map((cost) => cost[field]));
  return {
    gatewayMs: least("gatewayMs"),
    postgresMs: least("postgresMs"),
    walBytes: least("walBytes"),
    statements: least("statements"),
  };
}

async function readUse(site: Site, nodes: readonly Server[]): Promise<Cost> {
  const trees = await Promise.all(nodes.map(({ pid }) => readTree(pid)));
  const postgres = await readTree(site.postgresPid);
  return {
    gatewayMs: trees.reduce((sum, { cpuMs }) => sum + cpuMs, 0),
    postgresMs: postgres.cpuMs,
    walBytes: await readNumber(
      site,
      "select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as value",
    ),
    statements: await readNumber(
      site,
      `select sum(calls) as value from pg_stat_statements s
       join pg_database d on d.oid = s.dbid where d.datname = current_database()`,
    ),
  };
}
