/**
 * Makes a picture from another one: uploads a file, refers to it, saves the result.
 *
 *   DARKROOM_KEY=sk-test-… node references.ts mug.png "This mug on a beach"
 */
import { randomUUID } from "node:crypto";
import { openAsBlob } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename } from "node:path";

type Task = {
  id: string;
  status: "pending" | "processing" | "completed" | "failed" | "cancelled";
  result?: { images: { url: [string]; width: number; height: number }[] };
  error?: { code: string; message: string };
};
const { DARKROOM_URL: gateway = "http://127.0.0.1:8787", DARKROOM_KEY: key } = process.env;
if (key === undefined) throw new Error("DARKROOM_KEY is not set; give it an API key");

async function call<Body>(path: string, init: RequestInit = {}): Promise<Body> {
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${key}`);
  const reply = await fetch(gateway + path, { ...init, headers });
  const body = (await reply.json()) as Body & { error?: { message: string } };
  if (!reply.ok) throw new Error(`HTTP ${reply.status}: ${body.error?.message}`);
  return body;
}

const picture = process.argv[2] ?? `${import.meta.dirname}/../mug.png`;
const prompt = process.argv[3] ?? "This mug on a beach";

// One file a request, at most 20 MB. The link can be used for three days, by any number of tasks.
const form = new FormData();
form.append("file", await openAsBlob(picture), basename(picture));
const upload = await call<{ url: string; bytes: number }>("/v1/uploads/images", {
  method: "POST",
  body: form,
});
console.log(`uploaded ${basename(picture)}, ${upload.bytes} bytes`);

const submitted = await call<{ data: [{ task_id: string }] }>("/v1/images/generations", {
  method: "POST",
  headers: { "content-type": "application/json", "idempotency-key": randomUUID() },
  body: JSON.stringify({
    model: "gemini-3.1-flash-image-preview",
    resolution: "0.5K",
    prompt,
    // Small pictures can also go here directly, as data URIs, and pictures on the web as their URLs.
    image_urls: [upload.url],
  }),
});

const [{ task_id: id }] = submitted.data;
let task: Task;
do {
  task = (await call<{ data: Task }>(`/v1/tasks/${id}?wait=30`)).data;
  console.log(`${id} is ${task.status}`);
} while (task.status === "pending" || task.status === "processing");
if (task.status !== "completed") throw new Error(task.error?.message ?? task.status);

for (const { url, width, height } of task.result?.images ?? []) {
  const [link] = url;
  const download = await fetch(link);
  if (!download.ok) throw new Error(`HTTP ${download.status} from ${link}`);
  const file = `beach.${new URL(link).pathname.split(".").at(-1)}`;
  await writeFile(file, await download.bytes());
  console.log(`saved ${file}, ${width}x${height}`);
}
