/**
 * Makes twenty pictures: submits them a few at a time, follows all of them with one request a second.
 *
 *   DARKROOM_KEY=sk-test-… node batch.ts
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

type Task = {
  id: string;
  status: "pending" | "processing" | "completed" | "failed" | "cancelled";
  cost: number;
  result?: { images: { url: [string] }[] };
  error?: { code: string; message: string };
};

const { DARKROOM_URL: gateway = "http://127.0.0.1:8787", DARKROOM_KEY: key } = process.env;
if (key === undefined) throw new Error("DARKROOM_KEY is not set; give it an API key");

const model = "gemini-3.1-flash-image-preview";
const prompts = ["red", "blue", "green", "golden"].flatMap((colour) =>
  ["fox", "owl", "whale", "hare", "bear"].map((animal) => `A ${colour} ${animal}`),
);
const submitsAtOnce = 4;
const triesMax = 5;

async function call<Data>(path: string, body?: object, idempotencyKey?: string): Promise<Data> {
  for (let tries = 1; ; tries += 1) {
    const reply = await fetch(gateway + path, {
      method: body === undefined ? "GET" : "POST",
      headers: {
        authorization: `Bearer ${key}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const received = (await reply.json()) as { data: Data; error?: { message: string } };
    if (reply.ok) return received.data;
    // Over a limit, or overloaded: the reply says when to come back.
    const isPassing = reply.status === 429 || reply.status === 503;
    if (!isPassing || tries === triesMax) {
      throw new Error(`HTTP ${reply.status}: ${received.error?.message}`);
    }
    await sleep(1_000 * Number(reply.headers.get("retry-after") ?? 1));
  }
}

// Keep the name of an order with your own records: after a crash, submitting all of it again makes
// only the tasks that are missing.
const order = randomUUID();
const startedAt = Math.floor(Date.now() / 1_000);
const promptOf = new Map<string, string>();

const waiting = prompts.entries();
async function submitNext(): Promise<void> {
  for (const [index, prompt] of waiting) {
    const body = { model, resolution: "0.5K", prompt };
    const [{ task_id: id }] = await call<[{ task_id: string }]>(
      "/v1/images/generations",
      body,
      `${order}-${index}`,
    );
    promptOf.set(id, prompt);
  }
}
await Promise.all(Array.from({ length: submitsAtOnce }, submitNext));
console.log(`submitted ${promptOf.size} tasks`);

const open = new Set(promptOf.keys());
let cost = 0;
while (open.size > 0) {
  await sleep(1_000);
  // Up to a hundred ids a request; the reply has them in the same order.
  for (const task of await call<Task[]>("/v1/tasks/batch", { task_ids: [...open] })) {
    if (task.status === "pending" || task.status === "processing") continue;
    open.delete(task.id);
    cost += task.cost;
    const outcome = task.result?.images[0]?.url[0] ?? task.error?.message;
    console.log(`${promptOf.get(task.id)}: ${task.status}, ${outcome}`);
  }
}

// The list is how to find tasks whose ids are not at hand.
const query = new URLSearchParams({
  status: "failed",
  created_after: `${startedAt}`,
  limit: "100",
});
const failed = await call<Task[]>(`/v1/tasks?${query.toString()}`);
console.log(`done for ${cost.toFixed(3)} USD, ${failed.length} failed`);
