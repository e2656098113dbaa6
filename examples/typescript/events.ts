/**
 * Follows a task as it moves, over one stream that may break off and goes on where it was.
 *
 *   DARKROOM_KEY=sk-test-… node events.ts "A red fox [[slow:3s]]"
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

type Task = {
  id: string;
  status: "pending" | "processing" | "completed" | "failed" | "cancelled";
  progress: number;
  result?: { images: { url: [string] }[] };
  error?: { code: string; message: string };
};

const { DARKROOM_URL: gateway = "http://127.0.0.1:8787", DARKROOM_KEY: key } = process.env;
if (key === undefined) throw new Error("DARKROOM_KEY is not set; give it an API key");

const authorization = `Bearer ${key}`;
const prompt = process.argv[2] ?? "A red fox in the snow";
const breaksMax = 10;

const submitted = await fetch(`${gateway}/v1/images/generations`, {
  method: "POST",
  headers: { authorization, "content-type": "application/json", "idempotency-key": randomUUID() },
  body: JSON.stringify({ model: "gemini-3.1-flash-image-preview", resolution: "0.5K", prompt }),
});
if (!submitted.ok) throw new Error(`HTTP ${submitted.status}: ${await submitted.text()}`);
const { data } = (await submitted.json()) as { data: [{ task_id: string }] };
const task = await follow(data[0].task_id);
if (task.status !== "completed") throw new Error(task.error?.message ?? task.status);
for (const { url } of task.result?.images ?? []) console.log(url[0]);

/** The task at its end; prints every step on the way. */
async function follow(id: string): Promise<Task> {
  let lastEventId = "";
  let retryMs = 2_000;
  for (let breaks = 0; breaks < breaksMax; breaks += 1) {
    const stream = await fetch(`${gateway}/v1/tasks/${id}/events`, {
      // The id of the last event seen: the server tells only what is newer.
      headers: { authorization, ...(lastEventId === "" ? {} : { "last-event-id": lastEventId }) },
    });
    if (!stream.ok) throw new Error(`HTTP ${stream.status}: ${await stream.text()}`);
    try {
      for await (const event of readEvents(stream)) {
        retryMs = Number(event["retry"] ?? retryMs);
        lastEventId = event["id"] ?? lastEventId;
        if (event["event"] !== "task") continue;
        const now = (JSON.parse(event["data"] ?? "") as { data: Task }).data;
        console.log(`${id} is ${now.status}, ${now.progress} %`);
        if (now.status !== "pending" && now.status !== "processing") return now;
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    console.log(`the stream broke off after event ${lastEventId}, connecting again`);
    await sleep(retryMs);
  }
  throw new Error(`the stream of ${id} broke off ${breaksMax} times`);
}

/** The fields of each event: lines of `name: value`, up to an empty line. Comments are heartbeats. */
async function* readEvents(reply: Response): AsyncGenerator<Record<string, string>> {
  let text = "";
  for await (const piece of reply.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += piece;
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = block.split("\n").map((line) => {
        const [name = ""] = line.split(":", 1);
        return [name, line.slice(name.length + 1).trimStart()] as const;
      });
      yield Object.fromEntries(fields);
    }
  }
}
