/** Clients of other vendors' APIs whose pictures take longer than they would wait. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI, { APIError } from "openai";

import type { TaskListReply } from "../../../client/src/tasks.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";

let gateway: Gateway;

before(async () => {
  gateway = await startGateway({ DARKROOM_DIALECT_WAIT: "1" });
});
after(() => gateway.stop());

const slow = { model: "gpt-image-1", prompt: "a fox [[slow:120s]]" };

async function connect(name: string) {
  const client = await gateway.connect({ accountId: await gateway.createAccount(name) });
  const baseURL = `${gateway.origin}/openai/v1`;
  return { client, openai: new OpenAI({ baseURL, apiKey: client.token ?? "" }) };
}

test("OpenAI's client is told the task before it gives up, and does not pay for another one", async () => {
  const { client, openai } = await connect("late");
  assert.ok(openai.maxRetries > 0);
  const error: unknown = await openai.images.generate(slow).catch((reason: unknown) => reason);
  assert.ok(error instanceof APIError, String(error));
  assert.deepEqual([error.status, error.code], [504, "still_running"]);
  const { data } = (await client.get<TaskListReply>("/v1/tasks")).body;
  assert.equal(data.length, 1);
  const [task] = data;
  assert.equal((error.error as { task_id?: string }).task_id, task?.id);
  assert.match(error.message, new RegExp(`GET /v1/tasks/${task?.id}`));
  await client.request("POST", `/v1/tasks/${task?.id}/cancel`);
});

test("a repeat with the same idempotency key waits for the same task", async () => {
  const { client, openai } = await connect("repeat");
  const options = { headers: { "Idempotency-Key": "late-1" } };
  const body = { ...slow, prompt: "a fox [[slow:2s]]" };
  let made = await openai.images.generate(body, options).catch(() => null);
  assert.equal(made, null);
  for (let tries = 0; tries < 5 && made === null; tries += 1) {
    made = await openai.images.generate(body, options).catch(() => null);
  }
  assert.ok(made?.data?.[0]?.b64_json !== undefined);
  assert.equal((await client.get<TaskListReply>("/v1/tasks")).body.data.length, 1);
});

test("a stream keeps its client awake, and goes on to the end of the task", async () => {
  const { openai } = await connect("stream");
  const body = { ...slow, prompt: "a fox [[slow:2s]]", stream: true } as const;
  const types: string[] = [];
  for await (const event of await openai.images.generate(body)) types.push(event.type);
  assert.deepEqual(types, ["image_generation.completed"]);
});

test("a client of Gemini is told the task too", async () => {
  const { client } = await connect("gemini");
  const path = "/v1beta/models/gemini-3.1-flash-lite-image:generateContent";
  const contents = [{ parts: [{ text: slow.prompt }] }];
  const reply = await client.post<{ error: { status: string; message: string } }>(path, {
    contents,
  });
  assert.deepEqual([reply.status, reply.body.error.status], [504, "DEADLINE_EXCEEDED"]);
  const [id = ""] = /task_\w{26}/.exec(reply.body.error.message) ?? [];
  assert.equal((await client.read(id)).status, "processing");
  await client.request("POST", `/v1/tasks/${id}/cancel`);
});
