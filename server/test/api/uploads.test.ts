/** Pictures that a caller brings in by themselves, to be used as references later. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { UploadReply } from "../../../client/src/uploads.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { download, refusalOf, until } from "../support/client.ts";
import type { Client, Reply } from "../support/client.ts";
import {
  collectPictures,
  colours,
  countColour,
  paintPlain,
  pixelsOf,
  readPicture,
} from "../support/pictures.ts";
import type { SentFormat } from "../support/pictures.ts";

const path = "/v1/uploads/images";
const bytesMax = 20 * 2 ** 20;
const body = { model: "flux-kontext-pro", prompt: "A red fox" };

let gateway: Gateway;
let client: Client;

before(async () => {
  // Nothing may be fetched: what is found of a reference came from storage.
  gateway = await startGateway({ DARKROOM_EGRESS_ALLOW: "" });
  client = await gateway.connect();
});

after(() => gateway.stop());

test("jpeg, png and webp are kept as they are, and a gif becomes a png", async () => {
  for (const [format, kept] of [
    ["jpeg", "jpeg"],
    ["png", "png"],
    ["webp", "webp"],
    ["gif", "png"],
  ] as const) {
    const bytes = await paint(format);
    const started = Math.floor(Date.now() / 1_000);
    const reply = await upload(client, bytes, `my picture.${format}`);
    assert.equal(reply.status, 200);
    const { url, created_at } = reply.body;
    const extension = kept === "jpeg" ? "jpg" : kept;
    assert.match(url, new RegExp(`^${gateway.origin}/f/[^/]+/[a-z2-7]{32}\\.${extension}$`));
    assert.ok(created_at >= started && created_at <= started + 5);
    const served = await download(url);
    assert.deepEqual(reply.body, {
      url,
      filename: `my picture.${format}`,
      content_type: `image/${kept}`,
      bytes: served.bytes.length,
      created_at,
    });
    assert.equal(served.headers.get("content-type"), `image/${kept}`);
    if (format === kept) assert.deepEqual(served.bytes, bytes);
    const seen = await readPicture(served.bytes);
    assert.equal(seen.format, kept);
    assert.equal(countColour(seen, colours.magenta, 8), 60 * 40);
  }
});

test("an upload is a reference by its link, on FLUX too, and is not fetched for it", async () => {
  const { url } = (await upload(client, await paint("png"), "a.png")).body;
  const [picture] = await collectPictures(await client.run({ ...body, image_urls: [url] }));
  assert.ok(countColour(picture!, colours.magenta) > 1_000);
  // 60 by 40 pixels are matched.
  assert.equal(pixelsOf(picture!), "1248x832");
});

test("so is a result, by the link that the task shows", async () => {
  const { url } = (await upload(client, await paint("png"), "a.png")).body;
  const first = await client.run({ ...body, size: "1:1", image_urls: [url] });
  const second = await client.run({ ...body, image_urls: first.result!.images[0]!.url });
  const [picture] = await collectPictures(second);
  assert.equal(pixelsOf(picture!), "1024x1024");
  assert.ok(countColour(picture!, colours.magenta, 16) > 1_000);
});

test("links of another account and of the other mode are refused at submit", async () => {
  const accountId = await gateway.createAccount("owner");
  const owner = await gateway.connect({ accountId });
  const { url } = (await upload(owner, await paint("png"), "a.png")).body;
  const result = await owner.run(body);
  const resultUrl = result.result!.images[0]!.url[0]!;
  for (const link of [url, resultUrl]) {
    const refusal = await client.refuse({ ...body, image_urls: [link] });
    const { status, reason, param } = refusal;
    assert.deepEqual([status, reason, param], [400, "invalid_parameter", "image_urls"]);
    assert.match(refusal.message, /another account/);
    const live = await gateway.connect({ accountId, mode: "live" });
    // Without a channel a live submit never gets as far as its references.
    assert.equal((await live.refuse({ ...body, image_urls: [link] })).reason, "no_channel");
  }
  const colleague = await gateway.connect({ accountId });
  assert.equal((await colleague.run({ ...body, image_urls: [url] })).status, "completed");
});

test("a link with a changed signature is no link of ours: it is fetched like any other", async () => {
  const { url } = (await upload(client, await paint("png"), "a.png")).body;
  const forged = url.replace(/\.([\w-]{43})\//, `.${"A".repeat(43)}/`);
  assert.notEqual(forged, url);
  const task = await client.run({ ...body, image_urls: [forged] });
  assert.deepEqual(
    [task.error?.code, task.error?.param],
    ["invalid_reference_image", "image_urls"],
  );
});

test("after DARKROOM_UPLOAD_TTL a link is gone, and refused as a reference", async () => {
  const short = await startGateway({ DARKROOM_UPLOAD_TTL: "1" });
  try {
    const caller = await short.connect();
    const { url } = (await upload(caller, await paint("png"), "a.png")).body;
    const late = await until(
      () => download(url),
      ({ status }) => status !== 200,
    );
    assert.equal(late.status, 410);
    const refusal = await caller.refuse({ ...body, image_urls: [url] });
    assert.deepEqual([refusal.status, refusal.param], [400, "image_urls"]);
    assert.match(refusal.message, /image_urls\[0\].*expired/);
  } finally {
    await short.stop();
  }
});

describe("an upload is refused that", () => {
  test("is larger than 20 MB, declared or not; one of exactly 20 MB is taken", async () => {
    const picture = await paint("png");
    const full = Buffer.concat([picture, Buffer.alloc(bytesMax - picture.length)]);
    assert.equal((await upload(client, full, "full.png")).status, 200);
    const larger = Buffer.concat([full, Buffer.alloc(1)]);
    const refusal = refusalOf(await upload(client, larger, "larger.png"));
    assert.deepEqual(
      [refusal.status, refusal.reason, refusal.param],
      [413, "image_too_large", "file"],
    );
    assert.match(refusal.message, /20 MiB/);
    const huge = Buffer.concat([full, full]);
    assert.equal(refusalOf(await upload(client, huge, "huge.png")).status, 413);
  });

  test("is no picture of the four formats", async () => {
    for (const bytes of [
      Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>"),
      Buffer.from("%PDF-1.7"),
      (await paint("png")).subarray(0, 60),
      Buffer.alloc(0),
    ]) {
      const refusal = refusalOf(await upload(client, bytes, "a.png"));
      assert.deepEqual(
        [refusal.status, refusal.reason, refusal.param],
        [400, "invalid_image", "file"],
      );
      assert.match(refusal.message, /file/);
    }
  });

  test("has no file, two files, or one of another name", async () => {
    const file = new Blob([new Uint8Array(await paint("png"))]);
    const empty = new FormData();
    empty.append("note", "no file here");
    const renamed = new FormData();
    renamed.append("image", file, "a.png");
    const double = new FormData();
    double.append("file", file, "a.png");
    double.append("file", file, "b.png");
    for (const form of [empty, renamed, double]) {
      const refusal = refusalOf(await client.post(path, form));
      assert.deepEqual([refusal.status, refusal.param], [400, "file"]);
    }
  });

  test("is no form", async () => {
    const refusal = refusalOf(await client.post(path, { file: "a.png" }));
    assert.deepEqual([refusal.status, refusal.reason], [415, "unsupported_media_type"]);
    assert.match(refusal.message, /multipart\/form-data/);
    const broken = { "content-type": "multipart/form-data; boundary=x" };
    const rest = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nabc';
    assert.equal(refusalOf(await client.post(path, rest, broken)).status, 400);
  });

  test("comes without a key", async () => {
    const nobody = gateway.clientOf(null);
    assert.equal(refusalOf(await upload(nobody, await paint("png"), "a.png")).status, 401);
  });
});

test("a hostile file name is shown back harmless and changes nothing else", async () => {
  const { body: reply } = await upload(client, await paint("png"), "../../etc/pass\u202ewd.png");
  assert.equal(reply.filename, "passwd.png");
  assert.match(reply.url, /\/[a-z2-7]{32}\.png$/);
});

function paint(format: SentFormat): Promise<Buffer> {
  return paintPlain({ colour: colours.magenta, width: 60, height: 40, format });
}

function upload(caller: Client, bytes: Buffer, filename: string): Promise<Reply<UploadReply>> {
  const form = new FormData();
  form.append("file", new Blob([new Uint8Array(bytes)]), filename);
  return caller.post(path, form);
}
