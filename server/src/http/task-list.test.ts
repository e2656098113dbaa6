import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import test from "node:test";

import { bearer, createTestServer } from "../../test/support/http.ts";
import { registerTaskList } from "./task-list.ts";
import type { TaskListInput } from "./task-list.ts";

const ids = ["A", "B"].map((end) => `task_${end.repeat(26)}`) as [string, string];
const [known, unknown] = ids;
const keyId = `key_${"A".repeat(26)}`;

function setup(t: TestContext, { ended = true } = {}) {
  const server = createTestServer(t);
  const listed: Omit<TaskListInput, "caller">[] = [];
  const languages: string[] = [];
  registerTaskList(server.app, {
    auth: server.auth,
    listTasks: ({ caller: _caller, ...input }) => {
      listed.push(input);
      return Promise.resolve({ tasks: [`{"id":"${known}"}`], hasMore: true, lastId: known });
    },
    readTasks: ({ taskIds, language }) => {
      languages.push(language);
      return Promise.resolve(
        taskIds.map((id) => (id === known ? { json: `{"id":"${id}"}`, ended } : null)),
      );
    },
  });
  const list = (query: string) => server.app.inject({ url: `/v1/tasks${query}`, headers: bearer });
  const batch = (payload: object, query = "", headers = {}) =>
    server.app.inject({
      method: "POST",
      url: `/v1/tasks/batch${query}`,
      headers: { ...bearer, ...headers },
      payload,
    });
  return { list, batch, listed, languages };
}

test("a list says whether there is more and where it goes on, and every filter reaches the verb", async (t) => {
  const { list, listed } = setup(t);
  const filters = `limit=7&after=${known}&status=failed&model=m&key=${keyId}`;
  const times = "created_after=1767225600&created_before=2026-01-02T00:00:00Z&language=DE";
  const reply = await list(`?${filters}&${times}`);
  assert.deepEqual(reply.json(), {
    code: 200,
    data: [{ id: known }],
    has_more: true,
    last_id: known,
  });
  await list("");
  assert.deepEqual(listed, [
    {
      language: "de",
      limit: 7,
      after: known,
      state: "failed",
      model: "m",
      submittedBy: keyId,
      createdFrom: 1_767_225_600_000,
      createdBefore: 1_767_312_000_000,
    },
    { language: "en", limit: 20 },
  ]);
});

test("a filter that cannot be used is refused by name", async (t) => {
  const { list } = setup(t);
  for (const [query, param] of [
    ["limit=0", "limit"],
    ["limit=101", "limit"],
    ["limit=1.5", "limit"],
    ["limit=1&limit=2", "limit"],
    ["after=task_1", "after"],
    ["status=done", "status"],
    ["key=mine", "key"],
    ["created_after=soon", "created_after"],
    ["created_before=2026-02-31T00:00:00Z", "created_before"],
  ]) {
    const reply = await list(`?${query}`);
    const { error } = reply.json();
    assert.deepEqual(
      [reply.statusCode, error.reason, error.param],
      [400, "invalid_parameter", param],
      query,
    );
  }
});

test("a batch answers in the asked order, with the reason for each task that is not there", async (t) => {
  const { batch } = setup(t);
  const reply = await batch({ task_ids: [unknown, known, "x".repeat(300), known] });
  const { code, data } = reply.json();
  assert.equal(code, 200);
  assert.deepEqual(
    data.map((entry: { id: string; error?: { code: number; reason: string } }) => [
      entry.id,
      entry.error?.code,
      entry.error?.reason,
    ]),
    [
      [unknown, 404, "task_not_found"],
      [known, undefined, undefined],
      ["x".repeat(80), 404, "task_not_found"],
      [known, undefined, undefined],
    ],
  );
  assert.equal(reply.headers["retry-after"], undefined);
});

test("a batch with an unfinished task says when to ask again", async (t) => {
  const { batch } = setup(t, { ended: false });
  assert.equal((await batch({ task_ids: [known] })).headers["retry-after"], "1");
});

test("under the versioned contract the errors of a batch have their reason as code", async (t) => {
  const { batch } = setup(t);
  const headers = { "x-apimart-response-version": "2026-07-27" };
  const reply = await batch({ task_ids: [unknown] }, "", headers);
  assert.equal(reply.json().data[0].error.code, "task_not_found");
});

test("the language of a batch stands in its query or in its body", async (t) => {
  const { batch, languages } = setup(t);
  await batch({ task_ids: [known] }, "?language=fr");
  await batch({ task_ids: [known], language: "ja" });
  await batch({ task_ids: [] });
  assert.deepEqual(languages, ["fr", "ja", "en"]);
});

test("a batch takes at most a hundred ids, and nothing but ids", async (t) => {
  const { batch } = setup(t);
  const hundred = Array.from({ length: 100 }, () => known);
  assert.equal((await batch({ task_ids: hundred })).json().data.length, 100);
  for (const [body, reason, words] of [
    [{ task_ids: [...hundred, known] }, "invalid_parameter", "has 101 ids; send at most 100"],
    [{ task_ids: "x" }, "invalid_parameter", 'is "x"; send a list of at most 100 task ids'],
    [{ task_ids: [known, 1] }, "invalid_parameter", "[1] is 1; send a task id, as a string"],
    [{}, "missing_parameter", "is missing"],
  ] as const) {
    const reply = await batch(body);
    const { error } = reply.json();
    assert.deepEqual(
      [reply.statusCode, error.reason, error.param],
      [400, reason, "task_ids"],
      JSON.stringify(body).slice(0, 60),
    );
    assert.ok(error.message.includes(words), error.message);
  }
});
