/**
 * What a finished task with two megabytes of a vendor's base64 costs, beside a gateway that only passes
 * the reply on: CPU a task over all processes of the gateway, memory, and how long polls take meanwhile.
 */
import { median } from "./load.ts";
import { readTree, watchMemory } from "./process-tree.ts";
import { removeFolder, runCommand, startGateway, startPortkey, startVendor } from "./processes.ts";
import type { Gateway, Server } from "./processes.ts";
import { printTable } from "./table.ts";

const together = 20;
const rounds = 3;
/** After this the picture process of the first start's sample has stopped. */
const idleMs = 20_000;
const pollEveryMs = 2;
const lookEveryMs = 10;
const apiKey = "sk-bench-upstream-key-0001";

const model = "gpt-image-1-official";
const upstreamModel = "gpt-image-2.5-flare";
const path = "/v1/images/generations";
const prompt = "A bamboo forest path under moonlight, painted in ink on rice paper";

/** One kind of work: sends one request and reads the whole answer. */
type Work = {
  name: string;
  server: Server;
  /** Of `together` each, in a round and before the first one. */
  bursts: number;
  send: () => Promise<void>;
};
type Measured = { cpuMs: number; peakMb: number };

export async function benchVendors(): Promise<void> {
  const vendor = await startVendor(together);
  const gateway = await startGateway({
    OPENAI_API_KEY: apiKey,
    OPENAI_BASE_URL: `${vendor.url}/v1`,
    DARKROOM_EGRESS_ALLOW: "127.0.0.0/8",
  });
  const portkey = await startPortkey();
  const token = await createLiveKey(gateway);
  const ours = { server: gateway, bursts: 2 };
  const make = (): Promise<Task> => makeTask(gateway, token, prompt);
  const works: Work[] = [
    {
      name: "Portkey, passed on",
      server: portkey,
      bursts: 2,
      send: () => passOn(portkey, vendor),
    },
    { name: "ours, a finished task", ...ours, send: async () => void (await make()) },
    {
      name: "ours, and the picture fetched",
      ...ours,
      send: async () => readAll(fetch((await make()).pictureUrl)),
    },
    {
      name: "ours, converted to another format",
      ...ours,
      // Coding a picture takes a hundred times as long as keeping it.
      bursts: 1,
      send: async () => void (await makeTask(gateway, token, `${prompt} [jpeg]`)),
    },
  ];
  await pause(idleMs);
  // The picture process that a conversion leaves behind would count as memory of the others.
  const measured = [
    ...(await measureAll(works.slice(0, -1))),
    ...(await measureAll(works.slice(-1))),
  ];
  const rows = measured.map(({ cpuMs, peakMb }, index) => [
    works[index]?.name ?? "",
    `${cpuMs.toFixed(1)} ms`,
    `${peakMb.toFixed(0)} MB`,
  ]);
  printTable(["what", "CPU a task", `peak memory, ${together} at once`], rows);

  const { id } = await makeTask(gateway, token, prompt);
  const headers = { authorization: `Bearer ${token}` };
  const poll = (): Promise<void> => readAll(fetch(`${gateway.url}/v1/tasks/${id}`, { headers }));
  const polls = [["nothing", describe(await timeWhile(poll, () => pause(3_000)))]];
  for (const work of works.filter(({ server }) => server === gateway)) {
    const during = await timeWhile(poll, async () => {
      for (let burst = 0; burst < 2 * work.bursts; burst++) await sendBurst(work);
    });
    polls.push([work.name, describe(during)]);
  }
  printTable(["polls of another connection during", "p50 / p99 / longest"], polls);
  await Promise.all([gateway.stop(), portkey.stop(), vendor.stop()]);
  await removeFolder(gateway.folder);
}

type Task = { id: string; pictureUrl: string };

/** Waits for the task's end in the submit itself: one request, as with Portkey. */
async function makeTask(gateway: Gateway, token: string, words: string): Promise<Task> {
  const reply = await fetch(gateway.url + path, {
    method: "POST",
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      prefer: "wait=60",
    },
    body: JSON.stringify({ model, prompt: words, size: "1:1" }),
  });
  const text = await reply.text();
  const { data } = JSON.parse(text) as { data?: FinishedTask };
  const pictureUrl = data?.result?.images[0]?.url[0];
  if (data === undefined || pictureUrl === undefined) throw new Error(`no picture: ${text}`);
  return { id: data.id, pictureUrl };
}

type FinishedTask = { id: string; result?: { images: { url: string[] }[] } };

async function passOn(portkey: Server, vendor: Server): Promise<void> {
  await readAll(
    fetch(portkey.url + path, {
      method: "POST",
      headers: {
        authorization: `Bearer ${apiKey}`,
        "content-type": "application/json",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": `${vendor.url}/v1`,
      },
      body: JSON.stringify({ model: upstreamModel, prompt, size: "1024x1024" }),
    }),
  );
}

async function readAll(asked: Promise<Response>): Promise<void> {
  const reply = await asked;
  const body = await reply.arrayBuffer();
  if (!reply.ok) throw new Error(`HTTP ${reply.status}: ${Buffer.from(body).toString()}`);
}

async function createLiveKey(gateway: Gateway): Promise<string> {
  await runCommand(gateway, ["accounts", "credit", "default", "1000", "--note", "bench"]);
  const { key } = await runCommand<{ key: string }>(
    gateway,
    "keys create --account default --mode live --name bench".split(" "),
  );
  return key;
}

async function sendBurst({ send }: Work): Promise<void> {
  await Promise.all(Array.from({ length: together }, send));
}

/** Rounds of all works in turn, so that whatever else the machine does meets them all; medians. */
async function measureAll(works: readonly Work[]): Promise<Measured[]> {
  for (const work of works) {
    for (let burst = 0; burst < work.bursts; burst++) await sendBurst(work);
  }
  const cpuMs: number[][] = works.map(() => []);
  const peakMb = works.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    for (const [index, work] of works.entries()) {
      const measured = await measureRound(work);
      cpuMs[index]?.push(measured.cpuMs);
      peakMb[index] = Math.max(peakMb[index] ?? 0, measured.peakMb);
    }
  }
  return works.map((_work, index) => ({
    cpuMs: median(cpuMs[index] ?? []),
    peakMb: peakMb[index] ?? Number.NaN,
  }));
}

async function measureRound(work: Work): Promise<Measured> {
  const { pid } = work.server;
  const before = await readTree(pid);
  const memory = watchMemory(pid, lookEveryMs);
  for (let burst = 0; burst < work.bursts; burst++) await sendBurst(work);
  const { peakMb } = await memory.stop();
  const after = await readTree(pid);
  return { cpuMs: (after.cpuMs - before.cpuMs) / (work.bursts * together), peakMb };
}

/** Latencies of one poll after the other, in milliseconds, for as long as the work lasts. */
async function timeWhile(
  poll: () => Promise<void>,
  work: () => Promise<void>,
): Promise<readonly number[]> {
  const latencies: number[] = [];
  const ended = new AbortController();
  const polling = (async () => {
    while (!ended.signal.aborted) {
      const begun = performance.now();
      await poll();
      latencies.push(performance.now() - begun);
      await pause(pollEveryMs);
    }
  })();
  await work();
  ended.abort();
  await polling;
  return latencies.toSorted((a, b) => a - b);
}

function describe(sorted: readonly number[]): string {
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(
      1,
    );
  return `${at(0.5)} / ${at(0.99)} / ${at(1)} ms of ${sorted.length}`;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
