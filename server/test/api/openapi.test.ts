/** Real replies of every operation, held against the document that the same gateway publishes. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { UploadReply } from "../../../client/src/uploads.ts";
import type { WebhookWithSecretReply } from "../../../client/src/webhooks.ts";
import type { JsonObject } from "../../src/lib/json.ts";
import { isJsonObject } from "../../src/lib/json.ts";
import { createCatalogue } from "../../src/models/catalogue.ts";
import { exampleBodies } from "../../src/models/examples.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";
import { createContract, objectIn, textIn } from "../support/openapi.ts";
import type { Contract } from "../support/openapi.ts";
import { colours, paintPlain } from "../support/pictures.ts";

let gateway: Gateway;
let client: Client;
let contract: Contract;

before(async () => {
  gateway = await startGateway({ DARKROOM_PICTURE_PROCESSES: "1" });
  // With limits, so that replies have the headers that tell of them.
  client = await gateway.connect({ requestsPerMinute: 100_000, tasksInFlight: 1_000 });
  const reply = await fetch(`${gateway.origin}/openapi.json`);
  assert.equal(reply.status, 200);
  contract = createContract((await reply.json()) as JsonObject);
});

after(() => gateway.stop());

type Sent = { body?: string | FormData; headers?: Record<string, string>; token?: string | null };

/** Sends a request of an operation and holds the reply against it. */
async function call(method: string, path: string, url: string, sent: Sent = {}) {
  const operation = contract.operations.find((one) => one.method === method && one.path === path);
  assert.ok(operation, `${method} ${path} is not documented`);
  const token = sent.token === undefined ? client.token : sent.token;
  const reply = await fetch(`${gateway.origin}${url}`, {
    method: method.toUpperCase(),
    redirect: "manual",
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(typeof sent.body === "string" ? { "content-type": "application/json" } : {}),
      ...sent.headers,
    },
    ...(sent.body === undefined ? {} : { body: sent.body }),
  });
  const text = await reply.text();
  contract.check(operation, { status: reply.status, headers: reply.headers, text });
  return { status: reply.status, headers: reply.headers, text };
}

const submitBody = { model: "flux-kontext-pro", prompt: "A lighthouse at dusk", size: "1:1" };
const json = (body: unknown): Sent => ({ body: JSON.stringify(body) });
const versioned = { "X-APIMart-Response-Version": "2026-07-27" };
const submitPath = "/v1/images/generations";

describe("the document", () => {
  test("is OpenAPI 3.1, names this server, and every reference in it leads somewhere", () => {
    const { document } = contract;
    assert.match(textIn(document, "openapi"), /^3\.1\./);
    assert.deepEqual(document["servers"], [{ url: gateway.origin }]);
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)];
    assert.ok(references.length > 100);
    for (const [, reference = ""] of references) assert.ok(contract.resolve(reference), reference);
  });

  test("gives every operation an id of its own", () => {
    const ids = contract.operations.map(({ operation }) => operation["operationId"]);
    assert.equal(new Set(ids).size, ids.length);
  });

  test("has one request schema a model, which takes the examples and no other model's name", () => {
    const body = contract.resolve("#/components/schemas/SubmitBody");
    const mapping = objectIn(objectIn(body, "discriminator"), "mapping");
    for (const model of createCatalogue().list()) {
      const reference = textIn(mapping, model.id);
      for (const example of exampleBodies(model)) {
        assert.ok(contract.isValid(reference, example.body), `${model.id} ${example.name}`);
        assert.ok(!contract.isValid(reference, { ...example.body, model: "other" }), model.id);
      }
    }
  });

  test("prints examples that keep the schemas they stand beside", () => {
    let count = 0;
    for (const { method, path, operation } of contract.operations) {
      const bodies = [operation["requestBody"], ...Object.values(objectIn(operation, "responses"))];
      for (const body of bodies) {
        const content = isJsonObject(body) ? body["content"] : undefined;
        const part = isJsonObject(content) ? content["application/json"] : undefined;
        if (!isJsonObject(part) || !isJsonObject(part["examples"])) continue;
        for (const [name, example] of Object.entries(part["examples"])) {
          assert.ok(isJsonObject(example));
          const reference = textIn(objectIn(part, "schema"), "$ref");
          count += 1;
          assert.ok(contract.isValid(reference, example["value"]), `${method} ${path} ${name}`);
        }
      }
    }
    assert.ok(count > 60, `${count} examples`);
  });

  test("is not sent again to whoever has it", async () => {
    const first = await call("get", "/openapi.json", "/openapi.json", { token: null });
    const headers = { "If-None-Match": first.headers.get("etag") ?? "" };
    const again = await call("get", "/openapi.json", "/openapi.json", { token: null, headers });
    assert.equal(again.status, 304);
  });
});

test("the judge refuses a status, a type, a header and a field that the document lacks", () => {
  const operation = contract.operations.find(({ path }) => path === "/healthz");
  assert.ok(operation);
  const good = {
    status: 200,
    headers: new Headers({ "content-type": "application/json", "x-request-id": "req_1" }),
    text: '{"status":"ok"}',
  };
  contract.check(operation, good);
  const html = new Headers({ "content-type": "text/html", "x-request-id": "req_1" });
  const limited = new Headers([...good.headers, ["ratelimit", '"key-requests";r=1;t=1']]);
  for (const bad of [
    { ...good, status: 418 },
    { ...good, headers: limited },
    { ...good, headers: html },
    { ...good, text: '{"status":"ok","more":1}' },
    { ...good, text: "{}" },
  ]) {
    assert.throws(() => contract.check(operation, bad), assert.AssertionError);
  }
});

describe("replies keep the document", () => {
  test("of a task's whole life, in both contracts", async () => {
    const first = await call("post", submitPath, submitPath, json(submitBody));
    assert.equal(first.status, 200);
    const second = await call("post", submitPath, submitPath, {
      ...json({ ...submitBody, quality: "high" }),
      headers: { ...versioned, "Idempotency-Key": "openapi-1" },
    });
    assert.equal(second.status, 202);
    const { data } = JSON.parse(first.text) as { data: [{ task_id: string }] };
    const [{ task_id: taskId }] = data;
    const poll = "/v1/tasks/{id}";
    await call("get", poll, `/v1/tasks/${taskId}?language=de`);
    const task = await client.wait(taskId);
    await call("get", poll, `/v1/tasks/${taskId}`);
    await call("get", `${poll}/events`, `/v1/tasks/${taskId}/events`);
    await call("get", "/v1/tasks", "/v1/tasks?limit=2");
    const ids = { task_ids: [taskId, "task_unknown"] };
    assert.equal((await call("post", "/v1/tasks/batch", "/v1/tasks/batch", json(ids))).status, 200);
    const ended = await call("post", `${poll}/cancel`, `/v1/tasks/${taskId}/cancel`);
    assert.equal(ended.status, 409);
    const link = new URL(task.result?.images[0]?.url[0] ?? "");
    await call("get", "/f/{signed}/{file}", link.pathname, { token: null });
    const range = { token: null, headers: { range: "bytes=0-9" } };
    assert.equal((await call("get", "/f/{signed}/{file}", link.pathname, range)).status, 206);
    const beyond = { token: null, headers: { range: "bytes=99999999-" } };
    assert.equal((await call("get", "/f/{signed}/{file}", link.pathname, beyond)).status, 416);
  });

  test("of a submit that waits, finished and failed", async () => {
    const headers = { Prefer: "wait=30" };
    const failing = { ...submitBody, prompt: "A lighthouse [[fail:content_policy_violation]]" };
    const failed = await call("post", submitPath, submitPath, { ...json(failing), headers });
    assert.match(failed.text, /content_policy_violation/);
    const both = { ...headers, ...versioned };
    const result = await call("post", submitPath, submitPath, { ...json(failing), headers: both });
    assert.match(result.text, /generation\.result/);
  });

  test("of a cancelled task", async () => {
    const { id } = await client.accept({ ...submitBody, prompt: "A lighthouse [[slow:60s]]" });
    const path = "/v1/tasks/{id}/cancel";
    assert.ok((await call("post", path, `/v1/tasks/${id}/cancel`)).status < 300);
  });

  test("of the catalogue, its pages and its prices, for every model", async () => {
    await call("get", "/v1/models", "/v1/models?expand=parameters,pricing");
    for (const { id } of createCatalogue().list()) {
      await call("get", "/v1/models/{id}", `/v1/models/${id}`);
      await call("get", "/v1/models/{id}/schema", `/v1/models/${id}/schema`);
      await call("get", "/v1/model-schema", `/v1/model-schema?model=${id}`);
      await call("get", "/v1/model-docs", `/v1/model-docs?model=${id}`);
      const open = { token: null };
      await call("get", "/api/pricing/model", `/api/pricing/model?model=${id}`, open);
      await call("get", "/docs/models/{id}.md", `/docs/models/${id}.md`, open);
    }
    for (const query of ["", "?page=2&page_size=3", "?page=999"]) {
      const path = "/api/marketplace/models";
      assert.equal((await call("get", path, path + query, { token: null })).status, 200);
    }
  });

  test("of an estimate, which says what the submit of the same body then holds", async () => {
    const path = "/v1/images/estimate";
    const body = { model: "gpt-image-1-official", prompt: "A fox", n: 9, quality: "auto" };
    const estimate = await call("post", path, path, json(body));
    const { data } = JSON.parse(estimate.text) as { data: JsonObject };
    assert.deepEqual([data["hold"], data["likely"]], [4 * 0.167, 4 * 0.042]);
    const { id } = await client.accept({ ...body, prompt: "A fox [[slow:60s]]" });
    assert.equal((await client.read(id)).cost, data["hold"]);
    await client.request("POST", `/v1/tasks/${id}/cancel`);
    const refused = await call("post", path, path, json({ ...body, size: "7:5" }));
    assert.equal(refused.status, 400);
  });

  test("of an upload and of money", async () => {
    const form = new FormData();
    const picture = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
    form.append("file", new Blob([new Uint8Array(picture)]), "red.png");
    const path = "/v1/uploads/images";
    const { url } = JSON.parse(
      (await call("post", path, path, { body: form })).text,
    ) as UploadReply;
    assert.ok(url.startsWith(gateway.origin));
    for (const name of ["/v1/balance", "/balance", "/v1/user/balance", "/user/balance"]) {
      assert.equal((await call("get", name, name)).status, 200);
    }
    for (const name of ["/v1/usage", "/usage"]) {
      assert.equal((await call("get", name, `${name}?group_by=model,date`)).status, 200);
      assert.equal((await call("get", name, `${name}?tz=Nowhere`)).status, 400);
    }
  });

  test("of the dialects, with a picture and refused", async () => {
    const make = "/openai/v1/images/generations";
    const wanted = { model: "gpt-image-1", prompt: "A fox" };
    for (const more of [{}, { response_format: "url" }, { stream: true }]) {
      const reply = await call("post", make, make, json({ ...wanted, ...more }));
      assert.equal(reply.status, 200, reply.text);
    }
    assert.equal((await call("post", make, make, json({ ...wanted, n: 11 }))).status, 400);
    await call("get", "/openai/v1/models", "/openai/v1/models");
    await call("get", "/openai/v1/models/{id}", "/openai/v1/models/gpt-image-1");
    for (const version of ["/v1beta", "/v1"]) {
      const path = `${version}/models/{model}:generateContent`;
      const url = `${version}/models/gemini-3.1-flash-lite-image:generateContent`;
      for (const text of ["A fox", "[[fail:content_policy_violation]]", "[[fail:no_image]]"]) {
        const reply = await call("post", path, url, json({ contents: [{ parts: [{ text }] }] }));
        assert.equal(reply.status, 200, reply.text);
      }
      assert.equal((await call("post", path, url, json({}))).status, 400);
    }
    await call("get", "/v1beta/models", "/v1beta/models");
    await call("get", "/v1beta/models/{model}", "/v1beta/models/gemini-3-pro-image-preview");
    for (const prompt of ["A fox", "[[fail:provider_rejected]]"]) {
      const sent = await call("post", "/v1/flux-2-pro", "/v1/flux-2-pro", json({ prompt }));
      const { id } = JSON.parse(sent.text) as { id: string };
      const poll = ["get", "/v1/get_result", `/v1/get_result?id=${id}`] as const;
      await call(...poll);
      await client.wait(id);
      assert.match((await call(...poll)).text, /"status":"(Ready|Error)"/);
    }
  });

  test("of the service itself", async () => {
    const paths = ["/healthz", "/readyz", "/docs", "/docs/reference.js", "/llms.txt"];
    for (const path of paths) {
      assert.equal((await call("get", path, path, { token: null })).status, 200, path);
    }
  });

  test("of webhooks and their deliveries", async () => {
    const path = "/v1/webhooks";
    const url = "http://127.0.0.1:9/hook";
    const made = await call("post", path, path, json({ url, events: ["task.failed"] }));
    const { data } = JSON.parse(made.text) as WebhookWithSecretReply;
    const one = `${path}/${data.id}`;
    await call("get", path, path);
    await call("get", `${path}/{id}`, one);
    await call("patch", `${path}/{id}`, one, json({ enabled: false }));
    await call("patch", `${path}/{id}`, one, json({ enabled: true, colour: 1 }));
    await call("post", `${path}/{id}/secret`, `${one}/secret`);
    const sent = await call("post", `${path}/{id}/test`, `${one}/test`);
    assert.equal(sent.status, 200);
    const { data: delivery } = JSON.parse(sent.text) as { data: { id: string } };
    const deliveries = `${path}/deliveries`;
    await call("get", deliveries, `${deliveries}?limit=5`);
    await call("get", `${deliveries}/{id}`, `${deliveries}/${delivery.id}`);
    const again = `${deliveries}/${delivery.id}/redeliver`;
    await call("post", `${deliveries}/{id}/redeliver`, again);
    const range = json({ created_after: 0 });
    await call("post", `${deliveries}/redeliver`, `${deliveries}/redeliver`, range);
    await call("get", `${path}/secret`, `${path}/secret`);
    await call("post", `${path}/secret`, `${path}/secret`);
    assert.equal((await call("delete", `${path}/{id}`, one)).status, 200);
    assert.equal((await call("get", `${path}/{id}`, one)).status, 404);
  });

  test("of every operation that needs a key, when there is none", async () => {
    for (const { method, path, operation } of contract.operations) {
      if (Array.isArray(operation["security"]) && operation["security"].length === 0) continue;
      const url = path.replaceAll(/\{\w+\}/g, "x");
      assert.equal((await call(method, path, url, { token: null })).status, 401, path);
    }
  });
});
