/** References that a caller sends or names, honest and hostile. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { BalanceReply } from "../../../client/src/balance.ts";
import type { Client } from "../support/client.ts";
import { createHostilePictures } from "../support/hostile-pictures.ts";
import { createOddPictures } from "../support/odd-pictures.ts";
import {
  collectPictures,
  colours,
  countColour,
  dataUri,
  paintGrid,
  paintPlain,
} from "../support/pictures.ts";
import type { ReferenceServer } from "../support/reference-server.ts";
import { assertFailed, gemini, gpt, startReferring } from "../support/references.ts";

const { gateway, client, server } = await startReferring();

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

/** Every file in storage. */
async function listObjects(): Promise<string[]> {
  const folder = join(gateway.folder, "objects");
  const found = await readdir(folder, { recursive: true, withFileTypes: true });
  return found.flatMap((entry) => (entry.isFile() ? entry.name : [])).toSorted();
}

async function remainOf(caller: Client): Promise<number> {
  return (await caller.get<BalanceReply>("/v1/user/balance")).body.remain_balance;
}
