/** The whole gateway with its pictures in a bucket. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { startGateway } from "../support/app.ts";
import { colours, paintPlain } from "../support/pictures.ts";
import { startS3Server } from "../support/s3-server.ts";

const body = { model: "gemini-3.1-flash-lite-image", prompt: "a lighthouse", size: "1:1" };

async function setup(t: TestContext, downloads: "redirect" | "stream") {
  const server = await startS3Server(t);
  const settings = {
    DARKROOM_STORAGE: `s3://${server.bucket}?endpoint=${server.endpoint}&downloads=${downloads}`,
    DARKROOM_LOG_LEVEL: "silent",
    AWS_ACCESS_KEY_ID: server.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.credentials.secretAccessKey.reveal(),
  };
  const gateway = await startGateway(settings);
  t.after(() => gateway.stop());
  return { server, gateway, client: await gateway.connect() };
}

for (const downloads of ["redirect", "stream"] as const) {
  test(`a picture is made, kept in the bucket and downloaded: ${downloads}`, async (t) => {
    const { server, client } = await setup(t, downloads);
    const task = await client.run(body);
    assert.equal(task.status, "completed", JSON.stringify(task.error));
    const [image] = task.result!.images;
    const reply = await fetch(image!.url[0]!);
    assert.equal(reply.status, 200);
    assert.equal(reply.redirected, downloads === "redirect");
    assert.equal(reply.headers.get("content-type"), image!.content_type);
    assert.equal((await reply.arrayBuffer()).byteLength, image!.bytes);
    assert.equal((await server.listKeys()).length, 1);
  });
}

test("while the bucket is away a finished picture waits, and is delivered when it is back", async (t) => {
  const { server, client } = await setup(t, "redirect");
  let refused = 0;
  server.fault.choose = (request) => {
    if (!request.startsWith("PUT ") || refused >= 5) return null;
    refused += 1;
    return { kind: "refuse", status: 503, code: "SlowDown" };
  };
  const task = await client.run(body);
  assert.equal(task.status, "completed", JSON.stringify(task.error));
  assert.equal(refused, 5);
  assert.equal((await fetch(task.result!.images[0]!.url[0]!)).status, 200);
  assert.equal((await server.listKeys()).length, 1);
});

test("while the bucket is away, readiness fails and what needs it is 503", async (t) => {
  const { server, client } = await setup(t, "redirect");
  server.fault.choose = () => ({ kind: "refuse", status: 403, code: "AccessDenied" });
  assert.equal((await client.get("/readyz")).status, 503);
  const picture = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
  const form = new FormData();
  form.append("file", new Blob([new Uint8Array(picture)], { type: "image/png" }), "a.png");
  const reply = await client.post<{ error: { reason: string } }>("/v1/uploads/images", form);
  assert.equal(reply.status, 503);
  assert.equal(reply.body.error.reason, "unavailable");
});
