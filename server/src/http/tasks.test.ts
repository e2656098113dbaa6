import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { bearer, createTestServer } from "../../test/support/http.ts";
import type { TestServer } from "../../test/support/http.ts";
import { AppError } from "../lib/errors.ts";
import { registerTasks } from "./tasks.ts";
import type { TaskInput, TaskView } from "./tasks.ts";

const taskId = "task_01K8SGYNNNVBQTXNR4MM964S7K";

type Setup = TestServer & { inputs: TaskInput[]; waits: number[] };

function setup(t: TestContext, view: TaskView | null | AppError): Setup {
  const server = createTestServer(t);
  const inputs: TaskInput[] = [];
  function answer(input: TaskInput): Promise<TaskView | null> {
    inputs.push(input);
    return view instanceof AppError ? Promise.reject(view) : Promise.resolve(view);
  }
  const waits: number[] = [];
  registerTasks(server.app, {
    auth: server.auth,
    readTask: answer,
    cancelTask: answer,
    waitForTask: (input, { waitMs }) => {
      waits.push(waitMs);
      return answer(input);
    },
  });
  return { ...server, inputs, waits };
}

const running: TaskView = {
  json: `{"id":"${taskId}","status":"pending"}`,
  ended: false,
  revision: 1,
};
const ended: TaskView = { json: `{"id":"${taskId}","status":"failed"}`, ended: true, revision: 2 };

test("an unfinished task says when to ask again, and that no cache may keep it", async (t) => {
  const { app } = setup(t, running);
  const reply = await app.inject({ url: `/v1/tasks/${taskId}`, headers: bearer });
  assert.equal(reply.statusCode, 200);
  assert.equal(reply.headers["retry-after"], "1");
  assert.equal(reply.headers["cache-control"], "no-store");
  assert.equal(reply.headers["content-type"], "application/json; charset=utf-8");
  assert.equal(reply.body, `{"code":200,"data":{"id":"${taskId}","status":"pending"}}`);
});

test("an ended task, failed ones too, is 200 without Retry-After", async (t) => {
  const { app } = setup(t, ended);
  const reply = await app.inject({ url: `/v1/tasks/${taskId}`, headers: bearer });
  assert.equal(reply.statusCode, 200);
  assert.equal("retry-after" in reply.headers, false);
  assert.equal(reply.json().data.status, "failed");
});

test("the language is read in any letter case, and everything else reads as English", async (t) => {
  const { app, inputs } = setup(t, ended);
  const queries = {
    "": "en",
    "?language=zh": "zh",
    "?language=%20ZH%20": "zh",
    "?language=zh-CN": "en",
    "?language=": "en",
    "?language=xx": "en",
    "?language=zh&language=ja": "en",
    "?language[a]=zh": "en",
  };
  for (const [query, language] of Object.entries(queries)) {
    const url = `/v1/tasks/${taskId}${query}`;
    assert.equal((await app.inject({ url, headers: bearer })).statusCode, 200);
    assert.equal(inputs.at(-1)!.language, language, query);
    assert.equal(inputs.at(-1)!.taskId, taskId);
    assert.equal(inputs.at(-1)!.caller.accountId, "acc_1");
  }
});

test("unknown, foreign and impossible ids look the same", async (t) => {
  const { app, inputs } = setup(t, null);
  for (const id of [taskId, "task_x", "nothing", "%00", `task_${"x".repeat(200)}`]) {
    for (const [method, url] of [
      ["GET", `/v1/tasks/${id}`],
      ["POST", `/v1/tasks/${id}/cancel`],
    ] as const) {
      const reply = await app.inject({ method, url, headers: bearer });
      assert.equal(reply.statusCode, 404);
      const { reason, type, param, message } = reply.json().error;
      assert.deepEqual(
        { reason, type, param },
        { reason: "task_not_found", type: "not_found", param: "task_id" },
      );
      assert.match(message, /^task ".*" does not exist for this key, or is no longer kept$/);
      assert.ok(message.length < 200);
    }
  }
  assert.equal(inputs.length, 2, "ids that cannot exist are not looked up");
});

test("cancelling is 200 when it ended the task, and 202 when work already sent runs on", async (t) => {
  const url = `/v1/tasks/${taskId}/cancel`;
  const free = await setup(t, ended).app.inject({ method: "POST", url, headers: bearer });
  assert.equal(free.statusCode, 200);
  assert.equal(free.json().code, 200);
  assert.equal("retry-after" in free.headers, false);
  const sent = await setup(t, running).app.inject({ method: "POST", url, headers: bearer });
  assert.equal(sent.statusCode, 202);
  assert.equal(sent.json().code, 202);
  assert.equal(sent.headers["retry-after"], "1");
});

test("cancelling needs no body, and takes an empty one under a JSON content type", async (t) => {
  const { app } = setup(t, ended);
  const url = `/v1/tasks/${taskId}/cancel`;
  const headers = { ...bearer, "content-type": "application/json" };
  for (const payload of ["", "{}"]) {
    assert.equal((await app.inject({ method: "POST", url, headers, payload })).statusCode, 200);
  }
});

test("a task that has ended cannot be cancelled: 409", async (t) => {
  const { app } = setup(t, new AppError("task_already_ended", "the task is completed"));
  const url = `/v1/tasks/${taskId}/cancel`;
  const reply = await app.inject({ method: "POST", url, headers: bearer });
  assert.equal(reply.statusCode, 409);
  assert.equal(reply.json().error.type, "conflict");
});

test("HEAD of a task costs no body", async (t) => {
  const { app } = setup(t, running);
  const options = { method: "HEAD", url: `/v1/tasks/${taskId}`, headers: bearer } as const;
  const reply = await app.inject(options);
  assert.equal(reply.statusCode, 200);
  assert.equal(reply.body, "");
  assert.equal(reply.headers["retry-after"], "1");
});

test("a poll waits only when it is asked to, and then answers as ever", async (t) => {
  const { app, waits } = setup(t, running);
  const poll = (query: string) =>
    app.inject({ url: `/v1/tasks/${taskId}${query}`, headers: bearer });
  const plain = await poll("");
  await poll("?wait=0");
  assert.deepEqual(waits, []);
  const waited = await poll("?wait=60&language=zh");
  assert.deepEqual(waits, [60_000]);
  assert.equal(waited.body, plain.body);
  assert.equal(waited.headers["retry-after"], "1");
  const refused = await poll("?wait=61");
  assert.equal(refused.statusCode, 400);
  assert.equal(refused.json().error.param, "wait");
});
