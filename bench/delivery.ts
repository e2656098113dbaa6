/** How long a finished picture takes to whoever waits for it, and what waiting costs in memory. */
import { Agent, request } from "node:http";
import type { ClientRequest } from "node:http";

import { createLiveKey } from "./operator.ts";
import { removeFolder, startGateway } from "./processes.ts";
import type { Gateway } from "./processes.ts";
import { submit } from "./submit.ts";
import { printTable } from "./table.ts";
import { startTimedVendor } from "./timed-vendor.ts";
import type { TimedVendor } from "./timed-vendor.ts";

const tasksPerSecond = 100;
const seconds = 20;
const warmUpSeconds = 5;
const streamsOpen = 5_000;
const settleMs = 20_000;
const model = "gpt-image-1-official";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const agent = new Agent({ keepAlive: true, maxSockets: 1_024 });

type Caller = { url: string; token: string };

export async function benchDelivery(): Promise<void> {
  const vendor = await startTimedVendor();
  const gateway = await startGateway({
    OPENAI_API_KEY: "sk-bench",
    OPENAI_BASE_URL: vendor.baseUrl,
    DARKROOM_EGRESS_ALLOW: "127.0.0.0/8",
  });
  const caller = { url: gateway.url, token: await createLiveKey(gateway) };
  const rows: string[][] = [];
  await sendSteadily(warmUpSeconds, (i) => runWaiting(caller, `warm-up ${i}`));
  for (const [name, run] of [
    ["Prefer: wait on submit", runWaiting],
    ["event stream", runStreaming],
  ] as const) {
    const prompts: string[] = [];
    const delays: number[] = [];
    const failures: string[] = [];
    await sendSteadily(seconds, async (i) => {
      const prompt = `${name} ${i}`;
      prompts.push(prompt);
      const delay = await measure(vendor, prompt, () => run(caller, prompt));
      if (typeof delay === "number") delays.push(delay);
      else failures.push(delay);
    });
    if (failures.length > 0) process.stdout.write(`${failures[0]}\n`);
    rows.push([
      name,
      String(delays.length),
      quantileOf(delays, 0.5),
      quantileOf(delays, 0.99),
      String(failures.length),
    ]);
  }
  printTable(["waiting by", "tasks", "p50 ms", "p99 ms", "failed"], rows);
  await gateway.stop();
  await removeFolder(gateway.folder);
  vendor.stop();
  agent.destroy();
  await benchStreams();
}

/** Starts one a tick whatever becomes of the others, and waits for all of them. */
async function sendSteadily(duration: number, run: (i: number) => Promise<unknown>): Promise<void> {
  const begun = performance.now();
  const running: Promise<unknown>[] = [];
  for (let i = 0; i < duration * tasksPerSecond; i += 1) {
    const early = begun + (i * 1_000) / tasksPerSecond - performance.now();
    if (early > 0) await pause(early);
    running.push(run(i));
  }
  await Promise.all(running);
}

/** Milliseconds from the vendor's last byte to the caller's, or what went wrong. */
async function measure(
  vendor: TimedVendor,
  prompt: string,
  run: () => Promise<string>,
): Promise<number | string> {
  const text = await run();
  const arrived = performance.now();
  const sent = vendor.sentAt(prompt);
  return text.includes('"completed"') && sent !== null ? arrived - sent : text.slice(0, 500);
}

function runWaiting(caller: Caller, prompt: string): Promise<string> {
  return send(caller, "/v1/images/generations", {
    headers: { prefer: "wait=60" },
    body: JSON.stringify({ model, prompt, quality: "low" }),
  });
}

async function runStreaming(caller: Caller, prompt: string): Promise<string> {
  const submitted = await send(caller, "/v1/images/generations", {
    headers: {},
    body: JSON.stringify({ model, prompt, quality: "low" }),
  });
  const id = /task_[0-9A-Z]{26}/.exec(submitted)?.[0];
  if (id === undefined) return submitted;
  return send(caller, `/v1/tasks/${id}/events`, { headers: {} });
}

function send(
  { url, token }: Caller,
  path: string,
  { headers, body }: { headers: Record<string, string>; body?: string },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}${path}`,
      {
        agent,
        method: body === undefined ? "GET" : "POST",
        headers: {
          authorization: `Bearer ${token}`,
          "content-type": "application/json",
          ...headers,
        },
      },
      (reply) => {
        let text = "";
        reply.setEncoding("utf8");
        reply.on("data", (piece: string) => (text += piece));
        reply.on("end", () => resolve(text));
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

/** Streams of as many tasks, none of which moves. */
async function benchStreams(): Promise<void> {
  const gateway = await startGateway({ DARKROOM_WORKER_TASKS: "1" });
  await submit(gateway, { model: "flux-2-pro", prompt: "[[slow:600s]]" });
  const ids: string[] = [];
  for (let i = 0; i < streamsOpen; i += 1) {
    ids.push(await submit(gateway, { model: "flux-2-pro", prompt: `waiting ${i}` }));
  }
  await pause(settleMs);
  const idle = await gateway.rssMb();
  const streams: ClientRequest[] = [];
  for (const id of ids) streams.push(await openStream(gateway, id));
  await pause(settleMs);
  const open = await gateway.rssMb();
  for (const stream of streams) stream.destroy();
  await pause(settleMs);
  printTable(
    ["what", "measured"],
    [
      ["memory with 5,000 tasks waiting, no stream", `${idle.toFixed(0)} MB`],
      [`with ${streamsOpen} event streams open`, `${open.toFixed(0)} MB`],
      ["above idle", `${(open - idle).toFixed(0)} MB`],
      ["after all have left", `${(await gateway.rssMb()).toFixed(0)} MB`],
    ],
  );
  await gateway.stop();
  await removeFolder(gateway.folder);
}

/** Resolves when the first event has arrived. */
function openStream(gateway: Gateway, id: string): Promise<ClientRequest> {
  return new Promise((resolve, reject) => {
    const sent = request(`${gateway.url}/v1/tasks/${id}/events`, {
      agent: false,
      headers: { authorization: `Bearer ${gateway.token}` },
    });
    sent.on("response", (reply) => {
      reply.on("error", () => undefined);
      reply.on("data", (piece: Buffer) => {
        if (piece.includes("event: task")) resolve(sent);
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}

function quantileOf(values: readonly number[], quantile: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  return (sorted[Math.floor(sorted.length * quantile)] ?? Number.NaN).toFixed(1);
}
