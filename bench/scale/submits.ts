/** Durable submits on PostgreSQL against a bare route with the same body and validation, in alternating runs. */
import { load, median } from "../load.ts";
import type { Load } from "../load.ts";
import { startBare } from "../processes.ts";
import type { Server } from "../processes.ts";
import { body } from "./site.ts";
import type { Site } from "./site.ts";

const connections = 64;
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
  const run = ({ url }: Server, seconds: number): Promise<Load> =>
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
    for (const server of [bare, gateway]) await run(server, 3);
    const runs: { bare: Load; ours: Load }[] = [];
    for (let round = 0; round < rounds; round += 1) {
      runs.push({ bare: await run(bare, secondsARound), ours: await run(gateway, secondsARound) });
    }
    const of = (who: "bare" | "ours", field: keyof Load): number =>
      median(runs.map((each) => each[who][field]));
    const failed = runs.reduce((sum, each) => sum + each.ours.failed, 0);
    return [
      ["bare route", `${of("bare", "perSecond").toFixed(0)}/s`, ""],
      ["durable submits", `${of("ours", "perSecond").toFixed(0)}/s`, ""],
      ["ratio", (of("ours", "perSecond") / of("bare", "perSecond")).toFixed(2), "0.35"],
      ["p99, bare and durable", `${of("bare", "p99")} / ${of("ours", "p99")} ms`, ""],
      ["refused or failed", String(failed), "0"],
    ];
  } finally {
    await Promise.all([gateway.stop(), bare.stop()]);
  }
}
