/** The whole gateway with its pictures in a bucket. */
import assert from "node:assert/strict";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { ReadinessReply } from "../../../client/src/health.ts";
import { must } from "../../src/lib/errors.ts";
import { startGateway } from "../support/app.ts";
import { until } from "../support/client.ts";
import { colours, dataUri, paintPlain } from "../support/pictures.ts";
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

test("while the bucket is away a finished picture waits in a file, and is delivered when it is back", async (t) => {
  const { server, gateway, client } = await setup(t, "redirect");
  server.fault.choose = () => ({ kind: "refuse", status: 503, code: "SlowDown" });
  const { id } = await client.accept(body);
  const waiting = await until(
    () => listSpool(gateway.folder),
    (files) => files.length === 1,
  );
  const { size } = await stat(must(waiting[0], "a file"));
  const numbers = await (await fetch(`${gateway.origin}/metrics`)).text();
  assert.match(numbers, new RegExp(`^darkroom_spool_bytes ${size}$`, "m"));
  assert.equal((await client.read(id)).status, "processing");
  server.fault.choose = () => null;
  const task = await client.wait(id);
  assert.equal(task.status, "completed", JSON.stringify(task.error));
  assert.equal((await fetch(task.result!.images[0]!.url[0]!)).status, 200);
  assert.deepEqual(await listSpool(gateway.folder), []);
  // The check that found the bucket back is one small object of its own.
  assert.equal((await server.listKeys()).length, 2);
});

/** Paths of what waits in the spool of a data folder. */
async function listSpool(folder: string): Promise<string[]> {
  const options = { recursive: true, withFileTypes: true } as const;
  const entries = await readdir(join(folder, "spool"), options).catch(() => []);
  const files = entries.filter((entry) => entry.isFile() && !entry.name.includes(".lock"));
  return files.map(({ parentPath, name }) => join(parentPath, name));
}

test("while the bucket is away, what needs it is 503, and the node says so and stays ready for the rest", async (t) => {
  const { server, client } = await setup(t, "redirect");
  server.fault.choose = () => ({ kind: "refuse", status: 403, code: "AccessDenied" });
  const ready = await client.get<ReadinessReply>("/readyz");
  assert.equal(ready.status, 200);
  assert.equal(ready.body.checks["storage"], "failed");
  assert.equal((await client.submit(body)).status, 200);
  const picture = await paintPlain({ colour: colours.red, width: 64, height: 64, format: "png" });
  const image_urls = [dataUri(picture)];
  const refused = await client.refuse({ ...body, image_urls }, { "idempotency-key": "away-1" });
  assert.deepEqual([refused.status, refused.reason], [503, "idempotency_unavailable"]);
  const form = new FormData();
  form.append("file", new Blob([new Uint8Array(picture)], { type: "image/png" }), "a.png");
  const reply = await client.post<{ error: { reason: string } }>("/v1/uploads/images", form);
  assert.equal(reply.status, 503);
  assert.equal(reply.body.error.reason, "unavailable");
});
