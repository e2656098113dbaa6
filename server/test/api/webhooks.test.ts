import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Webhook } from "standardwebhooks";

import type { Task } from "../../../client/src/tasks.ts";
import type {
  Delivery,
  DeliveryDetailReply,
  DeliveryListReply,
  DeliveryReply,
  RedeliverReply,
  WebhookDeletedReply,
  WebhookListReply,
  WebhookReply,
  WebhookSecretReply,
  WebhookWithSecretReply,
} from "../../../client/src/webhooks.ts";
import { startGateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";
import { download, refusalOf, until } from "../support/client.ts";
import { reply, startReceiver } from "../support/receiver.ts";
import type { Received, Receiver } from "../support/receiver.ts";

const gateway = await startGateway();
after(() => gateway.stop());

const body = { model: "gemini-3.1-flash-lite-image", prompt: "a red fox in the snow" };

/** A client of an account of its own, so that no test is told of another's tasks. */
async function connect(mode: "test" | "live" = "test"): Promise<Client> {
  accounts += 1;
  const accountId = await gateway.createAccount(`webhooks ${accounts}`);
  return gateway.connect({ accountId, mode });
}
let accounts = 0;

async function receive(t: { after(stop: () => Promise<void>): void }): Promise<Receiver> {
  const receiver = await startReceiver();
  t.after(receiver.stop);
  return receiver;
}

async function verify(client: Client, received: Received, secret?: string): Promise<Task> {
  const own = await client.get<WebhookSecretReply>("/v1/webhooks/secret");
  const verifier = new Webhook(secret ?? own.body.data.secret);
  // Throws for a wrong signature and for a timestamp that is not of now.
  return verifier.verify(received.body, received.headers as Record<string, string>) as Task;
}

async function listDeliveries(client: Client, query = ""): Promise<readonly Delivery[]> {
  const { body: page } = await client.get<DeliveryListReply>(`/v1/webhooks/deliveries${query}`);
  return page.data;
}

test("the seeds' webhook: a task that succeeds calls webhook + /callback with the bare task, signed", async (t) => {
  const client = await connect();
  const receiver = await receive(t);
  const { id } = await client.accept({ ...body, size: "16:9", webhook: `${receiver.origin}/base` });
  await receiver.untilReceived(1);
  const [received] = receiver.received;
  assert.ok(received !== undefined);
  assert.equal(received.path, "/base/callback");
  assert.match(received.headers["content-type"] ?? "", /^application\/json/);
  const pushed = await verify(client, received);
  assert.equal(pushed.status, "completed");
  assert.deepEqual(pushed, await client.read(id));
  const [url = ""] = pushed.result?.images[0]?.url ?? [];
  assert.equal((await download(url)).status, 200);
  const [delivery] = await until(
    () => listDeliveries(client),
    ([first]) => first?.status === "delivered",
  );
  assert.deepEqual([delivery?.task_id, delivery?.tries, delivery?.last_status], [id, 1, 204]);
  const detail = await client.get<DeliveryDetailReply>(`/v1/webhooks/deliveries/${delivery?.id}`);
  assert.deepEqual(detail.body.data.body, pushed);
  assert.deepEqual(
    detail.body.data.log.map(({ number, status }) => [number, status]),
    [[1, 204]],
  );
});

test("a task that fails pushes its error in the language of the submit, on every family of models", async (t) => {
  const client = await connect();
  const receiver = await receive(t);
  const models = ["flux-2-pro", "gpt-image-1-official", "gemini-2.5-flash-image-preview"];
  for (const model of models) {
    const prompt = "a fox [[fail:content_policy_violation]]";
    await client.accept({ model, prompt, language: "ja", webhook: receiver.origin });
  }
  await receiver.untilReceived(models.length);
  for (const received of receiver.received) {
    const pushed = await verify(client, received);
    assert.equal(pushed.status, "failed");
    assert.equal(pushed.error?.code, "content_policy_violation");
    assert.deepEqual(pushed, await client.read(pushed.id, "?language=ja"));
  }
});

test("a registered endpoint hears of the tasks of its mode, until it is disabled or deleted", async (t) => {
  const client = await connect();
  const receiver = await receive(t);
  const url = `${receiver.origin}/exact?token=1`;
  const made = await client.post<WebhookWithSecretReply>("/v1/webhooks", {
    url,
    description: "shop",
  });
  assert.equal(made.status, 200, JSON.stringify(made.body));
  const { secret, ...endpoint } = made.body.data;
  assert.deepEqual(
    [endpoint.url, endpoint.events, endpoint.enabled, endpoint.description, endpoint.test],
    [url, ["task.completed", "task.failed"], true, "shop", true],
  );
  const path = `/v1/webhooks/${endpoint.id}`;
  assert.deepEqual((await client.get<WebhookReply>(path)).body.data, endpoint);
  assert.deepEqual((await client.get<WebhookListReply>("/v1/webhooks")).body.data, [endpoint]);

  const tested = await client.post<DeliveryReply>(`${path}/test`, undefined);
  assert.equal(tested.body.data.event, "test");
  await receiver.untilReceived(1);
  const { id } = await client.run(body);
  await receiver.untilReceived(2);
  const [first, second] = receiver.received;
  assert.ok(first !== undefined && second !== undefined);
  assert.deepEqual([first.headers["darkroom-event"], first.path], ["test", "/exact?token=1"]);
  assert.equal((await verify(client, first, secret)).model, "webhook-test");
  assert.equal((await verify(client, second, secret)).id, id);

  const rotated = await client.post<WebhookWithSecretReply>(`${path}/secret`, undefined);
  await client.post(`${path}/test`, undefined);
  await receiver.untilReceived(3);
  const third = receiver.received[2];
  assert.ok(third !== undefined);
  await verify(client, third, secret);
  await verify(client, third, rotated.body.data.secret);
  assert.ok(rotated.body.data.previous_secret_expires_at !== undefined);

  const disabled = await client.request<WebhookReply>("PATCH", path, { body: { enabled: false } });
  assert.deepEqual(
    [disabled.body.data.enabled, disabled.body.data.disabled_reason],
    [false, "owner"],
  );
  await client.run(body);
  const events = ["task.cancelled"];
  const changed = await client.request<WebhookReply>("PATCH", path, {
    body: { enabled: true, events },
  });
  assert.deepEqual([changed.body.data.enabled, changed.body.data.events], [true, events]);
  await client.run(body);
  const deleted = await client.request<WebhookDeletedReply>("DELETE", path);
  assert.deepEqual(deleted.body.data, { id: endpoint.id, deleted: true });
  assert.equal((await client.get(path)).status, 404);
  // The two tasks that ended meanwhile left no event, so nothing is on its way either.
  assert.equal(receiver.received.length, 3);
  assert.equal((await listDeliveries(client)).length, 3);
});

test("a failed delivery is sent again by hand, and all of a range at once", async (t) => {
  const client = await connect();
  const receiver = await receive(t);
  receiver.answerWith(reply(410, {}, "no"));
  await client.accept({ ...body, webhook: receiver.origin });
  await client.accept({ ...body, webhook: receiver.origin });
  const failed = await until(
    () => listDeliveries(client, "?status=failed"),
    ({ length }) => length === 2,
  );
  receiver.answerWith(reply(200));
  const path = "/v1/webhooks/deliveries";
  const one = await client.post<DeliveryReply>(`${path}/${failed[0]?.id}/redeliver`, undefined);
  assert.equal(one.status, 200, JSON.stringify(one.body));
  await receiver.untilReceived(3);
  const range = { created_after: (failed[1]?.created ?? 0) - 10 };
  const all = await until(
    () => client.post<RedeliverReply>(`${path}/redeliver`, range),
    ({ body: { data } }) => data.redelivered === 1,
  );
  assert.deepEqual(all.body.data, { redelivered: 1, has_more: false });
  await until(
    () => listDeliveries(client, "?status=delivered"),
    ({ length }) => length === 2,
  );
});

test("addresses that could never be reached are refused at submit and at registration, by name", async () => {
  const client = await connect();
  const bad = [
    "http://10.0.0.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://192.168.0.1:9099/",
    "https://93.184.216.34:8443/",
    "https://user:pw@example.com/",
    "ftp://example.com/",
    "not a url",
  ];
  for (const url of bad) {
    const submit = await client.refuse({ ...body, webhook: url });
    assert.deepEqual([submit.status, submit.param], [400, "webhook"], url);
    const register = refusalOf(await client.post("/v1/webhooks", { url }));
    assert.deepEqual(
      [register.status, register.param, register.reason],
      [400, "url", "invalid_parameter"],
      url,
    );
  }
});

test("bodies and queries of the webhook routes are refused by the name of the field at fault", async () => {
  const client = await connect();
  const url = "https://example.com/hook";
  const cases: [unknown, string, string][] = [
    [{}, "url", "missing_parameter"],
    [{ url: 7 }, "url", "invalid_parameter"],
    [{ url, events: [] }, "events", "invalid_parameter"],
    [{ url, events: ["task.pending"] }, "events", "invalid_parameter"],
    [{ url, events: "task.failed" }, "events", "invalid_parameter"],
    [{ url, description: "x".repeat(201) }, "description", "invalid_parameter"],
    [{ url, description: "a\u0000b" }, "description", "invalid_parameter"],
    [{ url, secret: "mine" }, "secret", "unsupported_parameter"],
  ];
  for (const [given, param, reason] of cases) {
    const refusal = refusalOf(await client.post("/v1/webhooks", given));
    assert.deepEqual([refusal.status, refusal.param, refusal.reason], [400, param, reason]);
  }
  for (const query of ["limit=0", "limit=101", "status=lost", "created_after=soon"]) {
    const refusal = refusalOf(await client.get(`/v1/webhooks/deliveries?${query}`));
    assert.deepEqual([refusal.status, refusal.param], [400, query.split("=")[0]]);
  }
  const range = refusalOf(await client.post("/v1/webhooks/deliveries/redeliver", {}));
  assert.deepEqual([range.status, range.param], [400, "created_after"]);
  for (const [method, path, reason] of [
    ["GET", "/v1/webhooks/whe_0", "webhook_not_found"],
    ["DELETE", "/v1/webhooks/whe_0", "webhook_not_found"],
    ["POST", "/v1/webhooks/whe_0/test", "webhook_not_found"],
    ["GET", "/v1/webhooks/deliveries/dlv_0", "delivery_not_found"],
    ["POST", "/v1/webhooks/deliveries/dlv_0/redeliver", "delivery_not_found"],
  ] as const) {
    const refusal = refusalOf(await client.request(method, path));
    assert.deepEqual([refusal.status, refusal.reason], [404, reason], path);
  }
});

test("the account's secret is one for all its keys of a mode, and another in the other mode", async () => {
  const accountId = await gateway.createAccount("webhooks secrets");
  const [first, second, live] = await Promise.all([
    gateway.connect({ accountId, mode: "test" }),
    gateway.connect({ accountId, mode: "test" }),
    gateway.connect({ accountId, mode: "live" }),
  ]);
  const path = "/v1/webhooks/secret";
  const read = async (client: Client) => (await client.get<WebhookSecretReply>(path)).body.data;
  const secret = await read(first);
  assert.match(secret.secret, /^whsec_/);
  assert.deepEqual(await read(second), secret);
  assert.notEqual((await read(live)).secret, secret.secret);
  const rotated = (await first.post<WebhookSecretReply>(path, undefined)).body.data;
  assert.equal(rotated.previous_secret, secret.secret);
  assert.deepEqual(await read(second), rotated);
});
