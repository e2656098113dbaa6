/** The Gemini and BFL dialects: thin, for tools that speak nothing else. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ApiError, GoogleGenAI } from "@google/genai";
import sharp from "sharp";

import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";
import { until } from "../support/client.ts";

let gateway: Gateway;
let client: Client;
let google: GoogleGenAI;

before(async () => {
  gateway = await startGateway();
  client = await gateway.connect();
  google = new GoogleGenAI({
    apiKey: client.token ?? "",
    httpOptions: { baseUrl: gateway.origin },
  });
});

after(() => gateway.stop());

async function png(): Promise<string> {
  const background = { r: 200, g: 80, b: 40 };
  const create = { width: 80, height: 80, channels: 3, background } as const;
  return (await sharp({ create }).png().toBuffer()).toString("base64");
}

test("Google's own client makes and edits pictures, in either version of the path", async () => {
  for (const apiVersion of ["v1", "v1beta"]) {
    const made = await google.models.generateContent({
      model: "gemini-3.1-flash-image-preview",
      contents: [{ text: "a lighthouse" }],
      config: {
        httpOptions: { apiVersion },
        responseModalities: ["IMAGE"],
        imageConfig: { aspectRatio: "16:9", imageSize: "512" },
      },
    });
    const [part] = made.candidates?.[0]?.content?.parts ?? [];
    const bytes = Buffer.from(part?.inlineData?.data ?? "", "base64");
    const { width, height, format } = await sharp(bytes).metadata();
    assert.deepEqual([width, height, format], [688, 384, "jpeg"]);
    assert.equal(part?.inlineData?.mimeType, "image/jpeg");
    assert.equal(made.candidates?.[0]?.finishReason, "STOP");
  }
  const edited = await google.models.generateContent({
    model: "gemini-3.1-flash-lite-image",
    contents: [{ text: "a hat" }, { inlineData: { mimeType: "image/png", data: await png() } }],
  });
  assert.ok(edited.usageMetadata!.totalTokenCount! > 0);
});

test("snake case is read as well, and what blocks a prompt is said with status 200", async () => {
  const path = "/v1beta/models/gemini-2.5-flash-image:generateContent";
  const parts = [{ text: "a hat" }, { inline_data: { mime_type: "image/png", data: await png() } }];
  const body = {
    contents: { parts },
    generation_config: { image_config: { aspect_ratio: "21:9" } },
  };
  const made = await client.post<{ candidates: object[] }>(path, body);
  assert.equal(made.status, 200);
  assert.equal(made.body.candidates.length, 1);
  const fail = { contents: [{ parts: [{ text: "x [[fail:content_policy_violation]]" }] }] };
  const blocked = await client.post<{ promptFeedback: object }>(path, fail);
  assert.equal(blocked.status, 200);
  assert.deepEqual(blocked.body.promptFeedback, { blockReason: "PROHIBITED_CONTENT" });
});

test("refusals are those of a Google service", async () => {
  const generate = (model: string, key = client.token) =>
    new GoogleGenAI({ apiKey: key ?? "", httpOptions: { baseUrl: gateway.origin } }).models
      .generateContent({ model, contents: "a fox" })
      .then(
        () => assert.fail("it was not refused"),
        (error: unknown) => error as ApiError,
      );
  const unknown = await generate("gemini-none");
  assert.ok(unknown instanceof ApiError);
  assert.equal(unknown.status, 404);
  assert.match(unknown.message, /NOT_FOUND/);
  assert.equal((await generate("gemini-2.5-flash-image", "sk-test-none")).status, 401);
  const other = await client.post<{ error: { code: number } }>("/v1beta/models/x:predict", {});
  assert.deepEqual([other.status, other.body.error.code], [404, 404]);
  const models = await client.get<{ models: { name: string }[] }>("/v1beta/models");
  assert.ok(models.body.models.some(({ name }) => name === "models/flux-2-pro"));
});

type BflTask = { id: string; status: string; result: { sample: string } | null; details: object };

test("a BFL client submits with x-key, polls the address it is given, and downloads", async () => {
  const keyed = gateway.clientOf(null);
  const headers = { "x-key": client.token ?? "" };
  const body = { prompt: "a hat", width: 1920, height: 1080, seed: 7, output_format: "png" };
  const submitted = await keyed.post<{ id: string; polling_url: string }>(
    "/v1/flux-2-pro",
    { ...body, input_image: await png() },
    headers,
  );
  assert.equal(submitted.status, 200, JSON.stringify(submitted.body));
  const path = submitted.body.polling_url.replace(gateway.origin, "");
  const done = await until(
    async () => (await keyed.get<BflTask>(path, headers)).body,
    ({ status }) => status !== "Pending",
  );
  assert.equal(done.status, "Ready");
  const bytes = await (await fetch(done.result!.sample)).arrayBuffer();
  const { width, height } = await sharp(Buffer.from(bytes)).metadata();
  assert.deepEqual([width, height], [1920, 1080]);
});

test("a BFL client reads Error when a task fails, and refusals as detail", async () => {
  const submitted = await client.post<{ id: string }>("/v1/flux-kontext-pro", {
    prompt: "x [[fail:no_image]]",
    aspect_ratio: "1:1",
    output_format: "jpeg",
  });
  const path = `/v1/get_result?id=${submitted.body.id}`;
  const failed = await until(
    async () => (await client.get<BflTask>(path)).body,
    ({ status }) => status !== "Pending",
  );
  assert.equal(failed.status, "Error");
  const refused = await client.post<{ detail: { loc: string[] }[] }>("/v1/flux-2-pro", {
    prompt: "a fox",
    webhook_url: "https://example.com",
  });
  assert.equal(refused.status, 400);
  assert.deepEqual(refused.body.detail[0]?.loc, ["body", "webhook_url"]);
  const unknown = await client.get<{ detail: object }>("/v1/get_result?id=none");
  assert.equal(unknown.status, 404);
  const keyless = await gateway.clientOf(null).post<{ detail: string }>("/v1/flux-2-pro", {});
  assert.equal(typeof keyless.body.detail, "string");
});
