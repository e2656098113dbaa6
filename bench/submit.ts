/** Durable submits and polls against a bare route with the same body and validation, in alternating runs. */
import { load, median } from "./load.ts";
import type { Load, LoadOptions } from "./load.ts";
import { removeFolder, startBare, startGateway } from "./processes.ts";
import type { Gateway } from "./processes.ts";
import { printTable } from "./table.ts";

const connections = 64;
const polledTasks = 1_000;
const submitPath = "/v1/images/generations";
const request = {
  model: "gemini-2.5-flash-image-preview",
  prompt: "A bamboo forest path under moonlight, painted in ink on rice paper",
  size: "16:9",
  n: 1,
};
const body = JSON.stringify(request);

/** `rounds` of each, alternating; the medians count. */
export async function benchSubmit(rounds: number, seconds: number): Promise<void> {
  // One task in hand, a slow one: the engine is alive and the queue fills, so that accepting is measured.
  const gateway = await startGateway({ DARKROOM_WORKER_TASKS: "1" });
  const ended = await submit(gateway, request);
  const text = await untilEnded(gateway, ended);
  await submit(gateway, { ...request, prompt: "[[slow:600s]]" });
  const open: string[] = [];
  for (let i = 0; i < polledTasks; i++) open.push(await submit(gateway, request));
  const bare = await startBare(text);

  const polls = open.map((id) => ({ path: `/v1/tasks/${id}` }));
  const cases: Record<string, Pick<LoadOptions, "requests"> & Partial<LoadOptions>> = {
    submit: { method: "POST", body, requests: [{ path: submitPath }] },
    "poll, unfinished": { requests: polls },
    "poll, ended": { requests: [{ path: `/v1/tasks/${ended}` }] },
  };
  const rows: string[][] = [];
  for (const [name, options] of Object.entries(cases)) {
    const run = (url: string, length: number): Promise<Load> =>
      load({ url, headers: headersOf(gateway), connections, seconds: length, ...options });
    await run(bare.url, 2);
    await run(gateway.url, 2);
    const runs: { bare: Load; ours: Load }[] = [];
    for (let round = 0; round < rounds; round++) {
      runs.push({ bare: await run(bare.url, seconds), ours: await run(gateway.url, seconds) });
    }
    rows.push(rowOf(name, runs));
  }
  printTable(
    ["case", "bare/s", "ours/s", "ratio", "bare p99 ms", "ours p99 ms", "p99 ratio", "failed"],
    rows,
  );
  await gateway.stop();
  await bare.stop();
  await removeFolder(gateway.folder);
}

function headersOf(gateway: Gateway): Record<string, string> {
  return { authorization: `Bearer ${gateway.token}`, "content-type": "application/json" };
}

export async function submit(gateway: Gateway, content: object): Promise<string> {
  const reply = await fetch(`${gateway.url}${submitPath}`, {
    method: "POST",
    headers: headersOf(gateway),
    body: JSON.stringify(content),
  });
  return ((await reply.json()) as { data: [{ task_id: string }] }).data[0].task_id;
}

async function untilEnded(gateway: Gateway, id: string): Promise<string> {
  for (;;) {
    const reply = await fetch(`${gateway.url}/v1/tasks/${id}`, { headers: headersOf(gateway) });
    const text = await reply.text();
    if (text.includes('"completed"')) return text;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function rowOf(name: string, runs: readonly { bare: Load; ours: Load }[]): string[] {
  const of = (who: "bare" | "ours", field: keyof Load): number =>
    median(runs.map((run) => run[who][field]));
  const bare = { perSecond: of("bare", "perSecond"), p99: of("bare", "p99") };
  const ours = { perSecond: of("ours", "perSecond"), p99: of("ours", "p99") };
  return [
    name,
    bare.perSecond.toFixed(0),
    ours.perSecond.toFixed(0),
    (ours.perSecond / bare.perSecond).toFixed(2),
    bare.p99.toFixed(1),
    ours.p99.toFixed(1),
    (ours.p99 / bare.p99).toFixed(2),
    String(runs.reduce((sum, run) => sum + run.ours.failed, 0)),
  ];
}
