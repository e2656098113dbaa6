/**
 * Requests made from the published document, right and wrong, to every operation of a running gateway. No
 * reply is a 5xx, none has a status, a type or a body that the document does not know.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import * as fc from "fast-check";
import type { Arbitrary } from "fast-check";

import type { JsonObject, JsonValue } from "../../src/lib/json.ts";
import { isJsonObject } from "../../src/lib/json.ts";
import { builtInModels } from "../../src/models/catalogue.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { createContract, objectIn, textIn } from "../support/openapi.ts";
import type { Contract, DocumentedOperation } from "../support/openapi.ts";
import { brokenValues, validValues } from "../support/schema-arbitrary.ts";
import type { SchemaSource } from "../support/schema-arbitrary.ts";

/** An operation takes some five milliseconds a request; all of them together stay below 20 s. */
const runsEach = 24;
/** Printed with a failure; `FUZZ_SEED` repeats it, and other seeds find other things. */
const seed = Number(process.env["FUZZ_SEED"] ?? 20_260_901);

/** A closed port of this machine: nothing is fetched from elsewhere, and refusals come at once. */
const nowhere = "http://127.0.0.1:9/a.png";

let gateway: Gateway;
let token: string;
let contract: Contract;
let source: SchemaSource;
let ids: Record<string, string[]>;

before(async () => {
  gateway = await startGateway({ DARKROOM_PICTURE_PROCESSES: "1" });
  ({ token } = await gateway.createKey({ requestsPerMinute: 100_000, tasksInFlight: 1_000 }));
  const client = gateway.clientOf(token);
  const reply = await fetch(`${gateway.origin}/openapi.json`);
  contract = createContract((await reply.json()) as JsonObject);
  const ended = await client.run({ model: "flux-2-pro", prompt: "[[fail:no_image]]" });
  const { body: hook } = await client.post<{ data: { id: string } }>("/v1/webhooks", {
    url: "http://127.0.0.1:9/hook",
  });
  ids = { task: [ended.id], webhook: [hook.data.id], model: builtInModels.map(({ id }) => id) };
  source = { resolve: contract.resolve, known: knownValues(ended.id) };
});

after(() => gateway.stop());

/** Prompts end at once and draw nothing, and addresses lead nowhere. */
function knownValues(taskId: string): Record<string, Arbitrary<JsonValue>> {
  const prompt = fc.constantFrom(
    "A fox [[fail:provider_rejected]]",
    "ein Fuchs 🦊 [[fail:content_policy_violation]]",
    "[[submit:402]]",
    "[[submit:429]]",
  );
  return {
    prompt,
    text: prompt,
    model: fc.constantFrom("gpt-image-1", "flux-2-pro"),
    image_url: fc.constant(nowhere),
    input_image: fc.constant(nowhere),
    fileUri: fc.constant(nowhere),
    image_urls: fc.array(fc.constantFrom<JsonValue>(nowhere, { url: nowhere }), { maxLength: 2 }),
    mask_url: fc.constant(nowhere),
    webhook: fc.constant("http://127.0.0.1:9/base"),
    url: fc.constant("http://127.0.0.1:9/hook"),
    task_ids: fc.array(fc.constantFrom(taskId, "task_none"), { maxLength: 4 }),
  };
}

type Request = {
  url: string;
  headers: Record<string, string>;
  body: string | FormData | null;
};

function requests(operation: DocumentedOperation): Arbitrary<Request> {
  return fc
    .record({
      path: pathOf(operation),
      query: queryOf(operation),
      headers: headersOf(operation),
      body: bodyOf(operation),
    })
    .map(({ path, query, headers, body }) => ({
      url: `${gateway.origin}${path}${query}`,
      headers: { authorization: `Bearer ${token}`, ...headers, ...body.headers },
      body: body.content,
    }));
}

function parametersOf({ operation }: DocumentedOperation, place: string): JsonObject[] {
  const list = Array.isArray(operation["parameters"]) ? operation["parameters"] : [];
  return list
    .filter(isJsonObject)
    .map((one) => (typeof one["$ref"] === "string" ? contract.resolve(one["$ref"]) : one))
    .filter((one) => one["in"] === place);
}

function pathOf({ path }: DocumentedOperation): Arbitrary<string> {
  const kind = path.includes("models") ? "model" : path.includes("webhooks") ? "webhook" : "task";
  const part = fc.oneof(
    fc.constantFrom(...(ids[kind] ?? [])),
    // A URL's parser takes parts of dots alone for steps.
    fc.string({ unit: "binary", minLength: 1, maxLength: 20 }).map((text) => `x${text}`),
    fc.constantFrom("a".repeat(300), "%00", "__proto__"),
  );
  return fc.array(part, { minLength: 2, maxLength: 2 }).map((parts) => {
    let next = 0;
    return path.replaceAll(/\{\w+\}/g, () => encodePart(parts[next++] ?? "x"));
  });
}

function encodePart(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function queryOf(operation: DocumentedOperation): Arbitrary<string> {
  const parts = parametersOf(operation, "query").map((parameter) => {
    const name = textIn(parameter, "name");
    const schema = objectIn(parameter, "schema");
    const model = fc.constantFrom(...(ids["model"] ?? []));
    const right = name === "model" ? model : validValues(source, schema);
    // A wait that is right would be waited for.
    const values = name === "wait" ? fc.constantFrom("0", "61", "-1") : right;
    const value = fc.oneof(values, fc.string({ maxLength: 30 }), fc.constant(null));
    return value.map((given) =>
      given === null ? [] : [`${name}=${encodePart(typeof given === "string" ? given : "1")}`],
    );
  });
  return fc.tuple(...parts).map((given) => `?${given.flat().join("&")}`);
}

function headersOf(operation: DocumentedOperation): Arbitrary<Record<string, string>> {
  const parts = parametersOf(operation, "header").map((parameter) => {
    const name = textIn(parameter, "name");
    const isWait = name === "Prefer";
    const right = isWait
      ? fc.constant("wait=1")
      : validValues(source, objectIn(parameter, "schema"));
    const value = fc.oneof(
      right,
      fc.constantFrom("1", "ü", " "),
      fc.constant(null),
      fc.constant(null),
    );
    return value.map((given): Record<string, string> =>
      typeof given === "string" && /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(given)
        ? { [name]: given }
        : {},
    );
  });
  return fc.tuple(...parts).map((given) => Object.assign({}, ...given) as Record<string, string>);
}

type Body = { headers: Record<string, string>; content: Request["body"] };

function bodyOf({ operation, method }: DocumentedOperation): Arbitrary<Body> {
  const none: Body = { headers: {}, content: null };
  if (method === "get") return fc.constant(none);
  const headers = { "content-type": "application/json" };
  const strays = fc.constantFrom<Body>(
    none,
    { headers, content: "" },
    { headers, content: "{" },
    { headers, content: "[1]" },
    { headers, content: '{"__proto__":{}}' },
    { headers: { "content-type": "text/plain" }, content: "hello" },
  );
  const requestBody = operation["requestBody"];
  if (!isJsonObject(requestBody)) return strays;
  const content = objectIn(requestBody, "content");
  const bodies = Object.entries(content).map(([mediaType, part]) => {
    assert.ok(isJsonObject(part));
    const schema = objectIn(part, "schema");
    if (mediaType !== "application/json") return forms;
    const values = fc.oneof(validValues(source, schema), brokenValues(source, schema));
    return values.map((value): Body => ({ headers, content: JSON.stringify(value) }));
  });
  return fc.oneof({ weight: 8, arbitrary: fc.oneof(...bodies) }, { weight: 1, arbitrary: strays });
}

const png = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

/** Forms with the parts that the routes know, with others, and with bytes that are no picture. */
const forms: Arbitrary<Body> = fc
  .record({
    bytes: fc.oneof(fc.constant(new Uint8Array(png)), fc.uint8Array({ maxLength: 64 })),
    name: fc.constantFrom("file", "image", "image[]", "mask", "other"),
    fields: fc.dictionary(
      fc.constantFrom("model", "prompt", "n", "size", "file", "x"),
      fc.constantFrom("flux-2-pro", "gpt-image-1-official", "1", "[[fail:provider_rejected]]", ""),
    ),
    twice: fc.boolean(),
  })
  .map(({ bytes, name, fields, twice }) => {
    const content = new FormData();
    for (const [field, value] of Object.entries(fields)) content.append(field, value);
    for (let count = 0; count < (twice ? 2 : 1); count += 1) {
      content.append(name, new Blob([new Uint8Array(bytes)]), "a.png");
    }
    return { headers: {}, content };
  });

/** Fails unless the reply is documented; answers its status. */
async function assertAnswered(operation: DocumentedOperation, request: Request): Promise<number> {
  const { url, headers, body } = request;
  const reply = await fetch(url, {
    method: operation.method.toUpperCase(),
    headers,
    redirect: "manual",
    ...(body === null ? {} : { body }),
  });
  const text = await reply.text();
  assert.ok(reply.status < 500, `${reply.status} ${text}`);
  contract.check(operation, { status: reply.status, headers: reply.headers, text });
  return reply.status;
}

/** Where there is nothing to vary, a few requests say as much as many. */
function runsOf(operation: DocumentedOperation): number {
  const isFixed =
    operation.method === "get" &&
    parametersOf(operation, "path").length + parametersOf(operation, "query").length === 0;
  return isFixed ? 3 : runsEach;
}

test("every operation answers right and wrong requests as the document says", async (t) => {
  assert.ok(contract.operations.length > 30);
  const seen = new Map<string, Set<number>>();
  for (const operation of contract.operations) {
    const name = `${operation.method} ${operation.path}`;
    const statuses = new Set<number>();
    seen.set(name, statuses);
    await t.test(name, async () => {
      await fc.assert(
        fc.asyncProperty(requests(operation), async (request) => {
          statuses.add(await assertAnswered(operation, request));
        }),
        { numRuns: runsOf(operation), seed, endOnFailure: true },
      );
    });
  }
  // Requests that are all refused at the door, or all accepted, would show nothing.
  for (const name of [
    "post /v1/images/generations",
    "post /v1/images/estimate",
    "post /v1/webhooks",
  ]) {
    for (const status of [200, 400]) assert.ok(seen.get(name)?.has(status), `${name} ${status}`);
  }
  for (const name of [
    "post /openai/v1/images/generations",
    "post /v1beta/models/{model}:generateContent",
    "post /v1/flux-2-pro",
  ]) {
    // 402 is given to what would become a task.
    for (const status of [400, 402]) assert.ok(seen.get(name)?.has(status), `${name} ${status}`);
  }
});
