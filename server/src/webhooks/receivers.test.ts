/** Receivers that are no good HTTP servers, beside one that is. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { onEachDatabase } from "../../test/support/databases.ts";
import { openWebhooks } from "../../test/support/webhooks.ts";

/** A server that writes these bytes once it has been sent something; its address without a scheme. */
async function startWriter(t: TestContext, write: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).once("data", () => write(socket));
  });
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A listening TCP server has an address with a port.
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const ok = "HTTP/1.1 204 No Content\r\n\r\n";

onEachDatabase((_name, setup) => {
  test("interim replies are passed over, however many come before the last word", async (t) => {
    await using webhooks = openWebhooks(await setup());
    const interim = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    const address = await startWriter(t, (socket) => socket.write(interim.repeat(50) + ok));
    webhooks.deliverer.start();
    await webhooks.addEvent({ webhook: `http://${address}` });
    assert.equal((await webhooks.untilTried(1)).state, "delivered");
  });

  test("what is not a reply is a failed try that says so, and others hear at once", async (t) => {
    await using webhooks = openWebhooks(await setup());
    const good = await webhooks.startReceiver();
    const bad: Record<string, string> = {
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n": "http",
      "SSH-2.0-OpenSSH_9.9\r\n": "http",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello": "http",
      // No TLS where TLS is asked for.
      "HTTP/1.1 400 Bad Request\r\n\r\n": "https",
    };
    webhooks.deliverer.start();
    for (const [bytes, scheme] of Object.entries(bad)) {
      const address = await startWriter(t, (socket) => socket.end(bytes));
      await webhooks.addEvent({ webhook: `${scheme}://${address}` });
    }
    await webhooks.addEvent({ webhook: good.origin });
    await good.untilReceived(1);
    const rows = await webhooks.untilDeliveries(
      (all) => all.length === 5 && all.every(({ tries, lease }) => tries === 1 && lease === null),
    );
    const broke = "the connection broke before there was a reply";
    assert.deepEqual(
      rows.map(({ state, last_status, last_error }) => [state, last_status, last_error]),
      [
        ["pending", null, broke],
        ["pending", null, broke],
        ["pending", null, broke],
        ["pending", null, "no connection could be made"],
        ["delivered", 204, null],
      ],
    );
  });
});
