/** What a submit answers, in both contracts, and what is kept of it. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import type { VersionedSubmitReply } from "../../../client/src/submit.ts";
import type { TaskReply } from "../../../client/src/tasks.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { refusalOf, submitPath } from "../support/client.ts";
import type { Client } from "../support/client.ts";

const versioned = { "x-apimart-response-version": "2026-07-27" };
const body = {
  model: "gemini-3.1-flash-image-preview",
  resolution: "0.5K",
  size: "1:1",
  prompt: "A red fox",
};

let gateway: Gateway;
let client: Client;

before(async () => {
  gateway = await startGateway();
  client = await gateway.connect();
});

after(() => gateway.stop());

test("a submit answers at once with the documented body and nothing else", async () => {
  const origin = "https://a.example";
  const { status, headers, body: reply } = await client.submit(body, { origin });
  assert.equal(status, 200);
  const [{ task_id: id }] = reply.data;
  assert.match(id, /^task_[0-9A-HJKMNP-TV-Z]{26}$/);
  assert.deepEqual(reply, { code: 200, data: [{ status: "submitted", task_id: id }] });
  assert.match(headers.get("content-type") ?? "", /^application\/json/);
  assert.match(headers.get("x-request-id") ?? "", /^req_/);
  assert.equal(headers.get("access-control-allow-origin"), "*");
  assert.equal(headers.get("access-control-allow-credentials"), null);
  assert.equal(headers.get("cache-control"), "no-store");
});

test("the versioned contract answers 202 with an object, and its poll_url works as it is", async () => {
  const {
    status,
    headers,
    body: reply,
  } = await client.post<VersionedSubmitReply>(submitPath, body, versioned);
  assert.equal(status, 202);
  assert.equal(headers.get("x-apimart-response-version"), "2026-07-27");
  const { id } = reply.data;
  assert.deepEqual(reply, {
    code: 202,
    request_id: headers.get("x-request-id"),
    data: {
      object: "generation.task",
      id,
      status: "submitted",
      poll_url: `${gateway.origin}/v1/tasks/${id}`,
    },
  });
  const polled = await fetch(reply.data.poll_url, {
    headers: { authorization: `Bearer ${client.token}` },
  });
  assert.equal(polled.status, 200);
  assert.equal(((await polled.json()) as TaskReply).data.id, id);
});

test("under the versioned contract a refusal carries its reason as code, and the header", async () => {
  const bad = { ...body, size: "3:5" };
  const refusal = await client.refuse(bad, versioned);
  assert.deepEqual(
    [refusal.status, refusal.code, refusal.param],
    [400, "invalid_parameter", "size"],
  );
  assert.equal(refusal.headers.get("x-apimart-response-version"), "2026-07-27");
  const plain = await client.refuse(bad);
  assert.deepEqual([plain.code, plain.reason], [400, "invalid_parameter"]);
  assert.equal(plain.headers.get("x-apimart-response-version"), null);
});

test("an unknown response version is refused by the name of its header", async () => {
  const refusal = await client.refuse(body, { "x-apimart-response-version": "2020-01-01" });
  assert.deepEqual(
    [refusal.status, refusal.reason, refusal.param],
    [400, "unsupported_response_version", "X-APIMart-Response-Version"],
  );
  assert.match(refusal.message, /2026-07-27/);
});

test("a browser of any origin may submit", async () => {
  const reply = await client.request("OPTIONS", submitPath, {
    headers: { origin: "https://app.example", "access-control-request-method": "POST" },
  });
  assert.equal(reply.status, 204);
  assert.match(reply.headers.get("access-control-allow-methods") ?? "", /POST/);
  assert.match(reply.headers.get("access-control-allow-headers") ?? "", /Idempotency-Key/);
});

test("foreign fields are taken with a warning, in the reply and on the task", async () => {
  const given = { ...body, quality: "high", response_format: "b64_json", style: "vivid" };
  const { id, warnings } = await client.accept(given);
  assert.deepEqual(
    warnings.map(({ param, code }) => [param, code]),
    [
      ["quality", "ignored"],
      ["response_format", "ignored"],
      ["style", "ignored"],
    ],
  );
  for (const { message, param } of warnings) assert.match(message, new RegExp(param));
  assert.deepEqual((await client.read(id)).warnings, warnings);
  const reply = await client.post<VersionedSubmitReply>(submitPath, given, versioned);
  assert.deepEqual(reply.body.warnings, warnings);
});

test("a misspelt word of the sandbox is warned of, in the reply and on the task", async () => {
  const { id, warnings } = await client.accept({ ...body, prompt: "fox [[fail:bogus]]" });
  assert.deepEqual(
    warnings.map(({ param, code }) => [param, code]),
    [["prompt", "ignored"]],
  );
  assert.deepEqual((await client.read(id)).warnings, warnings);
});

test("null and empty text on optional fields count as not given", async () => {
  const { id, warnings } = await client.accept({
    model: "gpt-image-1-official",
    prompt: "A red fox",
    size: "",
    n: null,
    quality: null,
    image_urls: null,
    mask_url: "",
    official_fallback: null,
    webhook: "",
    language: null,
  });
  assert.deepEqual(warnings, []);
  const task = await client.read(id);
  // Square at quality auto: the hold of one picture at high.
  assert.equal(task.cost, 0.167);
});

test("1.0 is an integer, and references may be objects with a url", async () => {
  const text = `{"model":"gpt-image-1-official","prompt":"fox","n":1.0,"image_urls":[{"url":"https://example.com/a.png"}]}`;
  assert.deepEqual((await client.accept(text)).warnings, []);
});

test("webhook and language are checked at submit and kept with the task", async () => {
  const webhook = "https://example.com/hooks?tenant=1";
  const { id } = await client.accept({ ...body, webhook, language: "JA " });
  const kept = await gateway.installation.db.read
    .selectFrom("tasks")
    .select(["webhook", "language"])
    .where("id", "=", id)
    .executeTakeFirstOrThrow();
  assert.deepEqual(kept, { webhook, language: "ja" });
  for (const bad of [
    "ftp://example.com/",
    "example.com/hook",
    "https://user:secret@example.com/",
    "https://93.184.216.34:8443/",
    ["https://example.com/"],
    42,
  ]) {
    const refusal = await client.refuse({ ...body, webhook: bad });
    assert.deepEqual([refusal.status, refusal.param], [400, "webhook"], String(bad));
    assert.ok(!refusal.message.includes("secret"));
  }
  assert.equal((await client.refuse({ ...body, language: 7 })).param, "language");
});

test("a webhook on a port that DARKROOM_EGRESS_ALLOW covers is accepted", async () => {
  for (const webhook of [
    "http://127.0.0.1:9099",
    "https://example.com:443/",
    "http://127.0.0.1/",
  ]) {
    await client.accept({ ...body, webhook });
  }
  assert.equal(
    (await client.refuse({ ...body, webhook: "http://10.0.0.1:9099/" })).param,
    "webhook",
  );
});

test("a submit without a key is refused before its body is looked at", async () => {
  const nobody = gateway.clientOf(null);
  const refusal = refusalOf(await nobody.post(submitPath, "{broken"));
  assert.deepEqual([refusal.status, refusal.reason], [401, "invalid_api_key"]);
  assert.equal(refusal.headers.get("www-authenticate"), "Bearer");
  assert.match(refusal.message, /keys create/);
});
