/**
 * Makes one picture and saves it: submit, wait, poll, download.
 *
 *   DARKROOM_KEY=sk-test-… node generate.ts "A red fox in the snow"
 */
import { randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";

type Task = {
  id: string;
  status: "pending" | "processing" | "completed" | "failed" | "cancelled";
  cost: number;
  result?: { images: { url: [string]; width: number; height: number }[] };
  error?: { code: string; message: string };
};
const { DARKROOM_URL: gateway = "http://127.0.0.1:8787", DARKROOM_KEY: key } = process.env;
if (key === undefined) throw new Error("DARKROOM_KEY is not set; give it an API key");

async function call<Data>(path: string, init: RequestInit = {}): Promise<Data> {
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${key}`);
  const reply = await fetch(gateway + path, { ...init, headers });
  const body = (await reply.json()) as { data: Data; error?: { message: string } };
  if (!reply.ok) throw new Error(`HTTP ${reply.status}: ${body.error?.message}`);
  return body.data;
}

const prompt = process.argv[2] ?? "A red fox in the snow";
console.log(`asking for: ${prompt}`);

// With Prefer, the reply is the finished task, or the usual ticket if that takes more than ten seconds.
const submitted = await call<Task | [{ task_id: string }]>("/v1/images/generations", {
  method: "POST",
  headers: {
    "content-type": "application/json",
    // Whoever repeats a submit with the same key gets the same task, and pays once.
    "idempotency-key": randomUUID(),
    prefer: "wait=10",
  },
  body: JSON.stringify({ model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt }),
});

let task = Array.isArray(submitted)
  ? await call<Task>(`/v1/tasks/${submitted[0].task_id}`)
  : submitted;
// Every task ends, by its deadline at the latest. Each poll answers as soon as the task has ended.
while (task.status === "pending" || task.status === "processing") {
  console.log(`${task.id} is ${task.status}`);
  task = await call<Task>(`/v1/tasks/${task.id}?wait=30`);
}
if (task.status !== "completed") {
  throw new Error(`${task.id} ${task.status}: ${task.error?.message ?? "no reason given"}`);
}

for (const { url, width, height } of task.result?.images ?? []) {
  const [link] = url;
  const download = await fetch(link);
  if (!download.ok) throw new Error(`HTTP ${download.status} from ${link}`);
  const file = `fox.${new URL(link).pathname.split(".").at(-1)}`;
  await writeFile(file, await download.bytes());
  console.log(`saved ${file}, ${width}x${height}, for ${task.cost} USD`);
}
