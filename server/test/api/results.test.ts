/** Links to results: what they serve, to whom, and for how long. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import type { Task, TaskImage } from "../../../client/src/tasks.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import { download, refusalOf, until } from "../support/client.ts";
import type { Client, Download } from "../support/client.ts";
import { collectPictures, readPicture } from "../support/pictures.ts";

const body = {
  model: "gemini-3.1-flash-image-preview",
  resolution: "0.5K",
  size: "1:1",
  prompt: "A red fox",
};

let gateway: Gateway;
let client: Client;
let image: TaskImage;
let url: string;

before(async () => {
  gateway = await startGateway({ DARKROOM_RESULT_TTL: "3600,gemini-3.1-flash-lite-image=60" });
  client = await gateway.connect();
  const task = await client.run(body);
  image = task.result!.images[0]!;
  url = image.url[0]!;
});

after(() => gateway.stop());

test("a link needs no key and serves the very picture, with headers that let nothing run", async () => {
  const { status, headers, bytes } = await download(url);
  assert.equal(status, 200);
  assert.equal(bytes.length, image.bytes);
  const { format, width, height } = await readPicture(bytes);
  assert.deepEqual({ format, width, height }, { format: "jpeg", width: 512, height: 512 });
  assert.equal(headers.get("content-type"), "image/jpeg");
  assert.equal(headers.get("content-length"), String(image.bytes));
  assert.equal(headers.get("x-content-type-options"), "nosniff");
  assert.equal(headers.get("content-security-policy"), "sandbox; default-src 'none'");
  assert.equal(headers.get("cross-origin-resource-policy"), "cross-origin");
  assert.equal(headers.get("access-control-allow-origin"), "*");
  assert.equal(headers.get("referrer-policy"), "no-referrer");
  assert.equal(headers.get("set-cookie"), null);
  assert.match(headers.get("cache-control") ?? "", /^private, immutable, max-age=3[56]\d\d$/);
  const file = url.split("/").at(-1);
  assert.match(file ?? "", /^[a-z2-7]{32}\.jpg$/);
  assert.equal(headers.get("content-disposition"), `inline; filename="${file}"`);
});

test("equal submits give equal bytes, and another prompt gives other ones", async () => {
  const [first] = await collectPictures(await client.run(body));
  const again = await readPicture((await download(url)).bytes);
  assert.deepEqual(first?.pixels, again.pixels);
  const [other] = await collectPictures(await client.run({ ...body, prompt: "A blue fox" }));
  assert.notDeepEqual(other?.pixels, first?.pixels);
});

test("HEAD tells the same as GET, without the bytes", async () => {
  const head = await download(url, { method: "HEAD" });
  const get = await download(url);
  assert.equal(head.status, 200);
  assert.equal(head.bytes.length, 0);
  for (const name of ["content-type", "content-length", "etag", "accept-ranges"]) {
    assert.equal(head.headers.get(name), get.headers.get(name));
    assert.notEqual(head.headers.get(name), null);
  }
});

test("a range is served as the part it names, and one beyond the end is refused", async () => {
  const { bytes } = await download(url);
  const size = bytes.length;
  const ranges: [string, number, number][] = [
    ["bytes=0-0", 0, 0],
    ["bytes=10-99", 10, 99],
    ["bytes=-7", size - 7, size - 1],
    [`bytes=${size - 3}-`, size - 3, size - 1],
    [`bytes=5-${size * 2}`, 5, size - 1],
  ];
  for (const [range, start, end] of ranges) {
    const part = await download(url, { headers: { range } });
    assert.equal(part.status, 206, range);
    assert.deepEqual(part.bytes, bytes.subarray(start, end + 1), range);
    assert.equal(part.headers.get("content-range"), `bytes ${start}-${end}/${size}`);
    assert.equal(part.headers.get("content-type"), "image/jpeg");
  }
  const beyond = await download(url, { headers: { range: `bytes=${size}-` } });
  assert.equal(beyond.status, 416);
  assert.equal(beyond.headers.get("content-range"), `bytes */${size}`);
});

test("who has the picture already is told so", async () => {
  const { headers } = await download(url);
  const known = { "if-none-match": headers.get("etag") ?? "" };
  const again = await download(url, { headers: known });
  assert.deepEqual([again.status, again.bytes.length], [304, 0]);
  const range = { range: "bytes=0-9", "if-range": '"another"' };
  assert.equal((await download(url, { headers: range })).status, 200);
});

describe("a link that is not ours to the letter is unknown:", () => {
  const changes: [name: string, change: (parts: Parts) => Parts][] = [
    ["a later expiry", (parts) => ({ ...parts, expiry: `${Number(parts.expiry) + 60}` })],
    ["another signature", (parts) => ({ ...parts, signature: flip(parts.signature) })],
    [
      "another spelling of the signature",
      (parts) => ({ ...parts, signature: bump(parts.signature) }),
    ],
    ["a signature cut short", (parts) => ({ ...parts, signature: parts.signature.slice(0, -1) })],
    ["another key", (parts) => ({ ...parts, keyId: flip(parts.keyId) })],
    ["another object", (parts) => ({ ...parts, object: flip(parts.object) })],
    ["another extension", (parts) => ({ ...parts, extension: "png" })],
    ["upper case", (parts) => ({ ...parts, object: parts.object.toUpperCase() })],
  ];
  for (const [name, change] of changes) {
    test(name, async () => {
      const changed = joinLink(change(splitLink(url)));
      assert.notEqual(changed, url);
      assertUnknown(await download(changed));
    });
  }

  test("an address beside it", async () => {
    const { expiry, keyId, signature } = splitLink(url);
    for (const path of [
      `/f/${expiry}.${keyId}.${signature}/..%2f..%2fsecret.png`,
      "/f/0.0.0/x.png",
      `/f/${expiry}.${keyId}.${signature}/`,
      "/f/",
      "/f/a/b/c",
    ]) {
      assertUnknown(await download(`${gateway.origin}${path}`));
    }
  });

  test("a query changes nothing", async () => {
    assert.equal((await download(`${url}?size=large`)).status, 200);
  });
});

test("polling never prolongs a link, and each model may have its own time", async () => {
  const task = await client.run({ model: "gemini-3.1-flash-lite-image", prompt: "fox" });
  const expiry = (read: Task): number | undefined => read.result?.images[0]?.expires_at;
  assert.equal(expiry(task), task.completed! + 60);
  await until(
    () => client.read(task.id),
    () => Date.now() / 1_000 > task.completed! + 1,
  );
  const later = await client.read(task.id);
  assert.deepEqual(later.result, task.result);
  const other = await client.run({ ...body, n: 2 });
  for (const { expires_at, url: links } of other.result!.images) {
    assert.equal(expires_at, other.completed! + 3_600);
    assert.equal(splitLink(links[0]!).expiry, String(expires_at));
  }
});

test("after DARKROOM_RESULT_TTL a link is gone and says since when; the task stays", async () => {
  const short = await startGateway({ DARKROOM_RESULT_TTL: "1" });
  try {
    const caller = await short.connect();
    const task = await caller.run(body);
    const { url: links, expires_at } = task.result!.images[0]!;
    assert.equal(expires_at, task.completed! + 1);
    const late = await until(
      () => download(links[0]!),
      ({ status }) => status !== 200,
    );
    assert.equal(late.status, 410);
    const reply = { ...late, body: JSON.parse(late.bytes.toString()) as unknown };
    const { type, reason, message } = refusalOf(reply);
    assert.deepEqual([type, reason], ["gone", "file_expired"]);
    const end = new Date(expires_at * 1_000).toISOString().replace(".000Z", "Z");
    assert.ok(message.includes(end), message);
    assert.equal(late.headers.get("cache-control"), "no-store");
    assert.equal((await download(links[0]!, { method: "HEAD" })).status, 410);
    assert.equal((await download(links[0]!, { headers: { range: "bytes=0-9" } })).status, 410);
    assert.deepEqual(await caller.read(task.id), task);
  } finally {
    await short.stop();
  }
});

test("links begin with DARKROOM_PUBLIC_URL, and never with what the Host header says", async () => {
  const behind = await startGateway({
    DARKROOM_PUBLIC_URL: "https://pictures.example.com/darkroom",
  });
  try {
    const caller = await behind.connect();
    const task = await caller.run(body);
    const link = task.result!.images[0]!.url[0]!;
    assert.ok(link.startsWith("https://pictures.example.com/darkroom/f/"), link);
    const path = link.slice("https://pictures.example.com/darkroom".length);
    assert.equal((await download(`${behind.origin}${path}`)).status, 200);
  } finally {
    await behind.stop();
  }
});

test("nothing else is taken at a link", async () => {
  for (const method of ["POST", "PUT", "DELETE"]) {
    const reply = await download(url, { method });
    assert.equal(reply.status, 405);
    assert.match(reply.headers.get("allow") ?? "", /GET/);
  }
});

type Parts = { origin: string; expiry: string; keyId: string; signature: string } & {
  object: string;
  extension: string;
};

function splitLink(link: string): Parts {
  const match = /^(.*)\/f\/(\d+)\.([0-9a-f]+)\.([\w-]+)\/([a-z2-7]+)\.([a-z]+)$/.exec(link);
  assert.ok(match !== null, link);
  const [, origin = "", expiry = "", keyId = "", signature = "", object = "", extension = ""] =
    match;
  return { origin, expiry, keyId, signature, object, extension };
}

function joinLink({ origin, expiry, keyId, signature, object, extension }: Parts): string {
  return `${origin}/f/${expiry}.${keyId}.${signature}/${object}.${extension}`;
}

/** The text with its first character changed. */
function flip(text: string): string {
  return `${text.startsWith("a") ? "b" : "a"}${text.slice(1)}`;
}

/** Base64url of 256 bits has two spare bits: the next letter decodes to the same bytes. */
function bump(signature: string): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const last = alphabet.indexOf(signature.at(-1) ?? "");
  return `${signature.slice(0, -1)}${alphabet[last + 1]}`;
}

function assertUnknown({ status, headers, bytes }: Download): void {
  const { reason } = refusalOf({ status, headers, body: JSON.parse(bytes.toString()) as unknown });
  assert.equal(status, 404);
  assert.ok(reason === "file_not_found" || reason === "route_not_found", reason);
}
