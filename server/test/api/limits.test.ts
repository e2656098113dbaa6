/** Limits, lists and usage through a whole gateway. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { TaskBatchReply, TaskListReply } from "../../../client/src/tasks.ts";
import type { UsageReply } from "../../../client/src/usage.ts";
import { systemClock, toUnixSeconds } from "../../src/lib/time.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { refusalOf } from "../support/client.ts";

const body = { model: "flux-2-pro", prompt: "fox" };
let gateway: Gateway;

before(async () => {
  gateway = await startGateway();
});
after(() => gateway.stop());

test("an account reads its tasks as a list and as a batch, as one poll shows each", async () => {
  const accountId = await gateway.createAccount("lists");
  const client = await gateway.connect({ accountId });
  const first = await client.run(body);
  const second = await client.run({ ...body, prompt: "fox [[fail:content_policy_violation]]" });
  const list = await client.get<TaskListReply>("/v1/tasks?limit=1");
  assert.deepEqual(list.body, { code: 200, data: [second], has_more: true, last_id: second.id });
  const rest = await client.get<TaskListReply>(`/v1/tasks?after=${second.id}`);
  assert.deepEqual(rest.body, { code: 200, data: [first], has_more: false, last_id: first.id });
  const batch = await client.post<TaskBatchReply>("/v1/tasks/batch", {
    task_ids: [first.id, "task_0", second.id],
  });
  assert.deepEqual([batch.body.data[0], batch.body.data[2]], [first, second]);
  const other = await gateway.connect();
  const foreign = await other.post<TaskBatchReply>("/v1/tasks/batch", { task_ids: [first.id] });
  assert.ok("error" in foreign.body.data[0]!);
});

test("the usage report agrees with what the tasks cost", async () => {
  const accountId = await gateway.createAccount("usage");
  const client = await gateway.connect({ accountId });
  const { cost, credits_cost: credits, model } = await client.run(body);
  await client.run({ ...body, prompt: "fox [[fail:content_policy_violation]]" });
  const end = toUnixSeconds(systemClock.now()) + 60;
  const path = `/v1/usage?group_by=model&end=${end}`;
  const { data } = (await client.get<UsageReply>(path)).body;
  const figures = {
    amount_usd: cost,
    credits,
    requests: 1,
    prompt_tokens: 0,
    completion_tokens: 0,
  };
  assert.deepEqual([data.total, data.items], [figures, [{ model, ...figures }]]);
});

test("a key's amount a day refuses what would exceed it, by name and with the time to wait", async () => {
  const client = await gateway.connect({ spendPerDay: 50_000 });
  await client.accept(body, { "idempotency-key": "k-1" });
  const { status, type, reason, message, headers } = await client.refuse(body);
  assert.deepEqual([status, type, reason], [429, "rate_limit_error", "daily_spend_reached"]);
  assert.match(message, /this key may spend 0\.05 USD a day, of which 0\.005 USD are left/);
  const seconds = Number(headers.get("retry-after"));
  assert.ok(seconds >= 1 && seconds <= 86_400, String(seconds));
  await client.accept(body, { "idempotency-key": "k-1" });
});

test("an account's limits hold for all its keys together, on the next second at the latest", async () => {
  const accountId = await gateway.createAccount("bounded");
  await gateway.installation.accounts.setAccount("bounded", {
    tasksInFlight: 1,
    requestsPerMinute: 5,
  });
  const [one, two] = [await gateway.connect({ accountId }), await gateway.connect({ accountId })];
  const { id, headers } = await one.accept({ ...body, prompt: "fox [[slow:2s]]" });
  assert.equal(headers.get("x-ratelimit-remaining"), "4");
  const refusal = await two.refuse(body);
  assert.deepEqual([refusal.status, refusal.reason], [429, "task_limit_reached"]);
  assert.match(refusal.message, /this account may have 1 tasks/);
  assert.match(refusal.headers.get("ratelimit-policy") ?? "", /"account-tasks";q=1/);
  for (let i = 0; i < 3; i++) await two.read(id);
  const limited = refusalOf(await one.get(`/v1/tasks/${id}`));
  assert.deepEqual([limited.status, limited.reason], [429, "rate_limited"]);
  assert.match(limited.message, /this account may make 5 requests a minute/);
});
