import assert from "node:assert/strict";
import { test } from "node:test";

import { until } from "../../test/support/client.ts";
import { onPostgres } from "../../test/support/databases.ts";
import { startFaultProxy } from "../../test/support/fault-proxy.ts";
import { createLog } from "../lib/log.ts";
import { systemClock } from "../lib/time.ts";
import { createListener } from "./postgres.ts";
import { createNotices } from "./postgres-notices.ts";
import type { Notices } from "./postgres-notices.ts";

const deps = { clock: systemClock, log: createLog("silent") };

onPostgres((_name, setup) => {
  async function urlOfNew(): Promise<string> {
    const { target } = await setup();
    return target.kind === "postgres" ? target.url : assert.fail("not on PostgreSQL");
  }

  async function connect(url: string, heard: string[]): Promise<Notices> {
    const createClient = () => createListener(url);
    const onNotice = (text: string): void => void heard.push(text);
    const notices = createNotices({ ...deps, createClient }, { onNotice });
    notices.start();
    await untilConnected(notices);
    return notices;
  }

  test("every node hears what one says", async () => {
    const url = await urlOfNew();
    const heard: string[] = [];
    const nodes = [await connect(url, heard), await connect(url, heard)];
    await nodes[0]?.send("hello there");
    await until(
      () => Promise.resolve(heard),
      (texts) => texts.length === 2,
    );
    assert.deepEqual(heard, ["hello there", "hello there"]);
    for (const node of nodes) await node.stop();
  });

  test("a listener that was cut off comes back by itself; what is said meanwhile is lost", async () => {
    const url = await urlOfNew();
    await using proxy = await startFaultProxy(url);
    const heard: string[] = [];
    const speaker = await connect(url, []);
    const listener = await connect(proxy.url, heard);
    proxy.refuse(true);
    proxy.cut();
    await until(
      () => Promise.resolve(listener.isConnected),
      (isConnected) => !isConnected,
    );
    await speaker.send("lost");
    await listener.send("lost too");
    proxy.refuse(false);
    await untilConnected(listener);
    await speaker.send("heard");
    await until(
      () => Promise.resolve(heard),
      (texts) => texts.includes("heard"),
    );
    assert.deepEqual(heard, ["heard"]);
    await speaker.stop();
    await listener.stop();
  });
});

function untilConnected(notices: Notices): Promise<boolean> {
  return until(
    () => Promise.resolve(notices.isConnected),
    (isConnected) => isConnected,
  );
}
