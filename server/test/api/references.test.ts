/** References and masks that a caller sends or names, honest and hostile. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import type { BalanceReply } from "../../../client/src/balance.ts";
import type { Task } from "../../../client/src/tasks.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";
import { createHostilePictures, createOddPictures } from "../support/hostile-pictures.ts";
import {
  collectPictures,
  colours,
  countColour,
  dataUri,
  paintGrid,
  paintMask,
  paintPlain,
  pixelsOf,
  readPicture,
} from "../support/pictures.ts";
import type { Box, Seen } from "../support/pictures.ts";
import { startReferenceServer } from "../support/reference-server.ts";
import type { ReferenceServer } from "../support/reference-server.ts";

const gemini = { model: "gemini-2.5-flash-image-preview", prompt: "A red fox", size: "1:1" };
const gpt = { model: "gpt-image-1-official", prompt: "A red fox", quality: "low" };

let gateway: Gateway;
let client: Client;
let server: ReferenceServer;

before(async () => {
  gateway = await startGateway();
  client = await gateway.connect();
  server = await startReferenceServer();
});

after(async () => {
  await gateway.stop();
  await server.stop();
});

test("a reference is fetched once a task, whatever n is, without credentials or a body", async () => {
  const picture = await paintPlain({ colour: colours.cyan, width: 80, height: 80, format: "webp" });
  const seen: { method: string | undefined; names: string[] }[] = [];
  const url = server.answer("/once.webp?v=1", (request, reply) => {
    seen.push({ method: request.method, names: Object.keys(request.headers) });
    reply.end(picture);
  });
  const pictures = await collectPictures(await client.run({ ...gemini, n: 3, image_urls: [url] }));
  for (const each of pictures) assert.ok(countColour(each, colours.cyan, 8) > 1_000);
  assert.deepEqual(
    seen.map(({ method }) => method),
    ["GET"],
  );
  for (const name of ["authorization", "cookie", "referer", "x-forwarded-for"]) {
    assert.ok(!seen[0]!.names.includes(name));
  }
});

test("a redirect is followed to a picture, whatever type it is declared as", async () => {
  const picture = await paintPlain({ colour: colours.green, width: 80, height: 80, format: "png" });
  const target = server.serve("/target", picture, "text/plain");
  const url = server.answer("/moved", (_request, reply) => {
    reply.writeHead(302, { location: target }).end();
  });
  const [seen] = await collectPictures(await client.run({ ...gemini, image_urls: [url] }));
  assert.ok(countColour(seen!, colours.green) > 1_000);
});

describe("a reference larger than its model takes", () => {
  const lite = { model: "gemini-3.1-flash-lite-image", prompt: "A red fox" };
  const mebibyte = 2 ** 20;

  /** A small picture, filled up behind its end. */
  async function paintLarge(bytes: number): Promise<Buffer> {
    const picture = await paintGrid(32, 32);
    return Buffer.concat([picture, Buffer.alloc(bytes - picture.length)]);
  }

  test("is refused at submit when it is in the body, and the limit itself is taken", async () => {
    for (const [model, limit] of [
      [lite, 10],
      [gemini, 20],
    ] as const) {
      const exact = dataUri(await paintLarge(limit * mebibyte));
      const { id } = await client.accept({ ...model, image_urls: [exact] });
      assert.equal((await client.wait(id)).status, "completed");
      const more = dataUri(await paintLarge(limit * mebibyte + 1));
      const refusal = await client.refuse({ ...model, image_urls: [more] });
      const { status, reason, param } = refusal;
      assert.deepEqual([status, reason, param], [413, "image_too_large", "image_urls"]);
      assert.match(refusal.message, new RegExp(`image_urls\\[0\\].*${limit} MB`));
    }
  });

  test("ends in a task error when it has to be fetched, declared or not", async () => {
    const large = await paintLarge(10 * mebibyte + 1);
    const declared = server.serve("/large.png", large);
    const undeclared = server.answer("/streamed.png", (_request, reply) => {
      reply.write(large.subarray(0, mebibyte));
      reply.end(large.subarray(mebibyte));
    });
    for (const url of [declared, undeclared]) {
      const task = await client.run({ ...lite, image_urls: [url] });
      assertFailed(task, "invalid_reference_image", "image_urls");
      assert.equal((await client.run({ ...gemini, image_urls: [url] })).status, "completed");
    }
  });
});

describe("a mask", () => {
  const hole: Box = { left: 30, top: 20, width: 100, height: 60 };

  test("on gemini-2.5 repaints its hole and keeps every other pixel of the first reference", async () => {
    const grid = await paintGrid(320, 240);
    const mask = await paintMask(320, 240, hole);
    const body = { ...gemini, image_urls: [dataUri(grid)], mask_url: dataUri(mask) };
    const { id, warnings } = await client.accept(body);
    assert.deepEqual(
      warnings.map(({ param, code }) => [param, code]),
      [["size", "ignored"]],
    );
    const [seen] = await collectPictures(await client.wait(id));
    assert.deepEqual([pixelsOf(seen!), seen!.format], ["320x240", "png"]);
    assertOnlyHoleChanged(seen!, await readPicture(grid), hole);
  });

  test("by URL is held against the first reference when both are there", async () => {
    const grid = await paintGrid(320, 240);
    const image_urls = [server.serve("/grid.png", grid)];
    const mask_url = server.serve("/mask.png", await paintMask(320, 240, hole));
    const [seen] = await collectPictures(await client.run({ ...gemini, image_urls, mask_url }));
    assertOnlyHoleChanged(seen!, await readPicture(grid), hole);
  });

  test("on gpt-image-1 gives the promised size, and keeps the pixels outside its hole", async () => {
    const grid = await paintGrid(1_024, 1_024);
    const mask_url = dataUri(await paintMask(1_024, 1_024, hole));
    const body = { ...gpt, image_urls: [dataUri(grid)], mask_url };
    const [seen] = await collectPictures(await client.run(body));
    assert.equal(pixelsOf(seen!), "1024x1024");
    assertOnlyHoleChanged(seen!, await readPicture(grid), hole);
    const [tall] = await collectPictures(await client.run({ ...body, size: "2:3" }));
    assert.equal(pixelsOf(tall!), "1024x1536");
  });

  test("shows the second reference in its hole", async () => {
    const magenta = { colour: colours.magenta, width: 90, height: 90, format: "png" } as const;
    const image_urls = [dataUri(await paintGrid(400, 300)), dataUri(await paintPlain(magenta))];
    const mask_url = dataUri(
      await paintMask(400, 300, { left: 0, top: 0, width: 400, height: 300 }),
    );
    const [seen] = await collectPictures(await client.run({ ...gemini, image_urls, mask_url }));
    assert.ok(countColour(seen!, colours.magenta) > 500);
  });

  const bad: [name: string, mask: () => Promise<Buffer>, words: RegExp][] = [
    ["without an alpha channel", () => paintGrid(320, 240), /alpha channel/],
    ["without a transparent pixel", () => paintMask(320, 240, null), /transparent/],
    ["of another size", () => paintMask(240, 320, hole), /240x320.*320x240/],
  ];
  for (const [name, paint, words] of bad) {
    test(`${name} is refused at submit, or fails the task when it has to be fetched`, async () => {
      const mask = await paint();
      const grid = await paintGrid(320, 240);
      for (const model of [gemini, gpt]) {
        const body = { ...model, image_urls: [dataUri(grid)] };
        const refusal = await client.refuse({ ...body, mask_url: dataUri(mask) });
        const { status, reason, param } = refusal;
        assert.deepEqual([status, reason, param], [400, "invalid_mask", "mask_url"]);
        assert.match(refusal.message, words);
        const mask_url = server.serve(`/${name}.png`.replaceAll(" ", "-"), mask);
        assertFailed(await client.run({ ...body, mask_url }), "invalid_mask", "mask_url");
      }
    });
  }

  test("in the body and a reference by URL: its alpha is checked at once, its size later", async () => {
    const image_urls = [server.serve("/later.png", await paintGrid(320, 240))];
    const opaque = dataUri(await paintMask(320, 240, null));
    const refusal = await client.refuse({ ...gemini, image_urls, mask_url: opaque });
    assert.equal(refusal.reason, "invalid_mask");
    const wrong = dataUri(await paintMask(100, 100, { left: 0, top: 0, width: 9, height: 9 }));
    const task = await client.run({ ...gemini, image_urls, mask_url: wrong });
    assertFailed(task, "invalid_mask", "mask_url");
  });

  test("that is no picture is refused at submit, or fails the task", async () => {
    const image_urls = [dataUri(await paintGrid(320, 240))];
    const mask_url = dataUri(Buffer.from("<svg xmlns='http://www.w3.org/2000/svg'/>"));
    assert.equal((await client.refuse({ ...gemini, image_urls, mask_url })).param, "mask_url");
    const gone = await client.run({ ...gemini, image_urls, mask_url: `${server.origin}/gone.png` });
    assertFailed(gone, "invalid_mask", "mask_url");
  });
});

describe("hostile pictures", () => {
  test("in the body are refused at submit, by name, and nothing of them is kept", async () => {
    const account = await gateway.createAccount("hostile body");
    const caller = await gateway.connect({ accountId: account });
    const kept = await listObjects();
    const good = dataUri(await paintGrid(32, 32));
    for (const { name, bytes } of await createHostilePictures()) {
      const image_urls = [good, dataUri(bytes)];
      const refusal = await caller.refuse({ ...gpt, image_urls });
      assert.deepEqual([refusal.status, refusal.param], [400, "image_urls"], name);
      assert.match(refusal.message, /^image_urls\[1\]/, name);
    }
    assert.deepEqual(await listObjects(), kept);
    assert.equal(await remainOf(caller), 1_000);
  });

  test("behind a URL end in a task error, free of charge, and the gateway goes on", async () => {
    const account = await gateway.createAccount("hostile links");
    const caller = await gateway.connect({ accountId: account });
    const rssBefore = process.memoryUsage().rss;
    const pictures = await createHostilePictures();
    const tasks = await Promise.all(
      pictures.map(({ bytes }, index) =>
        caller.run({ ...gemini, image_urls: [server.serve(`/hostile/${index}`, bytes)] }),
      ),
    );
    for (const [index, task] of tasks.entries()) {
      assertFailed(task, "invalid_reference_image", "image_urls", pictures[index]!.name);
    }
    assert.equal(await remainOf(caller), 1_000);
    assert.equal((await caller.run(gemini)).status, "completed");
    const grown = (process.memoryUsage().rss - rssBefore) / 2 ** 20;
    assert.ok(grown < 200, `${Math.round(grown)} MB more`);
  });

  test("that are only odd are accepted", async () => {
    const odd = (await createOddPictures()).filter(({ bytes, info }) => {
      // A GIF is for uploads only, and pictures of many megapixels take their time.
      return bytes.subarray(0, 3).toString() !== "GIF" && info.width * info.height < 1e6;
    });
    assert.ok(odd.length > 20);
    await Promise.all(
      odd.map(async ({ name, bytes }, index) => {
        const task = await client.run({
          ...gemini,
          image_urls: [server.serve(`/odd/${index}`, bytes)],
        });
        assert.equal(task.status, "completed", name);
      }),
    );
  });
});

describe("a reference that cannot be had ends in the same task error, free of charge:", () => {
  type Answer = Parameters<ReferenceServer["answer"]>[1];
  const answers: [name: string, answer: Answer][] = [
    ["404", (_request, reply) => reply.writeHead(404).end("no")],
    ["500", (_request, reply) => reply.writeHead(500).end()],
    ["204", (_request, reply) => reply.writeHead(204).end()],
    ["a page", (_request, reply) => reply.setHeader("content-type", "image/png").end("<html>")],
    [
      "a redirect to itself",
      (request, reply) => reply.writeHead(302, { location: request.url }).end(),
    ],
    [
      "a redirect to a file",
      (_request, reply) => reply.writeHead(302, { location: "file:///etc/passwd" }).end(),
    ],
    [
      "more bytes than are allowed",
      (_request, reply) => reply.setHeader("content-length", 21 * 2 ** 20).end(),
    ],
    ["a connection that breaks", (_request, reply) => void reply.socket?.destroy()],
    [
      "a body that breaks off",
      (_request, reply) => {
        reply.writeHead(200, { "content-length": "1000" }).write("\x89PNG");
        reply.socket?.end();
      },
    ],
    [
      "a compressed body",
      (_request, reply) => reply.writeHead(200, { "content-encoding": "gzip" }).end("x"),
    ],
  ];
  for (const [name, answer] of answers) {
    test(name, async () => {
      const url = server.answer(`/broken/${encodeURIComponent(name)}`, answer);
      const task = await client.run({ ...gemini, image_urls: [url] });
      assertFailed(task, "invalid_reference_image", "image_urls");
      const { id } = await client.run({ ...gemini, image_urls: [`${server.origin}/gone`] });
      const other = await client.read(id);
      // One text for all of them: the gateway is no scanner of other people's networks.
      assert.equal(task.error?.message, other.error?.message);
    });
  }

  test("a closed port", async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const task = await client.run({ ...gemini, image_urls: [`http://127.0.0.1:${port}/a.png`] });
    assertFailed(task, "invalid_reference_image", "image_urls");
  });

  test("a host that does not exist", async () => {
    const task = await client.run({ ...gemini, image_urls: ["https://nothing.invalid/a.png"] });
    assertFailed(task, "invalid_reference_image", "image_urls");
  });
});

describe("without DARKROOM_EGRESS_ALLOW", () => {
  let guarded: Gateway;
  let caller: Client;

  before(async () => {
    guarded = await startGateway({ DARKROOM_EGRESS_ALLOW: "" });
    caller = await guarded.connect();
  });

  after(() => guarded.stop());

  test("no spelling of an inside address is reached, and each ends in the same task error", async () => {
    const inside = await startReferenceServer();
    const picture = await paintPlain({ colour: colours.red, width: 80, height: 80, format: "png" });
    inside.serve("/a.png", picture);
    const { port } = new URL(inside.origin);
    const hosts = [
      "127.0.0.1",
      "127.1",
      "127.0.1",
      "2130706433",
      "017700000001",
      "0x7f000001",
      "0x7f.0.0.1",
      "0177.0.0.1",
      "%31%32%37.0.0.1",
      "１２７.０.０.１",
      "①②⑦.⓪.⓪.①",
      "127。0。0。1",
      "127.0.0.1.",
      "0.0.0.0",
      "0",
      "localhost",
      "LOCALHOST.",
      "foo.localhost",
      "localhost.localdomain",
      "[::1]",
      "[::]",
      "[0:0:0:0:0:0:0:1]",
      "[::ffff:127.0.0.1]",
      "[::ffff:7f00:1]",
      "[::127.0.0.1]",
      "[64:ff9b::127.0.0.1]",
      "[2002:7f00:1::]",
      "[fe80::1]",
      "[fd00::1]",
      "10.0.0.1",
      "172.16.0.1",
      "192.168.0.1",
      "100.64.0.1",
      "169.254.169.254",
      "metadata.google.internal",
      "printer.local",
      "intranet",
    ];
    const urls = hosts.map((host) => `http://${host}:${port}/a.png`);
    const tasks = await Promise.all(
      [...urls, "http://169.254.169.254/latest/meta-data/", "http://127.0.0.1/a.png"].map(
        async (url) => ({ url, task: await caller.run({ ...gemini, image_urls: [url] }) }),
      ),
    );
    for (const { url, task } of tasks) {
      assertFailed(task, "invalid_reference_image", "image_urls", url);
      assert.equal(task.error?.message, tasks[0]!.task.error?.message);
    }
    assert.equal(inside.connections, 0);
    const { body } = await caller.get<BalanceReply>("/v1/user/balance");
    assert.equal(body.remain_balance, 1_000);
    // The same picture is found as soon as the operator trusts the network.
    const trusted = await client.run({ ...gemini, image_urls: [`${inside.origin}/a.png`] });
    assert.equal(trusted.status, "completed");
    assert.equal(inside.connections, 1);
    await inside.stop();
  });
});

// Only Linux has all of 127.0.0.0/8 without being told.
const elsewhere = { skip: process.platform !== "linux" };

test("a redirect from a trusted network to another one is not followed", elsewhere, async () => {
  const narrow = await startGateway({ DARKROOM_EGRESS_ALLOW: "127.0.0.1/32" });
  try {
    let connections = 0;
    const inside = createServer((_request, reply) => reply.end("secret"));
    inside.on("connection", () => (connections += 1));
    await new Promise<void>((resolve) => inside.listen(0, "127.0.0.2", resolve));
    const { port } = inside.address() as AddressInfo;
    const url = server.answer("/away", (_request, reply) => {
      reply.writeHead(302, { location: `http://127.0.0.2:${port}/a.png` }).end();
    });
    const caller = await narrow.connect();
    assertFailed(
      await caller.run({ ...gemini, image_urls: [url] }),
      "invalid_reference_image",
      "image_urls",
    );
    assert.equal(connections, 0);
    await new Promise((resolve) => inside.close(resolve));
  } finally {
    await narrow.stop();
  }
});

function assertFailed(task: Task, code: string, param: string, name = ""): void {
  const { status, cost, error } = task;
  assert.deepEqual([status, cost, error?.code, error?.param], ["failed", 0, code, param], name);
}

/** Inside the hole something else is painted; outside of it every pixel is the reference's own. */
function assertOnlyHoleChanged(seen: Seen, reference: Seen, hole: Box): void {
  assert.deepEqual(pixelsOf(seen), pixelsOf(reference));
  let inside = 0;
  let outside = 0;
  for (let y = 0; y < seen.height; y++) {
    for (let x = 0; x < seen.width; x++) {
      const isInside =
        x >= hole.left && x < hole.left + hole.width && y >= hole.top && y < hole.top + hole.height;
      const at = y * seen.width + x;
      const isSame = [0, 1, 2].every(
        (band) =>
          seen.pixels[at * seen.channels + band] ===
          reference.pixels[at * reference.channels + band],
      );
      if (isInside && !isSame) inside += 1;
      if (!isInside && !isSame) outside += 1;
    }
  }
  assert.equal(outside, 0);
  assert.ok(inside > hole.width * hole.height * 0.95, `${inside} pixels of the hole are repainted`);
}

/** Every file in storage. */
async function listObjects(): Promise<string[]> {
  const folder = join(gateway.folder, "objects");
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found.flatMap((entry) => (entry.isFile() ? entry.name : [])).toSorted();
}

async function remainOf(caller: Client): Promise<number> {
  return (await caller.get<BalanceReply>("/v1/user/balance")).body.remain_balance;
}
