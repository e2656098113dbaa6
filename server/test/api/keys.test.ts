/** What a key may do, from the moment it is made until it is revoked or expires. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { systemClock } from "../../src/lib/time.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { refusalOf, until } from "../support/client.ts";
import type { Client } from "../support/client.ts";
import { runJson } from "../support/gateway-process.ts";

const body = {
  model: "gemini-3.1-flash-image-preview",
  resolution: "0.5K",
  size: "1:1",
  prompt: "A red fox",
};

let gateway: Gateway;

before(async () => {
  gateway = await startGateway();
});

after(() => gateway.stop());

test("a key made beside the running server works at once, also after it was tried before", async () => {
  type Created = { id: string; key: string; account: string; mode: string };
  const made = await runJson<Created>(gateway.folder, [
    "keys",
    "create",
    "--account",
    "default",
    "--mode",
    "test",
    "--name",
    "beside",
  ]);
  assert.match(made.key, /^sk-test-[A-Za-z0-9]{43}$/);
  assert.match(made.id, /^key_/);
  const task = await gateway.clientOf(made.key).run(body);
  assert.equal(task.status, "completed");
});

test("a key that was refused as unknown is not remembered as unknown", async () => {
  const accountId = await gateway.createAccount("late");
  const { token } = await gateway.createKey({ accountId });
  const flipped = `${token.slice(0, -1)}${token.endsWith("a") ? "b" : "a"}`;
  for (const unknown of [flipped, token.slice(0, -1), token.toUpperCase()]) {
    const refusal = refusalOf(await gateway.clientOf(unknown).get("/v1/models"));
    assert.equal(refusal.status, 401);
  }
  assert.equal((await gateway.clientOf(token).get("/v1/models")).status, 200);
});

test("a key revoked on this node is refused by the next request", async () => {
  const { id, token } = await gateway.createKey();
  const client = gateway.clientOf(token);
  assert.equal((await client.get("/v1/models")).status, 200);
  const account = await gateway.installation.keys.findKey(id);
  await gateway.installation.keys.revokeKey({ accountId: account!.accountId, keyId: id });
  for (const path of ["/v1/models", "/v1/balance", "/v1/tasks/x"]) {
    assert.equal(refusalOf(await client.get(path)).reason, "invalid_api_key");
  }
  assert.equal((await client.refuse(body)).status, 401);
});

test("a key revoked by the command line is refused within a second, and its tasks go on", async () => {
  const { id, token } = await gateway.createKey();
  const client = gateway.clientOf(token);
  const task = await client.accept({ ...body, prompt: "fox [[slow:1s]]" });
  // A busy key is in the server's memory when it is revoked.
  const polling = until(() => client.get("/v1/balance"), isRefused);
  const revoked = await runJson<{ id: string; revoked: boolean }>(gateway.folder, [
    "keys",
    "revoke",
    id,
  ]);
  const begun = systemClock.monotonic();
  assert.deepEqual(revoked, { id, revoked: true });
  await polling;
  assert.ok(systemClock.monotonic() - begun < 2_500);
  const colleague = await gateway.connect();
  assert.equal((await colleague.wait(task.id)).status, "completed");
});

test("an expired key is refused at the moment of its expiry", async () => {
  const client = await gateway.connect({ expiresAt: Date.now() + 2_000 });
  assert.equal((await client.get("/v1/models")).status, 200);
  const late = await until(() => client.get("/v1/models"), isRefused);
  assert.equal(refusalOf(late).reason, "invalid_api_key");
});

test("an allow-list of models is held at submit, and the refusal names what it holds", async () => {
  const client = await gateway.connect({ models: [body.model, "flux-2-pro"] });
  await client.accept(body);
  for (const model of ["flux-2-flex", "gpt-image-1-official", "nothing"]) {
    const refusal = await client.refuse({ model, prompt: "fox" });
    const { status, type, reason, param } = refusal;
    assert.deepEqual(
      [status, type, reason, param],
      [403, "permission_error", "model_not_allowed", "model"],
    );
    assert.match(refusal.message, /flux-2-pro/);
  }
});

test("an allow-list of addresses is held on every route, by the address of the connection", async () => {
  const inside = await gateway.connect({ ips: ["10.0.0.1", "127.0.0.0/8"] });
  assert.equal((await inside.get("/v1/models")).status, 200);
  const outside = await gateway.connect({ ips: ["10.0.0.0/8", "2001:db8::/32"] });
  for (const reply of [
    await outside.get("/v1/models"),
    await outside.submit(body),
    await outside.get("/v1/tasks/x"),
    await outside.submit(body, { "x-forwarded-for": "10.0.0.1", "x-real-ip": "10.0.0.1" }),
  ]) {
    const { status, reason, message } = refusalOf(reply);
    assert.deepEqual([status, reason], [403, "ip_not_allowed"]);
    assert.match(message, /127\.0\.0\.1/);
  }
});

test("requests a minute are counted over all routes, and the refusal says when to come back", async () => {
  const client = await gateway.connect({ requestsPerMinute: 3 });
  await client.accept(body);
  assert.equal((await client.get("/v1/balance")).status, 200);
  assert.equal((await client.get("/v1/models")).status, 200);
  for (const reply of [await client.submit(body), await client.get("/v1/balance")]) {
    const { status, type, reason, headers } = refusalOf(reply);
    assert.deepEqual([status, type, reason], [429, "rate_limit_error", "rate_limited"]);
    const seconds = Number(headers.get("retry-after"));
    assert.ok(seconds >= 1 && seconds <= 20, `${seconds}`);
  }
  assert.equal((await (await gateway.connect()).get("/v1/balance")).status, 200);
});

test("tasks in flight are bounded at submit, and a place is free again when a task has ended", async () => {
  const client = await gateway.connect({ tasksInFlight: 2 });
  const slow = { ...body, prompt: "fox [[slow:1s]]" };
  const replies = await Promise.all(Array.from({ length: 6 }, () => client.submit(slow)));
  const accepted = replies.filter(({ status }) => status === 200);
  assert.equal(accepted.length, 2);
  for (const reply of replies.filter(({ status }) => status !== 200)) {
    const { status, reason, message, headers } = refusalOf(reply);
    assert.deepEqual([status, reason], [429, "task_limit_reached"]);
    assert.match(message, /this key may have 2 tasks/);
    assert.notEqual(headers.get("retry-after"), null);
  }
  for (const { body: reply } of accepted) await client.wait(reply.data[0].task_id);
  assert.equal((await client.run(body)).status, "completed");
});

test("a live key and a test key of one account see nothing of each other", async () => {
  const accountId = await gateway.createAccount("two modes");
  const live = await gateway.createKey({ accountId, mode: "live" });
  const play = await gateway.createKey({ accountId, mode: "test" });
  assert.match(live.token, /^sk-live-/);
  assert.match(play.token, /^sk-test-/);
  const task = await gateway.clientOf(play.token).run(body);
  assert.equal(task.test, true);
  const other: Client = gateway.clientOf(live.token);
  assert.equal(refusalOf(await other.get(`/v1/tasks/${task.id}`)).reason, "task_not_found");
});

function isRefused({ status }: { status: number }): boolean {
  return status !== 200;
}
