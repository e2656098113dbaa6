/** Waiting for a task over the whole server: on submit, on a poll, as a stream, and when the server stops. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { Task, TaskReply } from "../../../client/src/tasks.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { until } from "../support/client.ts";
import type { Client } from "../support/client.ts";

const small = { model: "gemini-3.1-flash-image-preview", resolution: "0.5K", size: "1:1" };

let gateway: Gateway;
let client: Client;

before(async () => {
  gateway = await startGateway();
  client = await gateway.connect();
});

after(() => gateway.stop());

function streamOf(from: Client, origin: string, id: string, headers: Record<string, string> = {}) {
  return fetch(`${origin}/v1/tasks/${id}/events`, {
    headers: { authorization: `Bearer ${from.token}`, ...headers },
  });
}

type SeenEvent = { id: number; name: string; task: Task };

function parseEvents(text: string): SeenEvent[] {
  return [...text.matchAll(/^id: (\d+)\nevent: (\w+)\ndata: (.*)\n\n/gm)].map(
    ([, id, name = "", data = ""]) => {
      const body = JSON.parse(data) as TaskReply;
      return { id: Number(id), name, task: body.data };
    },
  );
}

test("Prefer: wait answers with the finished task, exactly as a poll shows it", async () => {
  const body = { ...small, prompt: "a fox" };
  const reply = await client.submit(body, { prefer: "wait=60" });
  assert.equal(reply.status, 200);
  assert.equal(reply.headers.get("preference-applied"), "wait=60");
  const { data: task } = reply.body as unknown as TaskReply;
  assert.equal(task.status, "completed");
  assert.deepEqual(await client.read(task.id), task);
  const link = await fetch(task.result!.images[0]!.url[0]!);
  assert.equal(link.status, 200);
  assert.equal((await link.arrayBuffer()).byteLength, task.result!.images[0]!.bytes);
});

test("a failed task is an answer too, and time that is up gives the submit reply", async () => {
  const failing = { ...small, prompt: "a fox [[fail:no_image]]" };
  const reply = await client.submit(failing, { prefer: "wait=60" });
  const { data: task } = reply.body as unknown as TaskReply;
  assert.equal(task.error?.code, "no_image");
  const slow = { ...small, prompt: "a fox [[slow:120s]]" };
  const late = await client.accept(slow, { prefer: "wait=1" });
  assert.equal(late.headers.get("preference-applied"), "wait=1");
  const polled = await client.read(late.id, "?wait=1");
  assert.notEqual(polled.status, "completed");
  await client.post(`/v1/tasks/${late.id}/cancel`, {});
});

test("a poll with wait is over when the task is", async () => {
  const { id } = await client.accept({ ...small, prompt: "a fox [[slow:1s]]" });
  const task = await client.read(id, "?wait=60");
  assert.equal(task.status, "completed");
});

test("a stream shows every state in order and ends with the last word of a poll", async () => {
  const { id } = await client.accept({ ...small, prompt: "a fox [[slow:1s]]" });
  const stream = await streamOf(client, gateway.origin, id);
  assert.equal(stream.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events = parseEvents(await stream.text());
  const states = [...new Set(events.map(({ task }) => task.status))];
  assert.deepEqual(states.at(-1), "completed");
  assert.ok(states.includes("processing"));
  const ids = events.map((event) => event.id);
  assert.deepEqual(
    ids,
    [...new Set(ids)].toSorted((a, b) => a - b),
    "ids only grow",
  );
  const last = events.at(-1)!;
  assert.deepEqual(last.task, await client.read(id));
  const again = await streamOf(client, gateway.origin, id, { "last-event-id": String(last.id) });
  assert.equal(again.status, 204);
  const earlier = await streamOf(client, gateway.origin, id, {
    "last-event-id": String(last.id - 1),
  });
  assert.deepEqual(parseEvents(await earlier.text()), [last]);
});

test("a stream of somebody else's task is 404", async () => {
  const { id } = await client.accept({ ...small, prompt: "a fox" });
  const stranger = await gateway.connect({ accountId: await gateway.createAccount("stranger") });
  assert.equal((await streamOf(stranger, gateway.origin, id)).status, 404);
  assert.equal((await stranger.get(`/v1/tasks/${id}?wait=1`)).status, 404);
});

test("a server that stops answers everybody who waits with the task as it stands", async () => {
  const stopping = await startGateway();
  const caller = await stopping.connect();
  const body = { ...small, prompt: "a fox [[slow:300s]]" };
  const submitted = caller.submit(body, { prefer: "wait=60" });
  const { id } = await caller.accept(body);
  const polled = caller.get<TaskReply>(`/v1/tasks/${id}?wait=60`);
  const stream = await streamOf(caller, stopping.origin, id);
  await caller.wait(id, ({ status }) => status === "processing");
  // Both submits have reached the server, the one that waits too.
  await until(
    async () => (await caller.get<{ data: Task[] }>("/v1/tasks")).body.data,
    (tasks) => tasks.length === 2,
  );
  const stopped = stopping.stop();
  assert.equal((await submitted).body.data[0].status, "submitted");
  assert.equal((await polled).body.data.status, "processing");
  const events = parseEvents(await stream.text());
  assert.notEqual(events.at(-1)?.task.status, "completed");
  await stopped;
});
