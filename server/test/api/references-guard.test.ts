/** References that lead to where the gateway must not go. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";

import type { BalanceReply } from "../../../client/src/balance.ts";
import { startGateway } from "../support/app.ts";
import type { Gateway } from "../support/app.ts";
import type { Client } from "../support/client.ts";
import { colours, paintPlain } from "../support/pictures.ts";
import { startReferenceServer } from "../support/reference-server.ts";
import { assertFailed, gemini, startReferring } from "../support/references.ts";

const { client, server } = await startReferring();

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
