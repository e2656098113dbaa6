/** The OpenAI dialect as the official client uses it: nothing but another base URL and key. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import OpenAI, { APIError, toFile } from "openai";
import sharp from "sharp";

import type { BalanceReply } from "../../../client/src/balance.ts";
import type { TaskReply } from "../../../client/src/tasks.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";

let gateway: Gateway;
let client: Client;
let openai: OpenAI;

before(async () => {
  gateway = await startGateway();
  client = await gateway.connect();
  openai = connectOpenAi(client);
});

after(() => gateway.stop());

function connectOpenAi({ token }: Client): OpenAI {
  return new OpenAI({ baseURL: `${gateway.origin}/openai/v1`, apiKey: token ?? "" });
}

function sizeOf(base64: string | undefined) {
  return sharp(Buffer.from(base64 ?? "", "base64")).metadata();
}

async function png(width: number, height: number, alpha = 1): Promise<Buffer> {
  const background = { r: 200, g: 80, b: 40, alpha };
  return sharp({ create: { width, height, channels: 4, background } })
    .png()
    .toBuffer();
}

async function refusalOf(work: Promise<unknown>): Promise<APIError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof APIError, String(error));
    return error;
  }
  throw new Error("it was not refused");
}

test("generate makes pictures as base64, and says what they are and what they took", async () => {
  const made = await openai.images.generate({
    model: "gpt-image-2.5-flare",
    prompt: "a lighthouse",
    size: "1024x1024",
    quality: "low",
    n: 2,
    user: "somebody",
  });
  assert.equal(made.data?.length, 2);
  for (const { b64_json: base64, url } of made.data ?? []) {
    const { width, height, format } = await sizeOf(base64);
    assert.deepEqual([width, height, format, url], [1024, 1024, "png", undefined]);
  }
  const { size, quality, output_format: format, usage } = made;
  assert.deepEqual([size, quality, format], ["1024x1024", "low", "png"]);
  assert.equal(usage?.total_tokens, usage!.input_tokens + usage!.output_tokens);
  assert.ok(made.created > 1_700_000_000);
});

test("url is given when it is asked for, and only then", async () => {
  const made = await openai.images.generate({
    model: "flux-2-pro",
    prompt: "a lighthouse",
    response_format: "url",
  });
  const [picture] = made.data ?? [];
  assert.equal(picture?.b64_json, undefined);
  assert.equal((await fetch(picture!.url!)).headers.get("content-type"), "image/png");
});

test("the vendor's own names, old words and pixels of other models are understood", async () => {
  const made = await openai.images.generate({
    model: "gpt-image-1",
    prompt: "a lighthouse",
    size: "1792x1024",
    quality: "hd",
    style: "vivid",
    output_format: "jpeg",
    background: "opaque",
  });
  assert.deepEqual(
    [made.size, made.quality, made.output_format, made.background],
    ["1536x1024", "high", "jpeg", "opaque"],
  );
  const half = await openai.images.generate({
    model: "gemini-3.1-flash-image-preview",
    prompt: "a lighthouse",
    size: "512x512",
  });
  assert.equal(half.size, "512x512");
});

test("more pictures than a model makes at once are made by several tasks", async () => {
  const made = await openai.images.generate({
    model: "flux-kontext-pro",
    prompt: "a lighthouse",
    size: "1:1",
    n: 3,
  });
  assert.equal(made.data?.length, 3);
  const many = await refusalOf(
    openai.images.generate({ model: "flux-kontext-pro", prompt: "a lighthouse", n: 11 }),
  );
  assert.deepEqual([many.status, many.param], [400, "n"]);
});

test("edit takes one file, several, and a mask, as a form", async () => {
  const image = await toFile(await png(300, 200), "a.png", { type: "image/png" });
  const other = await toFile(await png(100, 100), "blob");
  const edited = await openai.images.edit({
    model: "gpt-image-1.5",
    image: [image, other],
    mask: await toFile(await png(300, 200, 0), "mask.png"),
    prompt: "a red hat",
    n: 2,
    size: "1024x1536",
  });
  assert.equal(edited.data?.length, 2);
  assert.equal(edited.size, "1024x1536");
  const single = await openai.images.edit({
    model: "gemini-2.5-flash-image",
    image,
    prompt: "a red hat",
  });
  assert.equal((await sizeOf(single.data?.[0]?.b64_json)).width, 1248);
});

test("a model that takes public URLs only is given the files of a form as uploads", async () => {
  const image = await toFile(await png(320, 320), "a.png", { type: "image/png" });
  const edited = await openai.images.edit({
    model: "flux-kontext-pro",
    image,
    prompt: "a red hat",
    output_format: "jpeg",
  });
  assert.deepEqual([edited.output_format, edited.data?.length], ["jpeg", 1]);
});

test("edit takes JSON with URLs and data URIs, and says what it does not take", async () => {
  const uri = `data:image/png;base64,${(await png(64, 64)).toString("base64")}`;
  const path = "/openai/v1/images/edits";
  const body = { model: "gpt-image-1", prompt: "a hat", images: [{ image_url: uri }] };
  const edited = await client.post<{ data: object[] }>(path, body);
  assert.equal(edited.status, 200);
  assert.equal(edited.body.data.length, 1);
  for (const [images, code] of [
    [[{ file_id: "file-1" }], "unknown_parameter"],
    [[7], "invalid_value"],
    [[], "missing_required_parameter"],
  ] as const) {
    const refused = await client.post<{ error: { param: string; code: string } }>(path, {
      ...body,
      images,
    });
    assert.equal(refused.status, 400);
    assert.deepEqual([refused.body.error.param, refused.body.error.code], ["image", code]);
  }
});

test("a stream gives one completed event a picture", async () => {
  const body = { model: "gpt-image-2.5-flare", prompt: "a lighthouse", quality: "low" } as const;
  const stream = await openai.images.generate({ ...body, n: 2, stream: true, partial_images: 2 });
  const events = [];
  for await (const event of stream) events.push(event);
  assert.equal(events.length, 2);
  for (const event of events) {
    assert.equal(event.type, "image_generation.completed");
    assert.equal((await sizeOf(event.b64_json)).width, 1024);
    assert.deepEqual([event.size, event.output_format], ["1024x1024", "png"]);
  }
  const last = events.at(-1)!;
  assert.ok(last.type === "image_generation.completed" && last.usage.total_tokens > 0);
  const edits = await openai.images.edit({
    model: "gpt-image-1",
    image: await toFile(await png(64, 64), "a.png", { type: "image/png" }),
    prompt: "a hat",
    stream: true,
  });
  const types = [];
  for await (const event of edits) types.push(event.type);
  assert.deepEqual(types, ["image_edit.completed"]);
});

test("a stream that fails ends with an error that the client throws", async () => {
  const stream = await openai.images.generate({
    model: "gpt-image-1",
    prompt: "a fox [[fail:content_policy_violation]]",
    stream: true,
  });
  const failed = await refusalOf(
    (async () => {
      for await (const event of stream) assert.fail(event.type);
    })(),
  );
  assert.equal(failed.code, "moderation_blocked");
});

test("refusals are in the shape and the words of the vendor", async () => {
  const generate = (extra: object) =>
    refusalOf(openai.images.generate({ model: "gpt-image-1", prompt: "a fox", ...extra }));
  const cases: [extra: object, status: number, type: string, code: string, param: string | null][] =
    [
      [{ model: "nothing" }, 404, "invalid_request_error", "model_not_found", "model"],
      [{ model: "" }, 400, "invalid_request_error", "missing_required_parameter", "model"],
      [{ size: "7:5" }, 400, "invalid_request_error", "invalid_value", "size"],
      [{ prompt: "" }, 400, "invalid_request_error", "invalid_value", "prompt"],
      [{ response_format: "x" }, 400, "invalid_request_error", "invalid_value", "response_format"],
      [{ prompt: "[[submit:402]] fox" }, 402, "insufficient_quota", "insufficient_quota", null],
      [
        { prompt: "[[fail:content_policy_violation]] fox" },
        400,
        "image_generation_user_error",
        "moderation_blocked",
        null,
      ],
      [
        { prompt: "[[fail:provider_unavailable]] fox" },
        503,
        "server_error",
        "provider_unavailable",
        null,
      ],
    ];
  for (const [extra, status, type, code, param] of cases) {
    const error = await generate(extra);
    const said = [error.status, error.type, error.code, error.param];
    assert.deepEqual(said, [status, type, code, param], JSON.stringify(extra));
  }
  const keyless = connectOpenAi({ ...client, token: "sk-test-none" });
  const unknown = await refusalOf(keyless.models.list());
  assert.deepEqual([unknown.status, unknown.code], [401, "invalid_api_key"]);
  const nowhere = await client.post<{ error: { code: string } }>(
    "/openai/v1/images/variations",
    {},
  );
  assert.deepEqual([nowhere.status, nowhere.body.error.code], [404, "route_not_found"]);
});

test("a failed task is not made again by the client's own retries", async () => {
  const account = await gateway.createAccount("retries");
  const caller = await gateway.connect({ accountId: account });
  const patient = connectOpenAi(caller);
  assert.ok(patient.maxRetries > 0);
  const body = { model: "gpt-image-1", prompt: "a fox [[fail:outcome_unknown]]" };
  await refusalOf(patient.images.generate(body));
  const list = await caller.get<{ data: object[] }>("/v1/tasks");
  assert.equal(list.body.data.length, 1);
});

test("n pictures of which some fail are those that were made, and only they are paid", async () => {
  const account = await gateway.createAccount("partial");
  const caller = await gateway.connect({ accountId: account });
  const made = await connectOpenAi(caller).images.generate({
    model: "flux-2-pro",
    prompt: "a fox",
    n: 2,
  });
  assert.equal(made.data?.length, 2);
  const partial = await connectOpenAi(caller).images.generate({
    model: "gemini-3.1-flash-image-preview",
    prompt: "a fox [[partial:1]]",
    size: "512x512",
    n: 3,
  });
  assert.equal(partial.data?.length, 1);
  const balance = await caller.get<BalanceReply>("/v1/balance");
  assert.equal(balance.body.used_balance, 2 * 0.045 + 0.045);
});

test("an idempotency key gives the same task, and stands for one body", async () => {
  const body = { model: "flux-2-pro", prompt: "a fox", n: 2, response_format: "url" } as const;
  const options = { headers: { "Idempotency-Key": "picture-1" } };
  const first = await openai.images.generate(body, options).withResponse();
  const second = await openai.images.generate(body, options).withResponse();
  assert.equal(second.response.headers.get("idempotency-replayed"), "true");
  assert.deepEqual(second.data.data, first.data.data);
  const other = await refusalOf(openai.images.generate({ ...body, prompt: "an owl" }, options));
  assert.deepEqual([other.status, other.code], [409, "idempotency_key_reused"]);
  const file = async () => toFile(await png(64, 64), "a.png", { type: "image/png" });
  const edit = { model: "gpt-image-1", prompt: "a hat", response_format: "url" } as const;
  const edited = await openai.images.edit({ ...edit, image: await file() }, options);
  const again = await openai.images.edit({ ...edit, image: await file() }, options);
  assert.deepEqual(again.data, edited.data);
  const changed = { ...edit, image: await toFile(await png(65, 64), "a.png") };
  assert.equal((await refusalOf(openai.images.edit(changed, options))).status, 409);
});

test("a client that leaves takes nothing with it: its task runs on", async () => {
  const account = await gateway.createAccount("leaving");
  const caller = await gateway.connect({ accountId: account });
  const leaving = new AbortController();
  const left = connectOpenAi(caller).images.generate(
    { model: "gpt-image-1", prompt: "a fox [[slow:1s]]" },
    { signal: leaving.signal },
  );
  const [task] = await untilTasks(caller);
  leaving.abort();
  await assert.rejects(left);
  assert.equal((await caller.wait(task!.id)).status, "completed");
});

async function untilTasks(caller: Client): Promise<{ id: string }[]> {
  for (;;) {
    const list = await caller.get<{ data: TaskReply["data"][] }>("/v1/tasks");
    if (list.body.data.length > 0) return list.body.data;
  }
}

test("forms that are broken or too large are refused by name", async () => {
  const path = "/openai/v1/images/edits";
  const send = async (form: FormData) =>
    client.request<{ error: { code: string; param: string | null } }>("POST", path, { body: form });
  const base = { model: "gpt-image-1", prompt: "a hat" };
  const formOf = (parts: Record<string, string | Blob>): FormData => {
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...base, ...parts })) form.append(name, value);
    return form;
  };
  const cases: [parts: Record<string, string | Blob>, status: number, code: string][] = [
    [{}, 400, "missing_required_parameter"],
    [{ image: new Blob([]) }, 400, "invalid_image_file"],
    [{ image: new Blob(["no picture"]) }, 400, "invalid_image_file"],
    [{ other: new Blob(["x"]) }, 400, "invalid_body"],
    [{ image: new Blob([Buffer.alloc(20_971_521)]) }, 413, "image_too_large"],
    [{ image: "text" }, 400, "missing_required_parameter"],
    [{ image: new Blob([await png(8, 8)]), n: "many" }, 400, "invalid_value"],
  ];
  for (const [parts, status, code] of cases) {
    const refused = await send(formOf(parts));
    assert.deepEqual([refused.status, refused.body.error.code], [status, code]);
  }
});

test("models are listed, and found by our name and the vendor's", async () => {
  const ids: string[] = [];
  for await (const model of openai.models.list()) ids.push(model.id);
  assert.ok(ids.includes("gpt-image-1-official") && ids.includes("flux-2-pro"));
  assert.equal((await openai.models.retrieve("gpt-image-1")).id, "gpt-image-1-official");
  assert.equal((await refusalOf(openai.models.retrieve("dall-e-2"))).status, 404);
});
