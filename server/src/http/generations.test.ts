import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { bearer, createTestServer, liveToken } from "../../test/support/http.ts";
import type { TestServer, TestServerOptions } from "../../test/support/http.ts";
import { AppError } from "../lib/errors.ts";
import { digestBody } from "./idempotency.ts";
import { registerGenerations } from "./generations.ts";
import type { SubmitInput, Submitted, SubmitTask } from "../tasks/submit.ts";
import type { TaskView } from "./tasks.ts";

const taskId = "task_01K8SGYNNNVBQTXNR4MM964S7K";
const path = "/v1/images/generations";
const body = { model: "flux-2-pro", prompt: "a fox" };
const versioned = { "x-apimart-response-version": "2026-07-27" };

type Setup = TestServer & {
  inputs: SubmitInput[];
  waits: { taskId: string; language: string; waitMs: number }[];
};

const running: TaskView = { json: `{"id":"${taskId}"}`, ended: false, revision: 1 };
const failed: TaskView = { json: `{"id":"${taskId}","status":"failed"}`, ended: true, revision: 2 };

type Options = TestServerOptions & {
  /** What a wait ends with. */
  view?: TaskView;
};

function setup(t: TestContext, submitTask: SubmitTask, options: Options = {}): Setup {
  const server = createTestServer(t, options);
  const { view = running } = options;
  const inputs: SubmitInput[] = [];
  const waits: Setup["waits"] = [];
  registerGenerations(server.app, {
    auth: server.auth,
    publicUrl: () => "https://pictures.example.com/base",
    submitTask: (input) => {
      inputs.push(input);
      return submitTask(input);
    },
    waitForTask: (input, { waitMs }) => {
      waits.push({ taskId: input.taskId, language: input.language, waitMs });
      return Promise.resolve(view);
    },
  });
  return { ...server, inputs, waits };
}

function accept(submitted: Partial<Submitted> = {}): SubmitTask {
  return () => Promise.resolve({ taskId, warnings: [], replayed: false, ...submitted });
}

/** Takes every idempotency key for known, and everything else for new. */
const replayKnownKeys: SubmitTask = async ({ idempotency, admit }) => {
  if (idempotency === null) admit();
  return { taskId, warnings: [], replayed: idempotency !== null };
};

async function post(
  { app }: TestServer,
  headers: Record<string, string> = {},
  payload: Record<string, unknown> = body,
) {
  return app.inject({ method: "POST", url: path, headers: { ...bearer, ...headers }, payload });
}

test("an accepted task is answered with 200 and nothing but its id", async (t) => {
  const server = setup(t, accept());
  const reply = await post(server);
  assert.equal(reply.statusCode, 200);
  assert.deepEqual(reply.json(), { code: 200, data: [{ status: "submitted", task_id: taskId }] });
  assert.equal("idempotency-replayed" in reply.headers, false);
  assert.equal("x-apimart-response-version" in reply.headers, false);
});

test("under the versioned contract it is 202 with the public address to poll", async (t) => {
  const server = setup(t, accept());
  const reply = await post(server, versioned);
  assert.equal(reply.statusCode, 202);
  assert.deepEqual(reply.json(), {
    code: 202,
    request_id: reply.headers["x-request-id"],
    data: {
      object: "generation.task",
      id: taskId,
      status: "submitted",
      poll_url: `https://pictures.example.com/base/v1/tasks/${taskId}`,
    },
  });
  assert.equal(reply.headers["x-apimart-response-version"], "2026-07-27");
});

test("warnings stand at the top of the reply in both contracts", async (t) => {
  const warnings = [{ param: "n", code: "clamped", message: "n 9 is read as 4" }] as const;
  const server = setup(t, accept({ warnings }));
  assert.deepEqual((await post(server)).json().warnings, warnings);
  assert.deepEqual((await post(server, versioned)).json().warnings, warnings);
});

test("a replay says so, in the contract of the retry", async (t) => {
  const server = setup(t, accept({ replayed: true }));
  const key = { "idempotency-key": "a" };
  const plain = await post(server, key);
  assert.equal(plain.headers["idempotency-replayed"], "true");
  assert.equal(plain.json().data[0].task_id, taskId);
  const retried = await post(server, { ...key, ...versioned });
  assert.equal(retried.statusCode, 202);
  assert.equal(retried.headers["idempotency-replayed"], "true");
});

test("the verb gets the caller, the body, and the key with the body's digest", async (t) => {
  const server = setup(t, accept());
  await post(server, { "idempotency-key": '"a"' });
  const [input] = server.inputs;
  assert.equal(input!.caller.keyId, "key_1");
  assert.deepEqual(input!.body, body);
  assert.deepEqual(input!.idempotency, {
    route: "POST /v1/images/generations",
    key: '"a"',
    digest: digestBody(body),
  });
  await post(server);
  assert.equal(server.inputs[1]!.idempotency, null);
});

test("a bad key, a bad body or no credentials never reach the verb", async (t) => {
  const server = setup(t, accept());
  assert.equal((await post(server, { "idempotency-key": "a b" })).statusCode, 400);
  assert.equal((await post(server, { authorization: "Bearer none" })).statusCode, 401);
  const headers = { ...bearer, "content-type": "application/json" };
  const broken = await server.app.inject({ method: "POST", url: path, headers, payload: "{" });
  assert.equal(broken.statusCode, 400);
  const empty = await server.app.inject({ method: "POST", url: path, headers: bearer });
  assert.equal(empty.json().error.reason, "invalid_body");
  assert.deepEqual(server.inputs, []);
});

test("a refusal of the verb is rendered in the contract of the request", async (t) => {
  const server = setup(t, () =>
    Promise.reject(new AppError("insufficient_balance", "0.03 USD are missing")),
  );
  const plain = await post(server);
  assert.equal(plain.statusCode, 402);
  assert.equal(plain.json().error.code, 402);
  const reply = await post(server, versioned);
  assert.equal(reply.statusCode, 402);
  assert.equal(reply.json().error.code, "insufficient_balance");
  assert.equal(reply.headers["x-apimart-response-version"], "2026-07-27");
});

test("the allowance is spent when the verb admits the request, and a replay that never does is free", async (t) => {
  const server = setup(t, replayKnownKeys, { key: { requestsPerMinute: 1 } });
  assert.equal((await post(server)).statusCode, 200);
  const limited = await post(server);
  assert.equal(limited.statusCode, 429);
  assert.equal(limited.headers["retry-after"], "60");
  assert.equal((await post(server, { "idempotency-key": "a" })).statusCode, 200);
});

test("a test prompt may ask for a refusal, and a live prompt is never looked at", async (t) => {
  const server = setup(t, replayKnownKeys);
  for (const [status, reason] of [
    [402, "insufficient_balance"],
    [429, "rate_limited"],
    [503, "unavailable"],
  ] as const) {
    const asking = { ...body, prompt: `a fox [[submit:${status}]]` };
    const reply = await post(server, {}, asking);
    assert.equal(reply.statusCode, status);
    assert.equal(reply.json().error.reason, reason);
    const live = await post(server, { authorization: `Bearer ${liveToken}` }, asking);
    assert.equal(live.statusCode, 200);
  }
});

test("Prefer: wait answers a finished task like a poll, or as a result of the versioned contract", async (t) => {
  const server = setup(t, accept({ replayed: true }), { view: failed });
  const asked = { ...body, language: "zh" };
  const plain = await post(server, { prefer: "wait=10" }, asked);
  assert.equal(plain.statusCode, 200);
  assert.equal(plain.headers["preference-applied"], "wait=10");
  assert.equal(plain.headers["idempotency-replayed"], "true");
  assert.equal(plain.headers["content-type"], "application/json; charset=utf-8");
  assert.deepEqual(plain.json(), { code: 200, data: { id: taskId, status: "failed" } });
  assert.deepEqual(server.waits, [{ taskId, language: "zh", waitMs: 10_000 }]);
  const reply = await post(server, { prefer: "wait=10", ...versioned });
  assert.equal(reply.statusCode, 200);
  assert.deepEqual(reply.json(), {
    code: 200,
    request_id: reply.headers["x-request-id"],
    data: { object: "generation.result", id: taskId, status: "failed" },
  });
});

test("when time is up, or without the preference, the submit reply comes as ever", async (t) => {
  const server = setup(t, accept());
  const submitted = { code: 200, data: [{ status: "submitted", task_id: taskId }] };
  const late = await post(server, { prefer: "respond-async, wait=600" });
  assert.deepEqual(late.json(), submitted);
  assert.equal(late.headers["preference-applied"], "wait=60");
  assert.equal((await post(server, { prefer: "wait=1", ...versioned })).statusCode, 202);
  const never = await post(server, { prefer: "return=minimal" });
  assert.deepEqual(never.json(), submitted);
  assert.equal("preference-applied" in never.headers, false);
  assert.equal(server.waits.length, 2);
});
