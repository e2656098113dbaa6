/** Durable submits on PostgreSQL against a bare route with the same body and validation, in alternating runs. */
import { load, median } from "../load.ts";
import type { Load } from "../load.ts";
import { startBare } from "../processes.ts";
import type { Server } from "../processes.ts";
import { body } from "./site.ts";
import type { Site } from "./site.ts";

/** With 64 the database waits for lists and the callers for syncs; 128 keep two cores in use. */
const connectionCounts = [64, 128];
const rounds = 5;
const secondsARound = 5;

/** Nothing is made meanwhile, so that accepting is what is measured; the database shares the machine. */
export async function benchSubmits(site: Site): Promise<string[][]> {
  const gateway = await site.startNode("api");
  const bare = await startBare("{}");
  const headers = {
    authorization: `Bearer ${site.token}`,
    "content-type": "application/json",
  };
  const run = ({ url }: Server, connections: number, seconds: number): Promise<Load> =>
    load({
      url,
      method: "POST",
      headers,
      body: JSON.stringify(body),
      requests: [{ path: "/v1/images/generations" }],
      connections,
      seconds,
    });
  try {
    for (const server of [bare, gateway]) await run(server, connectionCounts[0] ?? 1, 3);
    const rows: string[][] = [];
    for (const connections of connectionCounts) {
      const runs: Pair[] = [];
      for (let round = 0; round < rounds; round += 1) {
        runs.push({
          bare: await run(bare, connections, secondsARound),
          ours: await run(gateway, connections, secondsARound),
        });
      }
      rows.push(...rowsOf(connections, runs));
    }
    return rows;
  } finally {
    await Promise.all([gateway.stop(), bare.stop()]);
  }
}

type Pair = { bare: Load; ours: Load };

function rowsOf(connections: number, runs: readonly Pair[]): string[][] {
  const of = (who: keyof Pair, field: keyof Load): number =>
    median(runs.map((each) => each[who][field]));
  const rate = { bare: of("bare", "perSecond"), ours: of("ours", "perSecond") };
  const failed = runs.reduce((sum, each) => sum + each.ours.failed, 0);
  const at = `${connections} connections`;
  return [
    [`bare route, ${at}`, `${rate.bare.toFixed(0)}/s`, ""],
    [`durable submits, ${at}`, `${rate.ours.toFixed(0)}/s`, ""],
    [`ratio, ${at}`, (rate.ours / rate.bare).toFixed(2), "0.35"],
    [`p99, bare and durable, ${at}`, `${of("bare", "p99")} / ${of("ours", "p99")} ms`, ""],
    [`refused or failed, ${at}`, String(failed), "0"],
  ];
}
