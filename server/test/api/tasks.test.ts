/** What a poll says, from the first to long after the end, and what a caller can do to a task. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { BalanceReply } from "../../../client/src/balance.ts";
import type { CancelReply, Task, TaskReply } from "../../../client/src/tasks.ts";
import { taskErrorCodes } from "../../src/models/task-errors.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { hasEnded, refusalOf, until } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { collectPictures } from "../support/pictures.ts";

const small = { model: "gemini-3.1-flash-image-preview", resolution: "0.5K", size: "1:1" };
/** Dollars of one such picture. */
const price = 0.045;
const languages = ["en", "zh", "ja", "ko", "ru", "fr", "de", "id", "pt", "es"];

let gateway: Gateway;
let client: Client;

before(async () => {
  gateway = await startGateway();
  client = await gateway.connect();
});

after(() => gateway.stop());

test("a task shows its hold while it runs, and the whole documented object when it is done", async () => {
  const started = Math.floor(Date.now() / 1_000);
  const { id } = await client.accept({ ...small, prompt: "A red fox [[slow:1s]]" });
  const reply = await client.get<TaskReply>(`/v1/tasks/${id}`);
  assert.equal(reply.body.code, 200);
  assert.match(reply.headers.get("retry-after") ?? "", /^\d+$/);
  assert.equal(reply.headers.get("cache-control"), "no-store");
  const running = await client.wait(id, ({ status }) => status === "processing");
  const { created } = running;
  assert.ok(created >= started && created <= started + 5);
  assert.deepEqual(running, {
    id,
    status: "processing",
    progress: 0,
    model: small.model,
    cost: price,
    credits_cost: 0.45,
    created,
    estimated_time: 60,
    test: true,
  });
  const done = await client.wait(id);
  const { completed = 0, result } = done;
  assert.ok(completed >= created);
  const [image] = result!.images;
  assert.deepEqual(done, {
    id,
    status: "completed",
    progress: 100,
    model: small.model,
    cost: price,
    credits_cost: 0.45,
    created,
    completed,
    actual_time: completed - created,
    estimated_time: 60,
    result: {
      images: [
        {
          url: image!.url,
          expires_at: completed + 86_400,
          width: 512,
          height: 512,
          bytes: image!.bytes,
          content_type: "image/jpeg",
        },
      ],
    },
    test: true,
  });
  const again = await client.get<TaskReply>(`/v1/tasks/${id}`);
  assert.deepEqual(again.body.data, done);
  assert.equal(again.headers.get("retry-after"), null);
});

test("a failed task is HTTP 200 with an error, without cost, and with nothing that does not apply", async () => {
  const task = await client.run({ ...small, prompt: "fox [[fail:provider_rejected]]" });
  const { id, created, completed = 0, error } = task;
  assert.deepEqual(task, {
    id,
    status: "failed",
    progress: 100,
    model: small.model,
    cost: 0,
    credits_cost: 0,
    created,
    completed,
    actual_time: completed - created,
    estimated_time: 60,
    error: { code: "provider_rejected", type: "task_failed", message: error?.message },
    test: true,
  });
});

describe("under a test key", () => {
  test("[[fail:CODE]] ends a task with each code, free of charge, in every language", async () => {
    const account = await gateway.createAccount("failing");
    const failing = await gateway.connect({ accountId: account });
    const tasks = await Promise.all(
      taskErrorCodes.map((code) => failing.run({ ...small, prompt: `fox [[fail:${code}]]` })),
    );
    assert.deepEqual(
      tasks.map(({ error }) => error?.code),
      [...taskErrorCodes],
    );
    for (const task of tasks) {
      assert.equal(task.status, task.error?.code === "cancelled" ? "cancelled" : "failed");
      assert.equal(task.cost, 0);
      const words = await Promise.all(
        languages.map(async (language) => {
          const read = await failing.read(task.id, `?language=${language}`);
          return read.error?.message ?? "";
        }),
      );
      assert.equal(new Set(words).size, languages.length, words.join("\n"));
    }
    assert.deepEqual(await balanceOf(failing), { remain: 1_000, used: 0 });
  });

  test("[[partial:K]] delivers K pictures, charges for them and says what became of the rest", async () => {
    const account = await gateway.createAccount("partial");
    const partial = await gateway.connect({ accountId: account });
    const task = await partial.run({ ...small, n: 4, prompt: "fox [[partial:2]]" });
    assert.equal(task.status, "completed");
    assert.equal(task.cost, 2 * price);
    assert.deepEqual(
      task.result?.images.map(({ index }) => index),
      [0, 1],
    );
    const errors = task.result?.errors ?? [];
    assert.deepEqual(
      errors.map(({ index, code }) => [index, code]),
      [
        [2, "no_image"],
        [3, "no_image"],
      ],
    );
    assert.equal((await collectPictures(task)).length, 2);
    const german = await partial.read(task.id, "?language=de");
    assert.notEqual(german.result?.errors?.[0]?.message, errors[0]?.message);
    assert.deepEqual(await balanceOf(partial), { remain: 1_000 - 2 * price, used: 2 * price });

    const none = await partial.run({ ...small, n: 2, prompt: "fox [[partial:0]]" });
    assert.deepEqual([none.status, none.cost, none.error?.code], ["failed", 0, "no_image"]);
    const all = await partial.run({ ...small, n: 2, prompt: "fox [[partial:9]]" });
    assert.deepEqual([all.result?.images.length, all.result?.errors], [2, undefined]);
  });

  test("[[slow:Ns]] takes that long, and the words are not part of the picture", async () => {
    const slow = await client.run({ ...small, prompt: "A red fox [[slow:1s]]" });
    const plain = await client.run({ ...small, prompt: "A red fox" });
    const [first] = await collectPictures(slow);
    const [second] = await collectPictures(plain);
    assert.deepEqual(first?.pixels, second?.pixels);
    const other = await client.run({ ...small, prompt: "A red fox [[slow:x]]" });
    const [third] = await collectPictures(other);
    assert.notDeepEqual(third?.pixels, second?.pixels);
  });

  test("[[submit:STATUS]] refuses the submit with that status, and makes no task", async () => {
    for (const [status, type, reason] of [
      [402, "payment_required", "insufficient_balance"],
      [429, "rate_limit_error", "rate_limited"],
      [503, "service_unavailable", "unavailable"],
    ] as const) {
      const refusal = await client.refuse({ ...small, prompt: `fox [[submit:${status}]]` });
      assert.deepEqual([refusal.status, refusal.type, refusal.reason], [status, type, reason]);
      assert.equal(refusal.headers.get("retry-after") !== null, status !== 402);
    }
  });
});

test("the language of an error is trimmed and read in any case; unknown ones are English", async () => {
  const { id } = await client.run({ ...small, prompt: "fox [[fail:no_image]]" });
  const message = async (query: string) => (await client.read(id, query)).error?.message;
  const english = await message("");
  assert.equal(await message("?language=en"), english);
  assert.equal(await message("?language=zh-CN"), english);
  assert.equal(await message("?language=xx"), english);
  assert.equal(await message("?language="), english);
  const chinese = await message("?language=zh");
  assert.notEqual(chinese, english);
  assert.equal(await message("?language=%20ZH%20"), chinese);
});

test("any key of the account reads a task in its mode; to everybody else it does not exist", async () => {
  const account = await gateway.createAccount("owner");
  const owner = await gateway.connect({ accountId: account });
  const task = await owner.run({ ...small, prompt: "A red fox" });
  const colleague = await gateway.connect({ accountId: account });
  assert.deepEqual(await colleague.read(task.id), task);
  const live = await gateway.connect({ accountId: account, mode: "live" });
  const unknown = `${task.id.slice(0, -4)}0000`;
  const foreign = await Promise.all([
    client.get(`/v1/tasks/${task.id}`),
    live.get(`/v1/tasks/${task.id}`),
    owner.get(`/v1/tasks/${unknown}`),
    client.post(`/v1/tasks/${task.id}/cancel`, undefined),
    live.post(`/v1/tasks/${task.id}/cancel`, undefined),
    owner.post(`/v1/tasks/${unknown}/cancel`, undefined),
  ]);
  for (const reply of foreign) {
    const { status, type, reason, message } = refusalOf(reply);
    assert.deepEqual([status, type, reason], [404, "not_found", "task_not_found"]);
    const words = message.replace(task.id, "ID").replace(unknown, "ID");
    assert.equal(words, refusalOf(foreign[0]).message.replace(task.id, "ID"));
  }
  for (const id of ["task_1", "x", "task_01K8SGYNNNVBQTXNR4MM964S7I", `${task.id}0`]) {
    assert.equal(refusalOf(await owner.get(`/v1/tasks/${id}`)).reason, "task_not_found");
  }
});

describe("a cancellation", () => {
  test("of a task whose picture is being made says so, and the picture is delivered and charged", async () => {
    const { id } = await client.accept({ ...small, prompt: "fox [[slow:1s]]" });
    await client.wait(id, ({ status }) => status === "processing");
    const reply = await cancel(client, id);
    assert.equal(reply.status, 202);
    assert.deepEqual([reply.body.code, reply.body.data.cancel_requested], [202, true]);
    assert.equal(reply.body.data.status, "processing");
    const twice = await cancel(client, id);
    assert.equal(twice.status, 202);
    const task = await client.wait(id);
    assert.deepEqual(
      [task.status, task.cost, task.cancel_requested],
      ["completed", price, undefined],
    );
  });

  test("after which no picture arrives ends the task as cancelled, free of charge", async () => {
    const { id } = await client.accept({ ...small, prompt: "fox [[slow:1s]] [[fail:no_image]]" });
    await client.wait(id, ({ status }) => status === "processing");
    assert.equal((await cancel(client, id)).status, 202);
    const task = await client.wait(id);
    assert.deepEqual([task.status, task.cost, task.error?.code], ["cancelled", 0, "cancelled"]);
  });

  test("of an ended task is a conflict and changes nothing", async () => {
    for (const prompt of ["fox", "fox [[fail:no_image]]"]) {
      const task = await client.run({ ...small, prompt });
      const refusal = refusalOf(await cancel(client, task.id));
      const { status, type, reason } = refusal;
      assert.deepEqual([status, type, reason], [409, "conflict", "task_already_ended"]);
      assert.match(refusal.message, new RegExp(task.status));
      assert.deepEqual(await client.read(task.id), task);
    }
  });

  test("of a task that waits ends it at once, free of charge, and a second one is a conflict", async () => {
    const narrow = await startGateway({ DARKROOM_WORKER_TASKS: "1" });
    try {
      const caller = await narrow.connect();
      const first = await caller.accept({ ...small, prompt: "fox [[slow:2s]]" });
      await caller.wait(first.id, ({ status }) => status === "processing");
      const second = await caller.accept({ ...small, n: 2, prompt: "fox" });
      const waiting = await caller.read(second.id);
      assert.deepEqual([waiting.status, waiting.progress, waiting.cost], ["pending", 0, 2 * price]);
      assert.equal((await balanceOf(caller)).remain, 1_000 - 3 * price);
      const reply = await cancel(caller, second.id);
      assert.equal(reply.status, 200);
      const { data } = reply.body;
      assert.deepEqual([data.status, data.progress, data.cost], ["cancelled", 100, 0]);
      assert.equal(data.error?.code, "cancelled");
      assert.equal((await balanceOf(caller)).remain, 1_000 - price);
      assert.equal(refusalOf(await cancel(caller, second.id)).reason, "task_already_ended");
      assert.equal((await caller.wait(first.id)).status, "completed");
      assert.deepEqual(await caller.read(second.id), data);
    } finally {
      await narrow.stop();
    }
  });
});

describe("time limits", () => {
  let hasty: Gateway;

  before(async () => {
    hasty = await startGateway({ DARKROOM_TASK_DEADLINE: "1", DARKROOM_TASK_RETENTION: "2" });
  });

  after(() => hasty.stop());

  test("no task outlives DARKROOM_TASK_DEADLINE, and a late one costs nothing", async () => {
    const caller = await hasty.connect();
    const task = await caller.run({ ...small, prompt: "fox [[slow:600s]]" });
    assert.deepEqual(
      [task.status, task.error?.code, task.cost],
      ["failed", "generation_timeout", 0],
    );
    assert.ok(task.actual_time! <= 10, `${task.actual_time} s`);
    assert.deepEqual(await balanceOf(caller), { remain: 1_000, used: 0 });
  });

  test("a task can be read for DARKROOM_TASK_RETENTION after its end, and then is unknown", async () => {
    const caller = await hasty.connect();
    const { id } = await caller.run({ ...small, prompt: "A red fox [[fail:no_image]]" });
    const gone = await until(
      () => caller.get(`/v1/tasks/${id}`),
      ({ status }) => status !== 200,
    );
    assert.equal(refusalOf(gone).reason, "task_not_found");
    assert.equal(refusalOf(await cancel(caller, id)).status, 404);
  });
});

test("polls of a running task see every state once and in order", async () => {
  const { id } = await client.accept({ ...small, n: 3, prompt: "A red fox" });
  const seen: Task[] = [];
  await client.wait(id, (task) => {
    seen.push(task);
    return hasEnded(task);
  });
  const order = ["pending", "processing", "completed"];
  const ranks = seen.map(({ status }) => order.indexOf(status));
  assert.deepEqual(
    ranks,
    ranks.toSorted((a, b) => a - b),
  );
  const progress = seen.map((task) => task.progress);
  assert.deepEqual(
    progress,
    progress.toSorted((a, b) => a - b),
  );
});

function cancel(caller: Client, id: string) {
  return caller.post<CancelReply>(`/v1/tasks/${id}/cancel`, undefined);
}

async function balanceOf(caller: Client): Promise<{ remain: number; used: number }> {
  const { body } = await caller.get<BalanceReply>("/v1/user/balance");
  return { remain: body.remain_balance, used: body.used_balance };
}
