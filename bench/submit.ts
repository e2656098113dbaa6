/** Durable submits and polls against a bare route, in alternating runs. */
import { load, median } from "./load.ts";
import type { Load } from "./load.ts";
import { removeFolder, startBare, startGateway } from "./processes.ts";
import { printTable } from "./table.ts";

const connections = 64;
const prompt = "A bamboo forest path under moonlight, painted in ink on rice paper";
const body = JSON.stringify({
  model: "gemini-2.5-flash-image-preview",
  prompt: `${prompt} [[slow:600s]]`,
  size: "16:9",
  n: 1,
});
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Rounds of each, alternating; the median counts. */
export async function benchSubmit(rounds: number, seconds: number): Promise<void> {
  // One task in hand: the engine is alive and the queue fills, so that accepting is what is measured.
  const gateway = await startGateway({ DARKROOM_WORKER_TASKS: "1" });
  const headers = {
    authorization: `Bearer ${gateway.token}`,
    "content-type": "application/json",
  };
  const send = async (path: string, content: string): Promise<string> => {
    const reply = await fetch(`${gateway.url}${path}`, {
      method: "POST",
      headers,
      body: content,
    });
    return ((await reply.json()) as { data: [{ task_id: string }] }).data[0].task_id;
  };
  const submit = "/v1/images/generations";
  const ended = await send(submit, JSON.stringify({ model: "flux-2-pro", prompt }));
  const task = await untilEnded(`${gateway.url}/v1/tasks/${ended}`, headers);
  const open = await send(submit, body);
  const bare = await startBare(task);
  await pause(1_000);

  const cases: Record<string, { path: string; method: "GET" | "POST" }> = {
    submit: { path: submit, method: "POST" },
    "poll, unfinished": { path: `/v1/tasks/${open}`, method: "GET" },
    "poll, ended": { path: `/v1/tasks/${ended}`, method: "GET" },
  };
  const rows: string[][] = [];
  for (const [name, { path, method }] of Object.entries(cases)) {
    const run = (url: string, length: number): Promise<Load> =>
      load({
        url: `${url}${path}`,
        method,
        headers,
        ...(method === "POST" ? { body } : {}),
        connections,
        seconds: length,
      });
    await run(bare.url, 2);
    await run(gateway.url, 2);
    const bareRuns: Load[] = [];
    const ours: Load[] = [];
    for (let round = 0; round < rounds; round++) {
      bareRuns.push(await run(bare.url, seconds));
      ours.push(await run(gateway.url, seconds));
    }
    rows.push(row(name, bareRuns, ours));
  }
  printTable(
    ["case", "bare/s", "ours/s", "ratio", "bare p99 ms", "ours p99 ms", "p99 ratio", "failed"],
    rows,
  );
  await gateway.stop();
  await bare.stop();
  await removeFolder(gateway.folder);
}

async function untilEnded(url: string, headers: Record<string, string>): Promise<string> {
  for (;;) {
    const reply = await fetch(url, { headers });
    const text = await reply.text();
    if (text.includes('"completed"')) return text;
    await pause(100);
  }
}

function row(name: string, bare: readonly Load[], ours: readonly Load[]): string[] {
  const rate = {
    bare: median(bare.map((one) => one.perSecond)),
    ours: median(ours.map((one) => one.perSecond)),
  };
  const p99 = {
    bare: median(bare.map((one) => one.p99)),
    ours: median(ours.map((one) => one.p99)),
  };
  return [
    name,
    rate.bare.toFixed(0),
    rate.ours.toFixed(0),
    (rate.ours / rate.bare).toFixed(2),
    p99.bare.toFixed(1),
    p99.ours.toFixed(1),
    (p99.ours / p99.bare).toFixed(2),
    String(ours.reduce((sum, one) => sum + one.failed, 0)),
  ];
}
