/** A submit that is repeated with its Idempotency-Key makes one task, and is paid for once. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { BalanceReply } from "../../../client/src/balance.ts";
import type { SubmitReply, VersionedSubmitReply } from "../../../client/src/submit.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { submitPath, until } from "../support/client.ts";
import type { Client, Reply } from "../support/client.ts";
import { colours, dataUri, paintPlain } from "../support/pictures.ts";

const body = {
  model: "gemini-3.1-flash-image-preview",
  resolution: "0.5K",
  size: "1:1",
  prompt: "A red fox",
};
/** Dollars of one such picture. */
const price = 0.045;

let gateway: Gateway;

before(async () => {
  gateway = await startGateway();
});

after(() => gateway.stop());

test("a repeat gets the first reply again, marked, while the task runs and after its end", async () => {
  const client = await gateway.connect();
  const first = await submit(client, "k-1", { ...body, quality: "high" });
  assert.equal(first.status, 200);
  assert.equal(first.headers.get("idempotency-replayed"), null);
  const second = await submit(client, "k-1", { ...body, quality: "high" });
  assertReplayed(second, first);
  assert.equal(second.body.warnings?.length, 1);
  const task = await client.wait(idOf(first));
  assertReplayed(await submit(client, "k-1", { ...body, quality: "high" }), first);
  assert.deepEqual(await client.read(idOf(first)), task);
});

test("the order of members, blanks and the spelling of numbers make no other body", async () => {
  const client = await gateway.connect();
  const first = await submit(
    client,
    "k-2",
    '{"model":"gpt-image-1-official","prompt":"fox","n":1}',
  );
  const text = ' {\n"n": 1.0, "prompt": "f\\u006fx", "model": "gpt-image-1-official" } ';
  assertReplayed(await submit(client, "k-2", text), first);
});

test("a data URI counts by its bytes: equal ones repeat, others do not", async () => {
  const client = await gateway.connect();
  const green = dataUri(
    await paintPlain({ colour: colours.green, width: 40, height: 40, format: "png" }),
  );
  const red = dataUri(
    await paintPlain({ colour: colours.red, width: 40, height: 40, format: "png" }),
  );
  const first = await submit(client, "k-3", { ...body, image_urls: [green] });
  assertReplayed(await submit(client, "k-3", { image_urls: [green], ...body }), first);
  assertReused(await submit(client, "k-3", { ...body, image_urls: [red] }));
});

test("another body under a known key is a conflict, and changes nothing", async () => {
  const client = await gateway.connect();
  const first = await submit(client, "k-4");
  assertReused(await submit(client, "k-4", { ...body, prompt: "A blue fox" }));
  assertReused(await submit(client, "k-4", { ...body, n: 2 }));
  // Not even a body that no model would take.
  assertReused(await submit(client, "k-4", { model: "nothing" }));
  assertReplayed(await submit(client, "k-4"), first);
});

test("fifty at once make one task and one hold", async () => {
  const accountId = await gateway.createAccount("twins");
  const client = await gateway.connect({ accountId });
  const slow = { ...body, prompt: "A red fox [[slow:2s]]" };
  const replies = await Promise.all(Array.from({ length: 50 }, () => submit(client, "k-5", slow)));
  assert.deepEqual(new Set(replies.map(({ status }) => status)), new Set([200]));
  assert.equal(new Set(replies.map(idOf)).size, 1);
  const fresh = replies.filter(({ headers }) => headers.get("idempotency-replayed") === null);
  assert.equal(fresh.length, 1);
  assert.equal(await remainOf(client), 1_000 - price);
  await client.wait(idOf(replies[0]!));
  assert.equal(await remainOf(client), 1_000 - price);
});

test("a reply is rendered in the contract of the retry", async () => {
  const client = await gateway.connect();
  const first = await submit(client, "k-6");
  const versioned = await client.post<VersionedSubmitReply>(submitPath, body, {
    "idempotency-key": "k-6",
    "x-apimart-response-version": "2026-07-27",
  });
  assert.equal(versioned.status, 202);
  assert.equal(versioned.headers.get("idempotency-replayed"), "true");
  assert.equal(versioned.body.data.id, idOf(first));
  assertReplayed(await submit(client, "k-6"), first);
});

test("a repeat is answered when the money is gone", async () => {
  const client = await gateway.connect({ cap: 50_000 });
  const first = await submit(client, "k-7");
  const other = await client.refuse(body, { "idempotency-key": "k-8" });
  assert.deepEqual([other.status, other.reason], [402, "spend_cap_reached"]);
  assertReplayed(await submit(client, "k-7"), first);
});

test("a repeat spends nothing of the requests a minute, and is never limited", async () => {
  const client = await gateway.connect({ requestsPerMinute: 1 });
  const first = await submit(client, "k-9");
  const other = await client.refuse(body, { "idempotency-key": "k-10" });
  assert.deepEqual([other.status, other.reason], [429, "rate_limited"]);
  for (let again = 0; again < 5; again++) assertReplayed(await submit(client, "k-9"), first);
});

test("a refused request is not remembered: its key is free for another body", async () => {
  const client = await gateway.connect({ cap: 100_000 });
  assert.equal((await submit(client, "k-11", { ...body, size: "3:5" })).status, 400);
  assert.equal((await submit(client, "k-11", { ...body, n: 4 })).status, 402);
  assert.equal((await submit(client, "k-11", { model: "nothing", prompt: "fox" })).status, 404);
  assert.equal((await submit(client, "k-11", "{")).status, 400);
  const first = await submit(client, "k-11");
  assert.equal(first.status, 200);
  assert.equal(first.headers.get("idempotency-replayed"), null);
  assertReplayed(await submit(client, "k-11"), first);
});

test("another key of the account knows the keys of the first, also when that one is revoked", async () => {
  const account = await gateway.createAccount("rotating");
  const old = await gateway.createKey({ accountId: account });
  const first = await submit(gateway.clientOf(old.token), "k-12");
  await gateway.installation.keys.revokeKey({ accountId: account, keyId: old.id });
  assert.equal((await submit(gateway.clientOf(old.token), "k-12")).status, 401);
  const fresh = await gateway.connect({ accountId: account });
  assertReplayed(await submit(fresh, "k-12"), first);
  assert.equal((await fresh.wait(idOf(first))).status, "completed");
});

test("another account and the other mode know nothing of it", async () => {
  const play = await gateway.connect();
  const first = await submit(play, "k-13");
  const stranger = await gateway.connect({ accountId: await gateway.createAccount("stranger") });
  const theirs = await submit(stranger, "k-13");
  assert.equal(theirs.headers.get("idempotency-replayed"), null);
  assert.notEqual(idOf(theirs), idOf(first));
  const live = await gateway.connect({ mode: "live" });
  const refusal = await live.refuse(body, { "idempotency-key": "k-13" });
  assert.deepEqual([refusal.status, refusal.reason], [503, "no_channel"]);
});

test("the key is taken literally, at its full length and with every visible character", async () => {
  const client = await gateway.connect();
  const visible = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index)).join(
    "",
  );
  const first = await submit(client, visible);
  assertReplayed(await submit(client, visible), first);
  assert.notEqual(idOf(await submit(client, visible.toLowerCase())), idOf(first));
  const long = await submit(client, "a".repeat(191));
  assert.notEqual(idOf(await submit(client, "a".repeat(190))), idOf(long));
});

test("a key is forgotten after its time and then makes a new task", async () => {
  const short = await startGateway({ DARKROOM_IDEMPOTENCY_TTL: "2" });
  try {
    const client = await short.connect();
    const first = await submit(client, "k-14");
    assertReplayed(await submit(client, "k-14"), first);
    const later = await until(
      () => submit(client, "k-14"),
      ({ headers }) => headers.get("idempotency-replayed") === null,
    );
    assert.equal(later.status, 200);
    assert.notEqual(idOf(later), idOf(first));
  } finally {
    await short.stop();
  }
});

function submit(client: Client, key: string, given: unknown = body): Promise<Reply<SubmitReply>> {
  return client.submit(given, { "idempotency-key": key });
}

function idOf(reply: Reply<SubmitReply>): string {
  assert.equal(reply.status, 200, JSON.stringify(reply.body));
  return reply.body.data[0].task_id;
}

function assertReplayed(repeat: Reply<SubmitReply>, first: Reply<SubmitReply>): void {
  assert.equal(repeat.headers.get("idempotency-replayed"), "true", JSON.stringify(repeat.body));
  assert.equal(repeat.status, first.status);
  assert.deepEqual(repeat.body, first.body);
}

function assertReused(reply: Reply<unknown>): void {
  const { error } = reply.body as { error: Record<string, unknown> };
  assert.deepEqual(
    [reply.status, error["type"], error["reason"]],
    [409, "conflict", "idempotency_key_reused"],
  );
}

async function remainOf(client: Client): Promise<number> {
  return (await client.get<BalanceReply>("/v1/user/balance")).body.remain_balance;
}
